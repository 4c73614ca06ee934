import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.execution import leases as ownership
from scalpel_bench.benchmarks.execution.leases import Claims
from scalpel_bench.benchmarks.messages.errors import UserError


@pytest.fixture
def record(tmp_path) -> Path:
    return tmp_path / "0123456789abcdef.json"


def left_by(record: Path, **changes: object) -> Path:
    """A claim that nobody holds any more, with some of its owner changed."""
    claim = record.with_suffix(".claim")
    with Claims() as claims:
        assert claims.take(record)
        owner = json.loads(claim.read_text())
    claim.write_text(json.dumps({**owner, **changes}))
    return claim


def test_one_of_two_has_a_run_until_it_gives_it_back(record) -> None:
    with Claims() as first, Claims() as second:
        assert first.take(record)
        assert first.take(record)
        assert not second.take(record)
        first.release(record)
        assert second.take(record)
        assert not first.take(record)
    assert list(record.parent.glob("*.claim")) == []


def test_the_claim_of_a_process_that_died_expires_at_once(record) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from scalpel_bench.benchmarks.execution.leases import Claims\n"
        "Claims().take(Path(sys.argv[1])); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run([sys.executable, "-c", code, str(record)], env=environment, check=False)
    assert record.with_suffix(".claim").exists()
    with Claims() as claims, Claims() as late:
        assert claims.take(record)
        assert not late.take(record)


def test_a_process_number_that_is_used_again_keeps_no_claim(record) -> None:
    left_by(record, started="1")
    with Claims() as claims:
        assert claims.take(record)


@pytest.mark.parametrize("content", [None, "", "{", '{"machine": 3}', "\x00"])
def test_a_claim_of_elsewhere_expires_when_it_is_touched_no_more(content, record, monkeypatch) -> None:
    claim = left_by(record, machine="another", pid=os.getpid())
    if content is not None:
        claim.write_text(content)
    clock = [100.0]
    monkeypatch.setattr(ownership.time, "monotonic", lambda: clock[0])
    with Claims() as claims:
        assert not claims.take(record)
        clock[0] += ownership.EXPIRY - 1
        os.utime(claim, (1, 1))  # its clock may be years behind
        assert not claims.take(record)
        clock[0] += ownership.EXPIRY - 1
        assert not claims.take(record)
        clock[0] += 2
        assert claims.take(record)


def test_claims_that_are_held_show_that_their_owner_lives(record, monkeypatch) -> None:
    monkeypatch.setattr(ownership, "HEARTBEAT", 0.01)
    with Claims() as claims:
        claims.take(record)
        claim = record.with_suffix(".claim")
        os.utime(claim, (1, 1))
        for _ in range(1000):
            if claim.stat().st_mtime > 1:
                return
            claims._left.wait(0.01)
    raise AssertionError("no heartbeat")


def test_a_claim_that_was_taken_over_is_not_removed_by_its_first_owner(record) -> None:
    with Claims() as first, Claims() as second:
        first.take(record)
        claim = record.with_suffix(".claim")
        claim.write_text(second._text)
        first.release(record)
        assert claim.exists()


def test_a_folder_that_is_gone_is_one_clear_error(record) -> None:
    with Claims() as claims, pytest.raises(UserError, match="cannot be written: No such file"):
        claims.take(record.parent / "gone" / record.name)
