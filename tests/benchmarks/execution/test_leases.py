"""Leases on runs, between processes and machines."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.execution import leases as module
from scalpel_bench.benchmarks.execution.leases import Leases
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder


@pytest.fixture
def record(tmp_path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "0123456789abcdef.json"


def left_by(record: Path, **changes: object) -> Path:
    """A lease that nobody holds any more, with some of its owner changed."""
    lease = record.with_suffix(".lease")
    with Leases() as leases:
        assert leases.take(record)
        owner = json.loads(lease.read_text())
    lease.write_text(json.dumps({**owner, **changes}))
    return lease


def test_one_of_two_has_a_run_until_it_gives_it_back(record) -> None:
    with Leases() as first, Leases() as second:
        assert first.take(record)
        assert first.take(record)
        assert not second.take(record)
        first.release(record)
        assert second.take(record)
        assert not first.take(record)
    assert list(record.parent.glob("*.lease")) == []


def test_the_lease_of_a_process_that_died_expires_at_once(record) -> None:
    died = subprocess.Popen([sys.executable, "-S", "-c", ""])
    died.wait()
    assert left_by(record, pid=died.pid).exists()
    with Leases() as leases, Leases() as late:
        assert leases.take(record)
        assert not late.take(record)


def test_a_process_number_that_is_used_again_keeps_no_lease(record) -> None:
    left_by(record, started="1")
    with Leases() as leases:
        assert leases.take(record)


@pytest.mark.parametrize("content", [None, "", "{", '{"machine": 3}', "\x00"])
def test_a_lease_of_elsewhere_expires_when_it_is_touched_no_more(content, record, monkeypatch) -> None:
    lease = left_by(record, machine="another", pid=os.getpid())
    if content is not None:
        lease.write_text(content)
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with Leases() as leases:
        assert not leases.take(record)
        clock[0] += module.EXPIRY - 1
        os.utime(lease, (1, 1))  # its clock may be years behind
        assert not leases.take(record)
        clock[0] += module.EXPIRY - 1
        assert not leases.take(record)
        clock[0] += 2
        assert leases.take(record)


def test_leases_that_are_held_show_that_their_owner_lives(record, monkeypatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.01)
    with Leases() as leases:
        leases.take(record)
        lease = record.with_suffix(".lease")
        os.utime(lease, (1, 1))
        for _ in range(1000):
            if lease.stat().st_mtime > 1:
                return
            leases._left.wait(0.01)
    raise AssertionError("no heartbeat")


def test_a_lease_that_was_taken_over_is_not_removed_by_its_first_owner(record) -> None:
    with Leases() as first, Leases() as second:
        first.take(record)
        lease = record.with_suffix(".lease")
        lease.write_text(second._text)
        first.release(record)
        assert lease.exists()


def test_a_folder_that_is_gone_is_one_clear_error(record) -> None:
    with Leases() as leases, pytest.raises(UserError, match="cannot be written: No such file"):
        leases.take(record.parent / "gone" / record.name)


def test_what_an_older_version_left_does_no_harm(record) -> None:
    older = record.with_suffix(".claim")
    older.write_text(json.dumps({"machine": "another", "pid": os.getpid(), "started": "1", "token": "0"}))
    with Leases() as leases:
        assert leases.take(record)
        leases.release(record)
    assert older.exists()
    assert Folder(record.parents[1]).read() == ([], [])


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_is_no_lease_and_is_not_written_through(kind, record, tmp_path) -> None:
    lease, outside = record.with_suffix(".lease"), tmp_path / "outside"
    lease.symlink_to(outside) if kind == "link" else os.mkfifo(lease)
    with Leases() as leases:
        assert leases.take(record)
    assert not outside.exists()
    assert list(record.parent.glob("*.lease")) == []


def test_a_disk_that_is_full_leaves_no_lease_that_nobody_holds(record) -> None:
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Leases() as leases:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(UserError, match="cannot be written: File too large"):
                leases.take(record)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        assert list(record.parent.iterdir()) == []
        assert leases.take(record)


@pytest.mark.parametrize("jump", [-1e8, 1e8], ids=["back", "forth"])
def test_a_clock_that_jumps_decides_nothing(jump: float, record, monkeypatch) -> None:
    """Neither the time of day of who looks, nor that of who touches its lease."""
    now, elapsed = module.time.time(), [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: elapsed[0])
    lease = left_by(record, machine="another", pid=os.getpid())
    with Leases() as leases:
        for beat in range(5):
            monkeypatch.setattr(module.time, "time", lambda n=beat: now + jump * n)
            os.utime(lease, (now + jump * beat * (-1) ** beat,) * 2)
            assert not leases.take(record)
            elapsed[0] += module.EXPIRY - 1
        assert not leases.take(record)
        elapsed[0] += 2
        assert leases.take(record)
