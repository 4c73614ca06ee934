import weakref
from collections import Counter
from itertools import islice
from random import Random

import pytest
import torch
from torch.nn.functional import cross_entropy

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, describe_data
from scalpel_bench.benchmarks.training import FlatModel, Stepper, train
from scalpel_bench.tasks.data.tokens import BEGIN, END, PAD
from scalpel_bench.tasks.translation import greedy
from tests.gradients import gradient
from tests.tasks.phrases import SMALL, phrases, smoke, write_lines


@pytest.fixture(scope="module")
def task():
    return tasks.create("translation")


@pytest.fixture(scope="module")
def flat(task):
    torch.manual_seed(0)
    return FlatModel(task.build(), "cpu")


def unpadded(batch: torch.Tensor) -> list[list[int]]:
    return [row[: row.index(END) + 1] for row in batch.tolist()]


class TestBatches:
    @pytest.mark.parametrize("objective", ["main", "aux"])
    def test_an_epoch_draws_every_pair_once(self, task, objective: str) -> None:
        batches = task.batches(torch.Generator().manual_seed(0))
        everything = Counter(
            zip(
                map(tuple, phrases(task, "train", objective, "source")),
                map(tuple, phrases(task, "train", objective, "target")),
                strict=True,
            )
        )
        for _ in range(2):
            drawn: Counter = Counter()
            while drawn.total() < everything.total():
                batch = next(batches)
                sides = [unpadded(batch[f"{objective}_{side}"]) for side in ("source", "target")]
                assert task.batch_size // 2 <= len(sides[0]) <= task.batch_size
                drawn.update(zip(map(tuple, sides[0]), map(tuple, sides[1]), strict=True))
            assert drawn == everything

    def test_the_generator_decides_the_order(self, task) -> None:
        def first(seed: int) -> list[torch.Tensor]:
            batches = task.batches(torch.Generator().manual_seed(seed))
            return [batch["main_source"] for batch in islice(batches, 5)]

        def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
            return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

        assert equal(first(1), first(1))
        assert not equal(first(1), first(2))

    def test_little_is_padding(self, task) -> None:
        shares = {}
        for objective in task.objectives:
            batches = islice(task.batches(torch.Generator().manual_seed(0)), 200)
            sides = [batch[f"{objective}_{s}"] for batch in batches for s in ("source", "target")]
            shares[objective] = sum(int((s == PAD).sum()) for s in sides) / sum(s.numel() for s in sides)
        assert shares["main"] < 0.09, shares
        assert shares["aux"] < 0.11, shares


class TestModel:
    def test_more_padding_changes_neither_losses_nor_gradients(self, task, flat) -> None:
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        wider = {name: torch.nn.functional.pad(rows, (0, 5), value=PAD) for name, rows in batch.items()}
        for a, b in zip(task.losses(flat.model(), batch), task.losses(flat.model(), wider), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=0)
            gradients = [gradient(flat, loss) for loss in (a, b)]
            torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)

    def test_the_loss_is_the_mean_over_tokens_that_are_no_padding(self, task, flat) -> None:
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        source, target = batch["main_source"], batch["main_target"]
        rows = [
            flat.model()(
                input_ids=s[s != PAD][None],
                decoder_input_ids=torch.cat([torch.tensor([BEGIN]), t[t != PAD][:-1]])[None],
            ).logits[0]
            for s, t in zip(source, target, strict=True)
        ]
        expected = cross_entropy(torch.cat(rows), target[target != PAD])
        torch.testing.assert_close(next(task.losses(flat.model(), batch)), expected, rtol=1e-5, atol=0)

    def test_a_token_sees_nothing_of_later_targets(self, flat) -> None:
        source = torch.tensor([[10, 11, 12, END]])
        first = torch.tensor([[BEGIN, 20, 21, 22, 23]])
        second = torch.tensor([[BEGIN, 20, 21, 30, 31]])
        a, b = (flat.model()(input_ids=source, decoder_input_ids=ids).logits for ids in (first, second))
        torch.testing.assert_close(a[:, :3], b[:, :3])
        assert not torch.allclose(a[:, 3], b[:, 3])

    def test_a_tied_weight_gets_the_gradient_of_every_use(self, task, flat) -> None:
        assert [name for name in flat.shapes if "embed_tokens" in name or "lm_head" in name] == []
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        tied = gradient(flat, next(task.losses(flat.model(), batch)))
        uses = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
        model = flat.model()
        shared = model.parameters["model.shared.weight"].detach()
        copies = {use: shared.clone().requires_grad_() for use in uses}
        own = {name: p for name, p in model.parameters.items() if name != "model.shared.weight"}
        state = {**own, **copies, "model.shared.weight": shared, **model.buffers}

        def untied(**inputs):
            return torch.func.functional_call(model.module, state, (), inputs, tie_weights=False)

        gradients = torch.autograd.grad(next(task.losses(untied, batch)), list(copies.values()))
        assert all(gradient.any() for gradient in gradients)
        torch.testing.assert_close(
            tied[: shared.numel()].view_as(shared), sum(gradients), rtol=1e-4, atol=1e-6
        )

    def test_the_first_graph_is_gone_when_the_second_is_built(self) -> None:
        class Saved:
            def __init__(self, tensor: torch.Tensor) -> None:
                self.tensor = tensor

        alive: weakref.WeakSet[Saved] = weakref.WeakSet()

        def pack(tensor: torch.Tensor) -> Saved:
            alive.add(saved := Saved(tensor))
            return saved

        run = smoke().plan(lambda s: describe_data(s, ExecutionOptions()))[0]
        task = tasks.create(**run.task)
        stepper, before, after = Stepper([run], task), [], []
        stepper.models.module.register_forward_pre_hook(lambda *_: before.append(len(alive)))
        stepper.models.module.register_forward_hook(lambda *_: after.append(len(alive)))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            stepper.step(next(task.batches(torch.Generator().manual_seed(0))))
        assert before == [0, 0]
        assert min(after) > 50


class TestEvaluation:
    def test_losses_are_of_the_same_pairs_whatever_the_batch(self, flat) -> None:
        with torch.no_grad():
            a, b = (
                tasks.create("translation", batch_size=size, evaluation_pairs=50).evaluate(
                    flat.model(), "test"
                )
                for size in (7, 32)
            )
        assert a == pytest.approx(b, rel=1e-5)
        assert set(a) == {"main", "aux"}

    def test_losses_are_means_over_the_tokens_of_pairs_of_that_split(self, flat) -> None:
        task = tasks.create("translation", evaluation_pairs=20, batch_size=8)
        for split in ("validation", "test"):
            with torch.no_grad():
                found = task.evaluate(flat.model(), split)
            for objective in task.objectives:
                sources, targets = (phrases(task, split, objective, of) for of in ("source", "target"))
                nats, tokens = 0.0, 0
                for row in Random(0).sample(range(len(sources)), 20):
                    begun = torch.tensor([[BEGIN, *targets[row][:-1]]])
                    with torch.no_grad():
                        outputs = flat.model()(
                            input_ids=torch.tensor([sources[row]]), decoder_input_ids=begun
                        )
                    ids = torch.tensor(targets[row])
                    nats += cross_entropy(outputs.logits[0], ids, reduction="sum").item()
                    tokens += len(ids)
                assert found[objective] == pytest.approx(nats / tokens, rel=1e-4)

    def test_greedy_is_the_most_probable_next_token_of_the_full_forward_pass(self, task, flat) -> None:
        source = next(task.batches(torch.Generator().manual_seed(3)))["main_source"]
        out = greedy(flat.model(), source, 12)
        begin = torch.full((len(out), 1), BEGIN)
        with torch.no_grad():
            logits = (
                flat.model()(
                    input_ids=source,
                    attention_mask=source != PAD,
                    decoder_input_ids=torch.cat([begin, out], 1),
                )
                .logits[:, :-1]
                .argmax(-1)
            )
        kept = out != PAD
        assert torch.equal(out[kept], logits[kept])
        assert out.shape[1] == 12

    @pytest.mark.slow
    def test_an_overfitted_model_translates_its_targets(self, folder) -> None:
        for split in ("train", "validation", "test"):
            file = folder / "multi30k" / f"{split}.jsonl"
            write_lines(file, file.read_text().splitlines()[:12])
        settings = {**SMALL, "batch_size": 12, "steps_per_epoch": 100, "width": 64, "decoded_pairs": 12}
        experiment = smoke(
            task=settings,
            methods={"sum": {}},
            lam=[100.0],
            training={"epochs": 2, "evaluations": 2, "lr": 3e-3},
        )
        task = tasks.create(**{**experiment.task, "data": str(folder)})
        (run,) = [
            r for r in experiment.plan(lambda s: describe_data(s, ExecutionOptions())) if r.label == "sum"
        ]
        start, middle, end = train([run], task)[0].trajectory
        assert end["train"]["aux"] < 0.05
        assert end["train"]["aux_bleu"] == pytest.approx(100)
        assert end["train"]["aux_chrf"] == pytest.approx(100)
        assert end["test"]["aux_bleu"] < 90
        assert set(end["test"]) == {"main", "aux", "main_bleu", "main_chrf", "aux_bleu", "aux_chrf"}
        assert set(start["test"]) == set(middle["test"]) == {"main", "aux"}
