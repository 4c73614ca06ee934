"""Looks of methods: no two alike among the suite's own, and none of a plugin like one of theirs."""

import json
import re

import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.dashboard import saved_views
from scalpel_bench.benchmarks.dashboard.runs import of_record, of_sweep
from scalpel_bench.benchmarks.dashboard.saved_views import SentSweep
from scalpel_bench.benchmarks.figures import fronts, style
from scalpel_bench.benchmarks.report import write_page
from scalpel_bench.registry import attributes, catalogue
from tests.benchmarks.runs import DATA, analysed, conditioning, plan, record

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
    looks = [tuple(look.values()) for look in style.looks([*own, "bloop_faster"]).values()]
    assert len(set(looks)) == len(looks)
    known = {colour for label in [*own, *RECORDED] for colour in _in_both_modes(label)} | {style.GREY}
    assert all(known.isdisjoint(_in_both_modes(f"plugin {i}")) for i in range(500))


def _in_both_modes(label: str) -> set[str]:
    colour = style.look(label)["color"]
    return {colour, style.on_dark(colour)}


def test_lines_of_one_colour_are_dashed_differently() -> None:
    labels = ["uncertainty", "sum", "config", "bloop", "mgda"]
    lines = style.lines(labels)
    assert [lines[label]["ls"] for label in ("sum", "bloop", "mgda")] == ["-"] * 3
    assert [lines[label]["ls"] for label in ("uncertainty", "config")] == ["--"] * 2
    assert len({(look["color"], look["ls"]) for look in lines.values()}) == len(labels)


def test_labels_without_a_look_differ_as_far_as_there_are_colours() -> None:
    names = [f"mine {i}" for i in range(8)]
    for count in range(2, 9):
        assert len({look["color"] for look in style.looks(["bloop", *names[:count]]).values()}) == count + 1
    assert style.looks(reversed(names)) == style.looks([*names, *names])
    many = style.looks(f"mine {i}" for i in range(60)).values()
    assert len({tuple(look.values()) for look in many}) == 60


@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*")
def test_figures_page_and_dashboard_draw_a_method_of_ones_own_alike(tmp_path) -> None:
    own = {"my_idea": {"name": "pcgrad"}, "halved": {"name": "agem"}, "mine": {"name": "mgda"}}
    assert len({style.look(label)["color"] for label in own}) < 3  # alone, two of them are alike
    experiment = conditioning(lam=[0.1, 0.2], seeds=1, methods=own)
    kept = {label: experiment.methods[label] for label in ("sum", "bloop", *own)}
    experiment = experiment.model_copy(update={"methods": kept, "figure": "fronts"})
    records = [record(run, 0.1 / (1 + run.lam), 0.1 * run.lam) for run in plan(experiment)]
    analysis = analysed(records, experiment, DATA.fingerprint)
    wanted = {label: look["color"] for label, look in style.looks(kept).items()}
    assert len(set(wanted.values())) == len(kept)

    axes = dict(fronts.draw(analysis))["fronts"].axes[0]
    drawn = {line.get_label(): line.get_color() for line in axes.lines}
    assert {label: drawn[style.title(label)] for label in kept} == wanted
    write_page(tmp_path / "page.html", [analysis], [])
    page = (tmp_path / "page.html").read_text()
    (data,) = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert {method["label"]: method["color"] for method in data["methods"]} == wanted
    sent = SentSweep([of_record(each) for each in records], of_sweep(analysis))
    view, _ = saved_views.build(sent, "me", "scalpel")
    colours = {each.start["job_type"]: view.runset_settings.run_settings[each.id].color for each in sent.runs}
    assert colours == wanted


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
    """That this imports no PyTorch is tested where plugins are installed."""
    assert attributes("methods", "nash_mtl")["title"] == "Nash-MTL"
    assert attributes("methods", "sum")["color"] == "#000000"


def test_titles() -> None:
    titles = {
        "bloop_no_ema": "Bloop, no EMA",
        "nash_mtl_ema": "Nash-MTL with EMA",
        "mine_ema": "mine_ema",
        "a": "a",
    }
    assert {label: style.title(label) for label in titles} == titles
