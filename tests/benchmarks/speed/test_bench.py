import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.speed import bench, gpu, memory, peers, steps, surgery, workloads
from scalpel_bench.benchmarks.speed.measurements import Measurement
from scalpel_bench.benchmarks.speed.timing import Ratio, in_turns, milliseconds, ratio

MEBIBYTE = 2**18  # numbers in float32


@pytest.mark.parametrize(
    ("given", "verdict", "sought"),
    [
        ({"value": 1.0, "target": 1.0}, "met", "≤ 1.00"),
        ({"value": 1.01, "target": 1.0}, "missed", "≤ 1.00"),
        ({"value": 20.0, "target": 20.0, "at_least": True}, "met", "≥ 20.00"),
        ({"value": 19.9, "target": 20.0, "at_least": True}, "missed", "≥ 20.00"),
        ({"value": 3.0}, "no target", ""),
        ({"value": None, "target": 1.0, "note": "needs a GPU"}, "not measured", "≤ 1.00"),
    ],
)
def test_a_row_says_how_it_stands_to_its_target(given, verdict, sought) -> None:
    row = Measurement(part="a", figure="x", **given)
    assert (row.verdict, row.sought) == (verdict, sought)


def test_a_broken_record_says_what_makes_it_again(tmp_path) -> None:
    file = tmp_path / "quick.json"
    for text in ("", "[]", '{"rows": [{"part": "a"}]}'):
        file.write_text(text)
        with pytest.raises(
            UserError, match="no record of the bench: scalpel bench --device cpu makes it again"
        ):
            bench.read(file)


def test_turns_call_each_function_once_and_begin_with_another_one_each_time() -> None:
    calls: list[str] = []
    functions: dict[str, Callable[[], object]] = {n: partial(calls.append, n) for n in "abc"}
    times = in_turns(functions, "cpu", seconds=0, least=3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}
    assert len(in_turns(functions, "cpu", seconds=60, most=7)["a"]) == 7


def test_a_ratio_is_the_median_of_those_of_the_turns_with_their_quartiles() -> None:
    times = {"a": np.array([1.0, 2.0, 30.0, 4.0, 5.0]), "b": np.array([1.0, 1.0, 10.0, 1.0, 5.0])}
    assert ratio(times, "a", "b") == Ratio(2.0, 1.0, 3.0)
    assert ratio(times, "a", "b", scale=2) == Ratio(4.0, 2.0, 6.0)
    assert milliseconds(times, "a") == 4000


def test_peak_memory_counts_what_is_kept_and_what_the_call_allocates() -> None:
    def start() -> Callable[[], object]:
        torch.zeros(64 * MEBIBYTE)
        kept = torch.zeros(3 * MEBIBYTE)

        def call() -> None:
            larger = torch.zeros(2 * MEBIBYTE)
            del larger
            torch.zeros(1 * MEBIBYTE)
            kept.add_(1)

        return call

    assert memory.of_call(start, "cpu") == pytest.approx(5 * 2**20, rel=0.01)


def grown(model: torch.nn.Module, values: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])


@pytest.mark.parametrize("workload", [workloads.two_heads("cpu", 16), workloads.transformer("cpu")])
@pytest.mark.parametrize(
    ("library", "method"),
    [
        ("torchjd", "pcgrad"),
        ("torchjd", "mgda"),
        ("torchjd", "upgrad"),
        ("LibMTL", "pcgrad"),
        ("LibMTL", "mgda"),
    ],
)
def test_peers_take_the_same_step_as_we_do(workload, library, method) -> None:
    if note := peers._missing(library):
        pytest.skip(note)
    batch, ours = workload.batch(), workload.stepper(method, lam=1.0)
    start = {name: p.detach().clone() for name, p in ours.models.parts(ours.models.theta).items()}
    peer = (
        peers.TorchJD(workload.task, method) if library == "torchjd" else peers.LibMTL(workload.task, method)
    )
    grown(peer.module, start)
    ours.update.own.optimizer = torch.optim.SGD([ours.models.theta], lr=1.0)
    peer.optimizer = torch.optim.SGD(peer.module.parameters(), lr=1.0)
    ours.step(batch)
    peer.step(batch)
    ended = dict(peer.module.named_parameters())
    for name, part in ours.models.parts(ours.models.theta.detach()).items():
        moved, peers_moved = part - start[name], ended[name].detach() - start[name]
        assert (moved - peers_moved).norm() < (1e-2 if method == "mgda" else 1e-3) * moved.norm(), name


def test_a_peer_that_is_not_installed_gets_a_line(monkeypatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: None)
    workload = workloads.two_heads("cpu", 16)
    rivals = peers.rivals(workload.task, "pcgrad", full=False)
    rows = list(peers.compared(workload, "pcgrad", rivals, 0.0))
    assert [row.note for row in rows] == [peers.INSTALL] * 3
    assert [row.verdict for row in rows] == ["not measured"] * 3


def test_a_peer_that_cannot_be_imported_gets_a_line(monkeypatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: package)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    assert peers._missing("torchjd").startswith("cannot be imported: ")


def test_plain_pytorch_takes_the_same_step_as_we_do() -> None:
    workload = workloads.small_weights("cpu")
    ours, batch = workload.stepper("sum"), workload.batch()
    bare = steps.Bare(workload.task, steps._first, weight_decay=0.3)
    start = {name: p.detach().clone() for name, p in ours.models.parts(ours.models.theta).items()}
    grown(bare.module, start)
    ours.step(batch)
    bare.step(batch)
    ended = dict(bare.module.named_parameters())
    for name, part in ours.models.parts(ours.models.theta.detach()).items():
        moved, bares = part - start[name], ended[name].detach() - start[name]
        assert (moved - bares).norm() < 0.02 * moved.norm(), name


def test_steps_are_compared_with_those_of_sum() -> None:
    workload = workloads.two_heads("cpu", 16)
    assert not workload.stepper("sum").single_backward
    assert workload.stepper("sum", one_backward=True).single_backward
    assert not workload.stepper("bloop", one_backward=True).single_backward
    (row,) = steps.beside_sum(workload, ("bloop",), None, 0.0, one_backward=True)
    assert row.figure.startswith("step of bloop / step of sum with one backward pass (two heads")
    rows = list(steps._against_sum(workload, ("sum", "bloop", "mgda"), 1.03, 0.0))
    assert [row.figure.split(" / ")[0] for row in rows] == ["step of bloop", "step of mgda"]
    assert [row.target for row in rows] == [1.03, None]
    assert all(row.value and row.low and row.high and row.low <= row.high for row in rows)


def test_an_exponent_comes_with_an_interval() -> None:
    exact = surgery._exponent("e", "x", [1, 2, 4, 8], [3, 12, 48, 192])
    assert (exact.value, exact.low, exact.high) == pytest.approx((2, 2, 2))
    noisy = surgery._exponent("e", "x", [1, 2, 4, 8, 16], [1.1, 1.9, 4.3, 7.6, 16.8])
    assert noisy.low < 1 < noisy.high
    assert noisy.high - noisy.low < 0.3


@pytest.mark.parametrize(("k", "n", "shape"), [(2, 1, (50,)), (4, 1, (50,)), (2, 3, (3, 50))])
def test_a_direction_is_timed_at_any_size(k, n, shape) -> None:
    assert surgery.direction(50, k, n, "cpu")().shape == shape


MADE_ON: dict[str, str | int | None] = {"processor": "this one", "commit": "old", "torchjd": "0.18"}


def record(tmp_path) -> None:
    rows = [
        Measurement(part="a", figure="step", value=1.234, low=1.2, high=1.3, target=1.1, milliseconds=5.0),
        Measurement(part="d", figure="population", value=None, target=20, at_least=True, note="needs a GPU"),
        Measurement(part="e", figure="exponent", value=1.0),
    ]
    path = bench.record_path(tmp_path, full=False)
    path.parent.mkdir()
    path.write_text(bench.BenchRecord(environment=MADE_ON, rows=rows).model_dump_json())


def test_a_part_is_measured_again_and_the_others_are_kept(tmp_path, monkeypatch) -> None:
    record(tmp_path)
    peers = {"torchjd": "0.18", "libmtl": None}
    here = {"processor": "this one", "commit": "new"}
    monkeypatch.setattr(bench, "environment", lambda device: {**here})
    monkeypatch.setattr(bench, "_version", lambda name: peers[name.lower()])
    again = Measurement(part="d", figure="population", value=21.0, target=20, at_least=True)
    monkeypatch.setattr(bench, "_measured", lambda device, full, parts: iter([again]))
    assert list(bench.measure(tmp_path, "cpu", False, "d")) == [again]
    found = bench.read(bench.record_path(tmp_path, full=False))
    assert [(row.part, row.value) for row in found.rows] == [("a", 1.234), ("d", 21.0), ("e", 1.0)]
    assert list(found.commits) == ["d"]
    with pytest.raises(UserError, match="--part z: there are a, b"):
        next(bench.measure(tmp_path, "cpu", False, "dz"))
    with pytest.raises(UserError, match="--part h is of the CPU: add --device cpu"):
        next(bench.measure(tmp_path, "cuda", False, "dh"))
    here["processor"] = "another"
    with pytest.raises(UserError, match="with processor this one, and here it is another: measure all parts"):
        next(bench.measure(tmp_path, "cpu", False, "d"))
    assert len(bench.read(bench.record_path(tmp_path, full=False)).rows) == 3


def test_what_only_a_gpu_can_tell_runs_through_on_the_cpu(monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    for name, value in {"SECONDS": 0.0, "PARAMETERS": 1000, "RUNS": 2}.items():
        monkeypatch.setattr(gpu, name, value)
    for name in ("resnet18", "eight_layers"):
        monkeypatch.setattr(workloads, name, lambda *sizes: workloads.two_heads("cpu", 16))
    bandwidth, replicas, *rows = gpu.measure("cpu")
    assert bandwidth.at_least
    assert min(bandwidth.low, bandwidth.value, bandwidth.high) > 0
    assert (replicas.target, replicas.at_least, replicas.at) == (20.0, True, {"N": 2})
    for beside, compiled, captured in (rows[:3], rows[3:6]):
        assert min(beside.value, compiled.value) > 0
        assert captured.verdict == "not measured"
        assert captured.note.startswith("captured in a CUDA graph: ")
    assert [row.part for row in rows[6:]] == ["f"] * 5


def test_the_part_of_a_gpu_has_a_record_of_its_own(tmp_path, monkeypatch) -> None:
    row = Measurement(part="a", figure="step", value=1.0)
    monkeypatch.setattr(gpu, "measure", lambda device: iter([row]))
    monkeypatch.setattr(bench, "environment", lambda device: {"commit": "abc"})
    assert [found.part for found in bench.measure(tmp_path, "cuda", False, "gpu")] == ["gpu"]
    found = bench.read(tmp_path / "bench" / "gpu.json")
    assert [(row.part, row.value) for row in found.rows] == [("gpu", 1.0)]
    assert found.commits == {"gpu": "abc"}
    with pytest.raises(UserError, match="--part gpu: there is no GPU here"):
        next(bench.measure(tmp_path, "cpu", False, "gpu"))
