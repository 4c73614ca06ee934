import lzma
import os
import shutil
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import Folder, Origin, Record, adopt, adopted, take_over
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


class TestArchive:
    @pytest.fixture
    def written(self, folder) -> list[Record]:
        records = [record(run, 0.1, 0.2) for run in plan(conditioning())[:3]]
        for each in records:
            folder.write(each)
        return sorted(records, key=lambda each: each.id)

    def test_it_stands_for_the_files(self, folder, written) -> None:
        assert folder.pack() == 3
        shutil.rmtree(folder.runs)
        assert folder.has_records
        assert folder.read() == (written, [])
        assert folder.pack() == 3
        assert folder.read() == (written, [])

    def test_a_file_counts_before_it(self, folder, written) -> None:
        folder.pack()
        newer = written[1].model_copy(update={"status": "failed", "reason": "changed"})
        folder.write(newer)
        assert folder.read() == ([written[0], newer, written[2]], [])
        folder.file(newer.id).write_text("{}")
        records, rejected = folder.read()
        assert records == written
        assert len(rejected) == 1

    def test_what_is_damaged_in_it_is_named(self, folder, written) -> None:
        folder.pack()
        shutil.rmtree(folder.runs)
        lines = lzma.decompress(folder.archive.read_bytes()).decode().splitlines()
        lines[1] = lines[1].replace('"status":"completed"', '"status":"diverged"')
        folder.archive.write_bytes(lzma.compress("\n".join(lines).encode()))
        message = "runs.jsonl.xz, line 2: its content was changed after it was written"
        assert folder.read() == ([written[0], written[2]], [message])
        folder.archive.write_bytes(folder.archive.read_bytes()[:100])
        records, (line,) = folder.read()
        assert records == []
        assert "runs.jsonl.xz: not an archive of records" in line

    def test_large_ones_are_packed_into_several_files(self, folder, written, monkeypatch) -> None:
        monkeypatch.setattr("scalpel_bench.benchmarks.records.folder.LARGEST", 10)
        assert folder.pack() == 3
        names = ["runs.jsonl.xz", "runs.2.jsonl.xz", "runs.3.jsonl.xz"]
        assert [file.name for file in folder.archives] == names
        shutil.rmtree(folder.runs)
        assert folder.read() == (written, [])
        folder.archive_of(4 * written)
        assert len(folder.archives) == 12
        monkeypatch.undo()
        folder.pack()
        assert [file.name for file in folder.archives] == names[:1]
        assert folder.read() == (written, [])

    def test_a_damaged_one_is_never_written_over(self, folder, written) -> None:
        folder.pack()
        for each in written[1:]:
            folder.file(each.id).unlink()
        folder.archive.write_bytes(damaged := folder.archive.read_bytes()[:100])
        with pytest.raises(UserError, match="runs.jsonl.xz: not an archive of records.*restore the archive"):
            folder.pack()
        assert folder.archive.read_bytes() == damaged

    def test_a_full_disk_leaves_the_old_ones(self, folder, written, monkeypatch) -> None:
        folder.pack()
        shutil.rmtree(folder.runs)
        monkeypatch.setattr("scalpel_bench.benchmarks.records.folder.LARGEST", 10)

        def full(path: Path, content: bytes) -> None:
            if ".2." in path.name:
                raise UserError("no space")
            path.write_bytes(content)

        monkeypatch.setattr("scalpel_bench.benchmarks.records.folder.write_atomically", full)
        with pytest.raises(UserError, match="no space"):
            folder.pack()
        assert [file.name for file in folder.path.iterdir()] == ["runs.jsonl.xz"]
        assert folder.read() == (written, [])

    def test_no_records_are_not_packed(self, folder) -> None:
        with pytest.raises(UserError, match="no valid records"):
            folder.pack()
        assert not folder.has_records


def test_an_unwritable_folder_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="results folder .*file/x cannot be written"):
        Folder(tmp_path / "file" / "x").prepare()


def test_what_a_killed_process_left_half_written_is_removed_a_day_later(folder) -> None:
    old, new = folder.runs / ".a.json.0.tmp", folder.runs / ".b.json.1.tmp"
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    folder.prepare()
    assert list(folder.runs.iterdir()) == [new]


def test_a_folder_that_vanishes_is_one_clear_error(folder) -> None:
    folder.runs.rmdir()
    with pytest.raises(UserError, match="runs cannot be written: No such file"):
        folder.write(record(plan(conditioning())[0], 0.1, 0.2))


def test_records_hold_no_path_of_the_machine(tmp_path) -> None:
    from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, execute

    folder = Folder(tmp_path / "sweep")
    folder.prepare()
    (done,) = execute([Job(plan(conditioning())[0], folder)], ExecutionOptions())
    folder.write(done.record)
    text = "".join(f.read_text() for f in folder.runs.iterdir())
    assert str(tmp_path) not in text
    assert "/" not in text.replace("N/A", "")


def test_what_is_known_of_older_code_is_added_up(folder, tmp_path) -> None:
    other = Folder(tmp_path / "other")
    other.prepare()
    ours, theirs = (Origin("0" * 12, name, "task", 1) for name in ("mine", "sum"))
    for of, known in ((folder, ours), (other, theirs), (other, ours)):
        adopt(of, known, "1" * 12, ["2" * 16], 3, ["the same bits"])
    take_over(folder, other)
    assert adopted(folder) == {(ours, "1" * 12), (theirs, "1" * 12)}
