"""The documents against what they speak of: recorded numbers, files that are linked."""

import re
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.experiments.box import Box
from scalpel_bench.benchmarks.experiments.claims import Claim, kinds
from scalpel_bench.benchmarks.experiments.common import Grid
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import Experiment, Labels
from scalpel_bench.benchmarks.experiments.settings import Training
from scalpel_bench.benchmarks.experiments.simulated import (
    ConvergenceRatesExperiment,
    MixedLossExperiment,
    NoiseExperiment,
)
from scalpel_bench.benchmarks.report import documents, method_pages
from scalpel_bench.entries import read_folder

ROOT = Path(__file__).parents[1]
OURS = ("docs", "results", "examples", "benchmarks", "methods", "tasks", "tests")
DOCUMENTS = [
    "README.md",
    "results/README.md",
    "CONTRIBUTING.md",
    "examples/plugin/README.md",
    *sorted(str(document.relative_to(ROOT)) for document in (ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize(
    "document",
    [
        *("README.md", "results/README.md"),
        *(
            f"docs/{name}.md"
            for name in ("choosing", "leaderboard", "measure", "methods", "performance", "tasks")
        ),
    ],
)
def test_the_tables_are_those_of_the_recorded_results(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "<!-- end -->" in text
    assert documents.render(text, ROOT / "results") == text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_have_targets(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    missing = [t for t in targets if not ((ROOT / document).parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_sections_have_targets(document: str) -> None:
    text = (ROOT / document).read_text()
    for target, section in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        there = (ROOT / document).parent / target if target else ROOT / document
        if there.suffix == ".md":
            heads = re.findall(r"(?m)^#+ (.+)$", there.read_text())
            assert section in {anchor(head) for head in heads}, f"{target}#{section}"


def anchor(head: str) -> str:
    """What GitHub makes of a heading: lower case, words joined by hyphens, without signs."""
    return re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")


def test_every_document_is_checked() -> None:
    """But the changelog, which names what is gone."""
    ours = {file.relative_to(ROOT) for folder in OURS for file in (ROOT / folder).rglob("*.md")}
    ours |= {file.relative_to(ROOT) for file in ROOT.glob("*.md")}
    assert set(map(str, ours)) == {*DOCUMENTS, "CHANGELOG.md"}


def test_the_properties_of_the_measure_are_tested() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/measure.md").read_text())
    tests = (ROOT / "tests/benchmarks/analysis/test_indicators.py").read_text()
    assert len(named) > 5
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_experiment_of_the_documents_is_one(tmp_path) -> None:
    text = (ROOT / "docs/experiments.md").read_text()
    example, claim = re.findall(r"```toml\n(.*?)```", text, re.S)
    file = tmp_path / "mine.toml"
    file.write_text(re.sub(r"(?m)^mine = .*$", "mine = { name = 'agem' }", example) + claim)
    loaded = load(str(file), "laptop")
    assert isinstance(loaded, Experiment)
    assert (len(loaded.lam), loaded.seeds, [c.id for c in loaded.claims]) == (10, 2, ["mine-better"])
    assert loaded.training_of("sum_step_of_bloop").methods == {"bloop"}


def test_the_keys_of_experiments_are_documented() -> None:
    text = (ROOT / "docs/experiments.md").read_text()
    models = [
        Experiment,
        NoiseExperiment,
        ConvergenceRatesExperiment,
        MixedLossExperiment,
        Grid,
        Box,
        Labels,
    ]
    models += [Training, *kinds(Claim)]
    keys = {key for model in models for key in model.model_fields} - {"name", "scale", "file"}
    assert sorted(key for key in keys if f"`{key}`" not in text) == []


def test_every_method_has_its_page_and_every_page_its_method() -> None:
    wanted = method_pages.pages_of((ROOT / "docs/methods.md").read_text())
    there = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs/methods").iterdir()}
    assert there == set(wanted), "`scalpel results fill docs/methods.md` writes pages; remove those left over"


def test_the_pages_of_methods_say_what_code_and_records_say() -> None:
    wanted = method_pages.pages_of((ROOT / "docs/methods.md").read_text())
    stale = [
        page.name
        for page, unfilled in wanted.items()
        if (ROOT / "docs" / page).read_text() != documents.render(unfilled, ROOT / "results")
    ]
    assert stale == [], "`scalpel results fill docs/methods.md` writes them again"


def test_the_field_names_every_method_of_the_suite_and_no_other() -> None:
    text = (ROOT / "docs/field.md").read_text()
    linked = re.findall(r"\[`(\w+)`\]\(methods/(\w+)\.md\)", text)
    assert all(name == place for name, place in linked)
    own = read_folder("methods").entries.keys()
    assert {name for name, _ in linked} == own


def test_every_row_of_the_field_is_whole() -> None:
    text = (ROOT / "docs/field.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d{4} \|", line)]
    assert len(rows) > 80
    for row in rows:
        assert len(row) == 5, row
        assert re.match(
            r"in G|in the lengths of G|coordinate-wise|needs losses|needs more: |random", row[3]
        ), row
        assert row[4].startswith(("no: ", "in part: ", "[`")), row
        assert all(
            label == identity for label, identity in re.findall(r"\[([^]`]+)\]\(\S+/abs/(\S+)\)", row[2])
        )


def test_advice_is_linked_to_a_record_or_marked_as_untested() -> None:
    text = (ROOT / "docs/choosing.md").read_text()
    advice = re.findall(r"(?m)^\| (.+?) \| (.+?) \| (.+) \|$", text.partition("## Front ratios")[0])
    assert len(advice) > 15
    for situation, begin, behind in advice[2:]:
        linked = re.search(r"\]\((\.\./results/|performance\.md|#front-ratios)", behind)
        assert linked or "ntested**" in begin + behind, situation
    methods = re.findall(r"\[`(\w+)`\]\(methods/\w+\.md\)", text)
    assert set(methods) <= read_folder("methods").entries.keys()
