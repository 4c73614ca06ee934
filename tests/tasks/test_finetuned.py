"""Models that are trained once and then changed: the checkpoint and its cache, forgetting and unlearning."""

import itertools
import logging
import math
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from torch.nn.functional import cross_entropy

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, describe_data, execute
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.benchmarks.training import FlatModel
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.bases import checkpoint
from scalpel_bench.tasks.bases.checkpoint import Checkpoint, trained_once
from scalpel_bench.tasks.bases.finetuned import Finetuned
from scalpel_bench.tasks.unlearning import ascent, byte_losses, npo
from tests.gradients import gradient
from tests.tasks.articles import SMALL, write_all

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.5])}
ONCE = """
import sys, torch
from pathlib import Path
from scalpel_bench.tasks.bases.checkpoint import trained_once
def train():
    with Path(sys.argv[1]).open("a") as file:
        file.write("trained ")
    return {"a": torch.arange(200_000.0)}
print(trained_once("identity", train).digest)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scalpel" / "checkpoints"


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_all(tmp_path / "data")


def make(name: str, folder: Path, **settings) -> Finetuned:
    task = tasks.create(name, data=str(folder), **{**SMALL, "pretraining_steps": 3, **settings})
    assert isinstance(task, Finetuned)
    return task


def never() -> dict[str, torch.Tensor]:
    pytest.fail("trained again")


class TestCheckpoint:
    """`trained_once` on weights made on the spot."""

    def test_what_was_trained_once_is_not_trained_again(self) -> None:
        first = trained_once("x", lambda: WEIGHTS)
        again = trained_once("x", never)
        assert again.weights.keys() == WEIGHTS.keys()
        assert all(torch.equal(again.weights[name], WEIGHTS[name]) for name in WEIGHTS)
        assert again.digest == first.digest

    def test_another_identity_has_weights_of_its_own(self) -> None:
        trained_once("x", lambda: WEIGHTS)
        other = {**WEIGHTS, "b": torch.tensor([0.25])}
        assert trained_once("y", lambda: other).digest != trained_once("x", never).digest

    @pytest.mark.parametrize("harm", ["bit", "half", "empty", "foreign", "pickle"])
    def test_what_is_not_what_was_written_is_made_again(self, cache, harm: str) -> None:
        digest = trained_once("x", lambda: WEIGHTS).digest
        (file,) = cache.glob("*.pt")
        content = file.read_bytes()
        if harm == "bit":
            file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        elif harm == "half":
            file.write_bytes(content[: len(content) // 2])
        elif harm == "empty":
            file.write_bytes(b"")
        elif harm == "pickle":
            file.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        else:
            trained_once("y", lambda: {"a": torch.zeros(1)})
            (other,) = set(cache.glob("*.pt")) - {file}
            file.write_bytes(other.read_bytes())
        made = []
        assert trained_once("x", lambda: made.append(1) or WEIGHTS).digest == digest
        assert made == [1]
        assert trained_once("x", never).digest == digest

    def test_a_write_that_was_cut_leaves_nothing_that_counts(self, cache, monkeypatch) -> None:
        def cut(descriptor: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, "fsync", cut)
            with pytest.raises(KeyboardInterrupt):
                trained_once("x", lambda: WEIGHTS)
        assert list(cache.glob("*.pt")) == []
        assert trained_once("x", lambda: WEIGHTS).digest == Checkpoint(WEIGHTS).digest

    def test_who_asks_in_mid_training_waits_and_trains_nothing(self, cache, monkeypatch) -> None:
        """The lock is on an open file: threads wait for each other as processes do."""
        log, waits = logging.getLogger("filelock"), Event()
        monkeypatch.setattr(log, "debug", lambda message, *_: "not acquired" in message and waits.set())
        asked: list[Future[Checkpoint]] = []

        def train() -> dict[str, torch.Tensor]:
            asked.append(pool.submit(trained_once, "identity", never))
            while not (waits.wait(0.01) or asked[0].done()):
                pass
            return WEIGHTS

        with ThreadPoolExecutor(1) as pool:
            trained = trained_once("identity", train)
            assert waits.is_set()
            assert asked[0].result().digest == trained.digest

    @pytest.mark.slow
    def test_processes_that_start_together_train_once(self, tmp_path, cache) -> None:
        log = tmp_path / "log"
        command = [sys.executable, "-c", ONCE, str(log)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        digests = {process.communicate()[0].strip() for process in started}
        assert digests == {trained_once("identity", never).digest}
        assert log.read_text() == "trained "

    def test_a_cache_that_cannot_be_written_is_one_line(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(DataError, match="a checkpoint cannot be kept in the cache"):
            trained_once("x", lambda: WEIGHTS)

    def test_a_digest_is_of_names_shapes_and_bits(self) -> None:
        others = [
            {"a": WEIGHTS["a"], "c": WEIGHTS["b"]},
            {"a": WEIGHTS["a"].T.contiguous(), "b": WEIGHTS["b"]},
            {"a": WEIGHTS["a"], "b": -WEIGHTS["b"]},
        ]
        digests = [Checkpoint(weights).digest for weights in (WEIGHTS, *others)]
        assert len(set(digests)) == 4
        assert Checkpoint(dict(reversed(WEIGHTS.items()))).digest == digests[0]


class TestStart:
    """What every task that starts from a checkpoint does."""

    @pytest.fixture
    def name(self) -> str:
        return "unlearning"

    @pytest.mark.parametrize("name", ["forgetting", "unlearning"])
    def test_every_run_starts_at_the_checkpoint_whatever_the_seed(self, name, folder, monkeypatch) -> None:
        task = make(name, folder)
        built = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            built.append(FlatModel(task.build(), "cpu").theta.detach().clone())
        assert torch.equal(*built)
        monkeypatch.setattr(Finetuned, "_pretrained", lambda *args: never())
        again = make(name, folder)
        assert torch.equal(FlatModel(again.build(), "cpu").theta, built[0])
        assert again.dataset.fingerprint == task.dataset.fingerprint

    def test_the_first_training_leaves_threads_and_random_numbers_alone(self, name, folder) -> None:
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            _ = make(name, folder).dataset
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(torch.get_rng_state(), before)

    def test_name_and_fingerprint_tell_the_checkpoint(self, name, folder) -> None:
        data = make(name, folder).dataset
        assert data.name == f"allenai/c4 and reuters21578, checkpoint {data.checkpoint.digest}"
        longer = make(name, folder, pretraining_steps=4).dataset
        assert longer.checkpoint.digest != data.checkpoint.digest
        assert longer.fingerprint != data.fingerprint

    def test_what_does_not_decide_the_weights_trains_nothing(self, name, folder, monkeypatch) -> None:
        first = make(name, folder).dataset.checkpoint.digest
        monkeypatch.setattr(Finetuned, "_pretrained", lambda *args: never())
        assert make(name, folder, evaluation_windows=3).dataset.checkpoint.digest == first

    def test_a_worker_refuses_another_checkpoint_than_was_planned(self, name, folder, tmp_path) -> None:
        place = ExecutionOptions(data=str(folder))
        experiment = load(name, "smoke", {"task": {**SMALL, "pretraining_steps": 2}})
        run = experiment.plan(lambda settings: describe_data(settings, place))[0]
        planned = run.data.model_copy(update={"fingerprint": "f" * 16})
        results = Folder(tmp_path / "results")
        results.prepare()
        with pytest.raises(UserError, match=f"{name} starts here from allenai/c4 .*, but .* was planned"):
            execute([Job(run.model_copy(update={"data": planned}), results)], place)
        record = execute([Job(run, results)], place)[0].record
        assert record.status == "completed", record.reason

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"pretraining_steps": 0}, "pretraining_steps must be at least 1, got 0"),
            ({"pretraining_lr": 0.0}, "pretraining_lr must be > 0 and finite, got 0"),
            ({"pretraining_lr": math.inf}, "pretraining_lr must be a finite number, got inf"),
            ({"width": 15}, "width 15 must be a multiple of heads 2"),
        ],
    )
    def test_settings_outside_their_range_are_refused(self, name, settings, message) -> None:
        with pytest.raises(ValueError, match=message):
            make(name, Path(), **settings)

    def test_a_first_training_that_diverges_is_one_line_and_kept_nowhere(self, name, folder, cache) -> None:
        with pytest.raises(DataError, match=f"{name}: its first training left the finite numbers: pretrain"):
            _ = make(name, folder, pretraining_lr=1e38).dataset
        assert list(cache.glob("*.pt")) == []


def test_the_first_training_lowers_the_loss_of_the_corpora_that_it_saw(folder) -> None:
    change = {}
    for name in ("forgetting", "unlearning"):
        task = make(name, folder, pretraining_steps=40, evaluation_windows=8)
        with torch.no_grad():
            trained = task.evaluate(FlatModel(task.build(), "cpu").model(), "train")
            fresh = FlatModel(tasks.get("language_model").build(task), "cpu").model()
            untrained = task.evaluate(fresh, "train")
        of_aux = {"forgetting": "aux", "unlearning": "forget"}[name]
        change[name] = [untrained[key] - trained[key] for key in ("main", of_aux)]
    assert change["forgetting"][0] > 1
    assert change["unlearning"][0] > 1
    assert change["unlearning"][1] > change["forgetting"][1] + 1


class TestUnlearning:
    """The losses that make a model forget."""

    @pytest.mark.parametrize("beta", [0.1, 2.0])
    def test_npo_is_its_formula_and_weighs_the_gradient_of_ascent(self, beta: float) -> None:
        """W = 2 π^β / (π^β + π₀^β) of a window weighs its gradient (Zhang et al. 2024, Section 3)."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
        tokens = torch.randint(7, (3, 5), generator=generator)
        reference = torch.tensor([-8.0, -11.0, -14.0], dtype=torch.float64)
        nats = cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        loss = npo(nats, reference, beta)
        ratios = [(-nats[i].sum() - reference[i]).exp().item() for i in range(3)]
        expected = sum(2 / beta * math.log(1 + ratio**beta) for ratio in ratios) / 3 / 5
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        (found,) = torch.autograd.grad(loss, logits)
        one_hot = torch.nn.functional.one_hot(tokens, 7)
        of_log_pi = one_hot - logits.detach().softmax(-1)
        weights = torch.tensor([2 * r**beta / (r**beta + 1) for r in ratios], dtype=torch.float64)
        torch.testing.assert_close(found, weights[:, None, None] * of_log_pi / 3 / 5)

    def test_each_split_is_compared_with_the_checkpoint_on_its_own_windows(self, folder) -> None:
        task = make("unlearning", folder, beta=0.5)
        flat, expected = FlatModel(task.build(), "cpu"), 2 / 0.5 * math.log(2) / task.context
        with torch.no_grad():
            for split in ("train", "validation", "test"):
                assert task.evaluate(flat.model(), split)["aux"] == pytest.approx(expected, rel=1e-5)

    def test_npo_of_small_beta_has_the_gradient_of_ascent(self) -> None:
        nats = torch.tensor([[1.0, 2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
        reference = torch.tensor([-2.0, -4.0], dtype=torch.float64)
        (small,) = torch.autograd.grad(npo(nats, reference, 1e-6), nats)
        (plain,) = torch.autograd.grad(ascent(nats), nats)
        torch.testing.assert_close(small, plain, rtol=1e-5, atol=0)
        assert (plain == -0.25).all()

    def test_ascent_leaves_a_byte_alone_that_is_no_better_than_a_guess(self) -> None:
        nats = torch.tensor([[1.0, 5.5], [5.6, 9.0]], requires_grad=True)
        loss = ascent(nats)
        loss.backward()
        assert loss.item() == pytest.approx(-(1 + 5.5 + 2 * math.log(256)) / 4)
        assert nats.grad is not None
        assert nats.grad.tolist() == [[-0.25, -0.25], [0, 0]]

    @pytest.mark.parametrize("forget", ["npo", "ascent"])
    def test_the_model_forgets_what_it_is_told_to(self, folder, forget: str) -> None:
        task = make("unlearning", folder, forget=forget, pretraining_steps=40, evaluation_windows=8)
        flat = FlatModel(task.build(), "cpu")
        with torch.no_grad():
            before = task.evaluate(flat.model(), "train")
        optimizer = torch.optim.Adam([flat.theta], 1e-3)
        for batch in itertools.islice(task.batches(torch.Generator().manual_seed(0)), 10):
            _, aux = task.losses(flat.model(), batch)
            flat.theta.grad = gradient(flat, aux)
            optimizer.step()
        with torch.no_grad():
            after = task.evaluate(flat.model(), "train")
        assert after["aux"] < before["aux"]
        assert after["forget"] > before["forget"] + 0.1

    def test_at_the_checkpoint_the_ratio_of_npo_is_one(self, folder) -> None:
        task = make("unlearning", folder, beta=0.5)
        flat = FlatModel(task.build(), "cpu")
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        main, aux = task.losses(flat.model(), batch)
        expected = 2 / 0.5 * math.log(2) / task.context
        assert aux.item() == pytest.approx(expected, rel=1e-5)
        assert main.item() == pytest.approx(byte_losses(flat.model(), batch["main"]).mean().item())
        with torch.no_grad():
            assert task.evaluate(flat.model(), "test")["aux"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("forget", ["npo", "ascent"])
    def test_evaluation_is_that_of_the_language_model_and_of_the_auxiliary_loss(self, folder, forget) -> None:
        task = make("unlearning", folder, forget=forget, evaluation_windows=7)
        flat = FlatModel(task.build(), "cpu")
        with torch.no_grad():
            flat.theta.mul_(1.1)
            found = task.evaluate(flat.model(), "validation")
            plain = tasks.get("language_model").evaluate(task, flat.model(), "validation")
            windows = task._evaluated(task.dataset.splits["validation"]["aux"])
            nats = byte_losses(flat.model(), windows)
            start = byte_losses(FlatModel(task.build(), "cpu").model(), windows)
        aux = npo(nats, -start.sum(-1), task.beta) if forget == "npo" else ascent(nats)
        assert found == pytest.approx(
            {
                "main": plain["main"],
                "aux": aux.item(),
                "forget": plain["aux"],
                "main_bits_per_byte": plain["main_bits_per_byte"],
                "forget_bits_per_byte": plain["aux_bits_per_byte"],
            },
            rel=1e-5,
        )

    def test_a_stream_is_that_of_its_seed(self, folder) -> None:
        task = make("unlearning", folder)
        once, again = (task.batches(torch.Generator().manual_seed(3)) for _ in range(2))
        for a, b in itertools.islice(zip(once, again, strict=True), 2):
            assert a.keys() == b.keys() == {"main", "aux", "reference"}
            assert all(torch.equal(a[key], b[key]) for key in a)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"forget": "npo+"}, r"forget must be npo or ascent, got 'npo\+'"),
            ({"beta": 0.0}, "beta must be > 0 and finite, got 0"),
            ({"beta": math.nan}, "beta must be a finite number, got nan"),
        ],
    )
    def test_settings_outside_their_range_are_refused(self, settings, message) -> None:
        with pytest.raises(ValueError, match=message):
            make("unlearning", Path(), **settings)
