"""Looks of methods: no two alike among the suite's own, and none of a plugin like one of theirs."""

import subprocess
import sys

from scalpel_bench import methods
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.registry import catalogue

RECORDED = {
    "sum": ("#000000", "o", "Mixed (sum)"),
    "bloop": ("#D55E00", "s", "Bloop"),
    "pcgrad": ("#0072B2", "^", "PCGrad"),
    "mgda": ("#009E73", "D", "MGDA"),
    "dynamic_barrier": ("#CC79A7", "v", "Dynamic Barrier"),
    "bloop_no_ema": ("#56B4E9", "P", "Bloop, no EMA"),
    "bloop_faster": ("#E69F00", "X", "Bloop, faster EMA"),
    "agem": ("#8C8C8C", "<", "A-GEM"),
    "cosine": ("#882255", ">", "Cosine"),
    "gradvac": ("#A6A600", "p", "GradVac"),
    "metabalance": ("#332288", "h", "Meta-Balance"),
    "cagrad": ("#66C2B2", "d", "CAGrad"),
    "upgrad": ("#8B5A2B", "*", "UPGrad"),
    "agem_ema": ("#CC79A7", "h", "A-GEM with EMA"),
    "dynamic_barrier_ema": ("#8C8C8C", ">", "Dynamic Barrier with EMA"),
    "pcgrad_ema": ("#E69F00", "*", "PCGrad with EMA"),
    "upgrad_ema": ("#332288", "^", "UPGrad with EMA"),
}
"""The looks of the recorded figures, in the order of their legends."""


def test_recorded_figures_keep_their_looks() -> None:
    found = {label: (*style.look(label).values(), style.title(label)) for label in RECORDED}
    assert found == RECORDED
    assert style.order(sorted(RECORDED)) == list(RECORDED)


def test_own_methods_differ_and_labels_without_a_look_are_like_none_of_them() -> None:
    own = [name for name, entry in catalogue("methods").items() if entry.origin is None]
    assert all(catalogue("methods")[name].attributes.get("title") for name in own)
    looks = [tuple(style.look(label).values()) for label in [*own, "bloop_faster"]]
    assert len(set(looks)) == len(looks)
    assert all(tuple(style.look(f"plugin {i}").values()) not in looks for i in range(500))


def test_the_class_of_a_loose_file_names_its_own_title_and_colour(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "from scalpel_bench.methods import Sum\n"
        "class Coloured(Sum): name, title, color, marker = 'coloured', 'My idea', '#123456', ''\n"
    )
    before = style.look("coloured")
    try:
        methods.get(f"{tmp_path}/mine.py:Coloured")
        assert style.title("coloured") == "My idea"
        assert style.look("coloured") == before | {"color": "#123456"}
    finally:
        methods.REGISTRY.remove("coloured")
    assert style.look("coloured") == before


def test_titles_and_colours_are_known_without_importing_a_method() -> None:
    code = (
        "import sys\n"
        "from scalpel_bench.registry import attributes\n"
        "assert attributes('methods', 'nash_mtl')['title'] == 'Nash-MTL'\n"
        "assert attributes('methods', 'sum')['color'] == '#000000'\n"
        "assert not {'torch', 'scalpel_bench.methods'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_titles() -> None:
    titles = {
        "bloop_no_ema": "Bloop, no EMA",
        "nash_mtl_ema": "Nash-MTL with EMA",
        "mine_ema": "mine_ema",
        "a": "a",
    }
    assert {label: style.title(label) for label in titles} == titles
