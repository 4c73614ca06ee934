import pytest

from benchmarks.errors import UserError
from benchmarks.records import Folder
from tests.benchmarks.runs import conditioning, plan, record


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path / "sweep")
    folder.prepare()
    return folder


def test_a_record_survives_the_round_trip(folder) -> None:
    written = record(plan(conditioning())[0], 0.1, 0.2)
    folder.write(written)
    assert folder.read() == ([written], [])
    assert [f.name for f in folder.runs.iterdir()] == [f"{written.id}.json"]


def test_what_is_no_record_is_named_and_left_out(folder) -> None:
    good, moved = (record(run, 0.1, 0.2) for run in plan(conditioning())[:2])
    folder.write(good)
    text = good.model_dump_json()
    (folder.runs / "truncated.json").write_text(text[: len(text) // 2])
    (folder.runs / "other.json").write_text(text.replace('"schema_version":1', '"schema_version":99'))
    (folder.runs / f"{moved.id}.json").write_text(text)
    (folder.runs / "tampered.json").write_text(text.replace('"lam":0.01', '"lam":0.02'))
    records, rejected = folder.read()
    assert records == [good]
    assert len(rejected) == 4
    assert any("other.json: not a record of schema 1 (schema_version" in line for line in rejected)


def test_an_unwritable_folder_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="results folder .*file/x cannot be written"):
        Folder(tmp_path / "file" / "x").prepare()


def test_a_folder_that_vanishes_is_one_clear_error(folder) -> None:
    folder.runs.rmdir()
    with pytest.raises(UserError, match="runs cannot be written: No such file"):
        folder.write(record(plan(conditioning())[0], 0.1, 0.2))


def test_records_hold_no_path_of_the_machine(tmp_path) -> None:
    from benchmarks.sweep import Job, Place, execute

    folder = Folder(tmp_path / "sweep")
    folder.prepare()
    (done,) = execute([Job(plan(conditioning())[0], folder)], Place())
    folder.write(done.record)
    text = "".join(f.read_text() for f in folder.runs.iterdir())
    assert str(tmp_path) not in text
    assert "/" not in text.replace("N/A", "")
