"""Results that come from anybody: what leads out of their folder is not followed, and nothing is left in them
that tells whose machine they were made on."""

import ast
import lzma
import os
import platform
import stat
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from scalpel_bench.benchmarks.catalogue import where_recorded
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute
from scalpel_bench.benchmarks.figures.panels import save
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, anonymous, load_sweep, source_of, write_manifest
from scalpel_bench.benchmarks.report import fill, write_page
from tests.benchmarks.runs import conditioning, jobs_of, plan, record

SECRET = "a private line"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def outside(tmp_path) -> Path:
    file = tmp_path / "outside"
    file.write_text(SECRET)
    return file


@pytest.fixture
def sweep(tmp_path) -> Folder:
    folder = Folder(tmp_path / "results" / "conditioning" / "smoke")
    folder.prepare()
    experiment = conditioning()
    for run in plan(experiment):
        folder.write(record(run, 0.1, 0.2))
    write_manifest(folder, experiment, "0" * 16)
    return folder


def everything(folder: Folder) -> bytes:
    return b"".join(
        file.read_bytes() for file in folder.path.rglob("*") if file.is_file() and not file.is_symlink()
    )


@pytest.mark.parametrize("kind", ["link", "link to a record", "pipe", "folder"])
def test_what_is_no_file_of_its_own_is_no_record_and_is_set_aside_unread(kind, sweep, outside) -> None:
    before = sweep.read()[0]
    victim = sweep.file(before[0].id)
    if kind == "link to a record":
        victim.rename(outside)
    victim.unlink(missing_ok=True)
    if kind.startswith("link"):
        victim.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(victim)
    else:
        victim.mkdir()
    held = outside.read_bytes()
    content = sweep.content()
    assert content.rejected == [f"{victim.name}: no regular file"]
    sweep.set_aside(content)
    assert sweep.read() == (before[1:], [])
    sweep.write(before[0])
    assert outside.read_bytes() == held
    assert SECRET.encode() not in everything(sweep)


def test_a_folder_of_records_that_is_a_link_is_neither_read_nor_written(sweep, tmp_path) -> None:
    sweep.runs.rename(tmp_path / "elsewhere")
    sweep.runs.symlink_to(tmp_path / "elsewhere")
    for action in (sweep.content, sweep.prepare):
        with pytest.raises(UserError, match="runs is a symbolic link: move what it leads to here"):
            action()


def test_all_of_the_results_may_be_a_link(sweep, tmp_path) -> None:
    (tmp_path / "linked").symlink_to(sweep.results)
    folder = Folder(tmp_path / "linked" / "conditioning" / "smoke")
    folder.prepare()
    assert folder.read() == sweep.read()


def test_an_archive_that_is_a_link_is_no_archive_and_is_never_written_through(sweep, outside) -> None:
    outside.write_bytes(lzma.compress(sweep.read()[0][0].sealed().encode()))
    sweep.archive.symlink_to(outside)
    assert sweep.content().damaged == ["runs.jsonl.xz: not an archive of records (no regular file)"]
    with pytest.raises(UserError, match="is no archive of records: no regular file"):
        where_recorded(sweep.results)
    held = outside.read_bytes()
    with pytest.raises(UserError, match="no regular file.*move it away"):
        sweep.pack()
    sweep.archive_of(sweep.read()[0])
    assert outside.read_bytes() == held
    assert not sweep.archive.is_symlink()


def test_figures_are_not_drawn_through_links(tmp_path, outside) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "fronts.png").symlink_to(outside)
    save(Figure(), tmp_path / "figures" / "fronts")
    assert outside.read_text() == SECRET
    assert (tmp_path / "figures" / "fronts.png").read_bytes()[1:4] == b"PNG"
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match="linked is a symbolic link"):
        save(Figure(), tmp_path / "linked" / "fronts")


def test_a_record_without_its_hash_is_none(sweep) -> None:
    victim = sweep.file(sweep.read()[0][0].id)
    victim.write_text(sweep.read()[0][0].model_dump_json())
    assert sweep.read()[1] == [f"{victim.name}: it has no hash of its content"]


def test_an_archive_is_xz_and_nothing_that_only_looks_like_it(sweep) -> None:
    sweep.archive.write_bytes(lzma.compress(b"{}\n", lzma.FORMAT_ALONE))
    assert "not an archive of records" in sweep.content().damaged[0]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_is_written_has_the_rights_that_the_user_wants(mask: int, tmp_path) -> None:
    before = os.umask(mask)
    try:
        folder = Folder(tmp_path / "sweep")
        folder.prepare()
        folder.write(record(plan(conditioning())[0], 0.1, 0.2))
        folder.pack()
        save(Figure(), folder.path / "figures" / "fronts")
    finally:
        os.umask(before)
    for path in folder.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask


def test_a_folder_is_the_same_by_any_path(sweep, monkeypatch) -> None:
    monkeypatch.chdir(sweep.runs)
    for path, results in (
        ("..", sweep.results),
        ("../../smoke", sweep.results),
        ("../..", sweep.results.parent),
    ):
        assert Folder(Path(path)).results == results
    fig6 = conditioning().model_copy(update={"name": "fig6"})
    mixed = type("Mixed", (), {"name": fig6.name, "source": "conditioning", "scale": "smoke"})()
    assert source_of(Folder(Path("..")), mixed).place == sweep.path
    assert load_sweep(Folder(Path(".."))).records == sweep.read()[0]


SPEAKER = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from scalpel_bench.methods import Method

@dataclass(frozen=True)
class Speaker(Method):
    name: ClassVar[str] = "speaker"

    def coefficients(self, gram, state, losses):
        import platform
        raise OSError(f"{Path.home()}/data and {Path.cwd()}/x on {platform.node()}")
"""


def test_what_an_error_says_of_the_machine_is_not_recorded(tmp_path, folder, monkeypatch) -> None:
    from scalpel_bench import methods

    (tmp_path / "speaker.py").write_text(SPEAKER)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    experiment = conditioning(lam=[1.0], methods={"speaker": {"name": "speaker.py:Speaker"}})
    try:
        jobs = [job for job in jobs_of(experiment, folder) if job.run.label == "speaker"]
        (done,) = execute(jobs, ExecutionOptions())
    finally:
        methods.REGISTRY.remove("speaker")
        methods.REGISTRY._files.clear()
    assert done.record.reason == "OSError: ~/data and ./x on this machine"


def test_words_that_only_begin_like_the_machine_stay() -> None:
    assert (
        anonymous(f"{platform.node()}-9 and x{platform.node()}")
        == f"{platform.node()}-9 and x{platform.node()}"
    )


def test_a_document_that_is_no_text_is_refused_and_stays(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"page.md: line 2: not UTF-8 text"):
        fill(page, tmp_path)
    assert page.read_bytes() == b"a\n\xff\n"


def test_a_pipe_or_a_device_is_not_replaced_by_a_page_or_a_document(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for write in (lambda path: write_page(path, [], []), lambda path: fill(path, tmp_path)):
        with pytest.raises(UserError, match="pipe is no file that can be replaced"):
            write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_nothing_of_the_suite_loads_a_pickle() -> None:
    """A pickle is code: tensors are loaded as such, arrays without objects, and nothing else is."""
    calls = []
    for file in (
        file for folder in ("methods", "tasks", "benchmarks") for file in ROOT.glob(f"{folder}/**/*.py")
    ):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {name.name.partition(".")[0] for name in node.names} | {getattr(node, "module", "")}
                assert not names & {
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "joblib",
                    "shelve",
                    "marshal",
                }, file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                options = {option.arg: ast.unparse(option.value) for option in node.keywords}
                assert "read_pickle" not in called, file
                assert "allow_pickle" not in options, file
                if called == "torch.load":
                    calls.append(options.get("weights_only"))
    assert calls == ["True"] * 3
