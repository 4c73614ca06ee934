"""Looks of methods: no two alike among the suite's own, and none of a plugin like one of theirs."""

from scalpel_bench.benchmarks.figures import style


def test_own_methods_have_a_colour_each_and_plugins_another_pair_of_colour_and_marker() -> None:
    own = {label: style.look(label) for label in style._KNOWN}
    assert len({look["color"] for look in own.values()}) == len(own)
    pairs = [tuple(look.values()) for look in own.values()]
    assert all(tuple(style.look(f"plugin {i}").values()) not in pairs for i in range(500))


def test_titles() -> None:
    titles = {
        "bloop_no_ema": "Bloop, no EMA",
        "pcgrad_ema": "PCGrad with EMA",
        "mine_ema": "mine_ema",
        "a": "a",
    }
    assert {label: style.title(label) for label in titles} == titles
