import gzip
import json
import weakref
from collections import Counter
from itertools import islice, pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

import tasks
from benchmarks.experiment import Experiment, load
from benchmarks.records import Folder
from benchmarks.sweep import Job, Place, describe_data, execute
from benchmarks.training import Flat, Stepper, train
from tasks import DataError
from tasks.data import pairs, tokens
from tasks.data.tokens import BEGIN, END, PAD
from tasks.translation import greedy

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORTE = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
SMALL = {"vocabulary": 300, "batch_size": 8, "width": 32, "heads": 2, "feed_forward": 64, "max_length": 40}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        yield folder


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    return tasks.create("translation")


@pytest.fixture(scope="module")
def flat(task):
    torch.manual_seed(0)
    return Flat(task.build(), "cpu")


@pytest.fixture
def folder(tmp_path):
    """Tatoeba and Multi30k in small: phrases of number words."""

    def write(name: str, split: str, numbers: range) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        rows = [
            {language: " ".join(words[int(d)] for d in str(n)) for language, words in WORDS_OF.items()}
            for n in numbers
        ]
        write_lines(tmp_path / name / f"{split}.jsonl", [json.dumps(row) for row in rows])

    write("tatoeba_en_de", "train", range(1000, 1200))
    write("tatoeba_en_de", "validation", range(2000, 2020))
    write("multi30k", "train", range(30000, 30050))
    write("multi30k", "validation", range(31000, 31010))
    write("multi30k", "test", range(32000, 32010))
    return tmp_path


WORDS_OF = {"en": WORDS, "de": WORTE}


def write_lines(file, lines) -> None:
    file.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))


def phrases(task, split: str, objective: str, side: str) -> list[list[int]]:
    data = task.dataset.splits[split]
    ids, ends = data[f"{objective}_{side}"].tolist(), data[f"{objective}_{side}_ends"].tolist()
    return [ids[a:b] for a, b in pairwise(ends)]


def sources(task, split: str) -> set[str]:
    decode = task._pairs.tokenizer.decode_batch
    return {
        pairs.normalise(text) for o in task.objectives for text in decode(phrases(task, split, o, "source"))
    }


def unpadded(batch: torch.Tensor) -> list[list[int]]:
    return [row[: row.index(END) + 1] for row in batch.tolist()]


def smoke(**overrides) -> Experiment:
    experiment = load("fig5b", "smoke", overrides)
    assert isinstance(experiment, Experiment)
    return experiment


class TestData:
    def test_no_phrase_is_in_two_splits(self, task) -> None:
        train, validation, test = (sources(task, split) for split in ("train", "validation", "test"))
        assert not train & validation
        assert not train & test
        assert not validation & test
        assert len(train) > 5000
        assert len(test) > 500

    def test_a_source_with_held_out_splits_keeps_them(self, folder) -> None:
        task = tasks.create("translation", data=str(folder), **SMALL)
        assert (task.dataset.source, task.dataset.name) == ("folder", "tatoeba_en_de + multi30k")
        sizes = {
            split: [len(phrases(task, split, o, "source")) for o in task.objectives] for split in task.splits
        }
        carved = sizes["validation"][0]
        assert sizes == {"train": [200 - carved, 50], "validation": [carved, 10], "test": [20, 10]}
        assert 5 <= carved <= 40
        assert task.dataset.notes == {}

    def test_held_out_phrases_and_unusable_rows_are_skipped_and_counted(self, folder) -> None:
        leak = json.loads((folder / "multi30k" / "test.jsonl").read_text().splitlines()[0])
        file = folder / "tatoeba_en_de" / "train.jsonl"
        extra = [
            {"en": leak["en"].upper(), "de": "kein Training"},
            {"en": "", "de": "leer"},
            {"en": "no translation", "de": None},
            {"en": "x" * 100, "de": "lang"},
        ]
        write_lines(file, [*file.read_text().splitlines(), *map(json.dumps, extra)])
        task = tasks.create("translation", data=str(folder), **SMALL)
        assert task.dataset.notes == {
            "main_empty_side": 2,
            "main_held_out_elsewhere": 1,
            "main_too_long": 1,
        }
        assert pairs.normalise(leak["en"]) in sources(task, "test") - sources(task, "train")

    def test_the_notes_are_recorded(self, folder, tmp_path) -> None:
        file = folder / "multi30k" / "train.jsonl"
        write_lines(file, [*file.read_text().splitlines(), '{"en": "", "de": "leer"}'])
        place = Place(data=str(folder))
        (run,) = smoke(lam=[0.1], methods={"sum": {}}).plan(lambda s: describe_data(s, place))[:1]
        results = Folder(tmp_path / "results")
        results.prepare()
        record = execute(Job(run, results), place).record
        assert (record.status, record.notes) == ("completed", {"aux_empty_side": 1})
        assert results.read()[0] == [record]

    def test_the_tokenizer_loses_nothing(self, task) -> None:
        tokenizer = task._pairs.tokenizer
        texts = [text for pair in islice(pairs.cldr.noisy_formats(), 500) for text in pair]
        texts += ["Straße, naïve — “½”", "日本語 😀", "a\tb  c"]
        encoded = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        assert tokenizer.decode_batch(encoded) == texts
        assert all(ids[-1] == END and PAD not in ids for ids in encoded)
        assert tokenizer.get_vocab_size() == task.vocabulary

    def test_a_second_build_is_the_same_and_a_second_load_builds_nothing(
        self, task, tmp_path, monkeypatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        again = tasks.create("translation")
        assert again.dataset.fingerprint == task.dataset.fingerprint
        assert again._pairs.tokenizer.to_str() == task._pairs.tokenizer.to_str()
        monkeypatch.setattr(tokens, "_build", lambda *_: pytest.fail("built again"))
        assert tasks.create("translation").dataset.fingerprint == task.dataset.fingerprint
        assert [path.name[0] for path in (tmp_path / "scalpel" / "pairs").iterdir()] != ["."]

    def test_other_settings_and_other_contents_are_other_data(self, task, folder) -> None:
        assert tasks.create("translation", vocabulary=400).dataset.fingerprint != task.dataset.fingerprint
        first = tasks.create("translation", data=str(folder), **SMALL).dataset.fingerprint
        file = folder / "multi30k" / "train.jsonl"
        write_lines(file, [*file.read_text().splitlines(), '{"en": "new", "de": "neu"}'])
        assert tasks.create("translation", data=str(folder), **SMALL).dataset.fingerprint != first

    def test_the_hubs_nested_and_renamed_columns_are_read(self, folder) -> None:
        plain = tasks.create("translation", data=str(folder), **SMALL).dataset.fingerprint
        for name, form in (("tatoeba_en_de", "translation"), ("multi30k", "english")):
            for file in (folder / name).iterdir():
                rows = [json.loads(line) for line in file.read_text().splitlines()]
                nested = [{"translation": row} for row in rows]
                renamed = [{"english": row["en"], "non_english": row["de"]} for row in rows]
                write_lines(file, map(json.dumps, nested if form == "translation" else renamed))
        assert tasks.create("translation", data=str(folder), **SMALL).dataset.fingerprint == plain


class TestErrors:
    def message(self, folder, **settings) -> str:
        with pytest.raises(DataError) as raised:
            _ = tasks.create("translation", data=str(folder), **SMALL | settings).dataset
        assert "\n" not in str(raised.value)
        return str(raised.value)

    def test_a_missing_data_set(self, tmp_path) -> None:
        assert "data set tatoeba_en_de could not be read" in self.message(tmp_path)
        message = self.message(tmp_path, corpora="paracrawl+wmt")
        assert "the folder" in message
        assert "para_crawl_en_de holds a train split with the columns en and de" in message

    def test_a_missing_wmt_says_what_must_be_in_it(self, folder) -> None:
        (folder / "tatoeba_en_de").rename(folder / "para_crawl_en_de")
        message = self.message(folder, corpora="paracrawl+wmt")
        assert "wmt_en_de holds train.jsonl (the test sets of WMT 2009-2019) and test.jsonl" in message

    def test_the_hub_has_no_paracrawl(self) -> None:
        assert "give --data PATH where PATH/para_crawl_en_de holds" in self.message(
            "hub", corpora="paracrawl+wmt"
        )

    def test_unknown_corpora(self, folder) -> None:
        assert "corpora must be one of tatoeba+multi30k, paracrawl+wmt, got 'opus'" in self.message(
            folder, corpora="opus"
        )

    def test_a_missing_column(self, folder) -> None:
        write_lines(folder / "multi30k" / "test.jsonl", ['{"en": "a", "fr": "b"}'])
        for split in ("train", "validation"):
            (folder / "multi30k" / f"{split}.jsonl").unlink()
        write_lines(folder / "multi30k" / "train.jsonl", ['{"en": "a", "fr": "b"}'])
        assert "data set multi30k, split train: no column 'de'; it has ['en', 'fr']" in self.message(folder)

    def test_no_train_split(self, folder) -> None:
        (folder / "multi30k" / "train.jsonl").unlink()
        assert "data set multi30k has no split 'train'; it has validation, test" in self.message(folder)

    def test_only_empty_sides(self, folder) -> None:
        write_lines(folder / "multi30k" / "train.jsonl", ['{"en": "a", "de": ""}'] * 3)
        assert self.message(folder) == (
            "data set multi30k, split train: no pair is left; skipped {'aux_empty_side': 3}"
        )

    def test_something_else_than_text(self, folder) -> None:
        for split in ("train", "validation", "test"):
            write_lines(folder / "multi30k" / f"{split}.jsonl", ['{"en": 1, "de": 2}'])
        assert "data set multi30k, split train, row 0: 1 is not text" in self.message(folder)

    @pytest.mark.parametrize("packed", [False, True])
    def test_bytes_that_are_not_utf8(self, folder, packed: bool) -> None:
        file = folder / "multi30k" / "train.jsonl"
        write_lines(file, ['{"en": "a", "de": "b"}'] * 2 + [b'{"en": "caf\xe9", "de": "c"}'])
        if packed:
            file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        assert "data set multi30k, split train, row 2: not UTF-8 text" in self.message(folder)

    def test_parquet_that_is_not_utf8(self, folder) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        german = pa.array([b"gut", b"sch\xf6n"], pa.binary()).view(pa.utf8())
        (folder / "multi30k" / "train.jsonl").unlink()
        for split in ("validation", "test"):
            (folder / "multi30k" / f"{split}.jsonl").unlink()
        pq.write_table(
            pa.table({"en": ["good", "beautiful"], "de": german}), folder / "multi30k" / "train.parquet"
        )
        assert "data set multi30k, split train, row 1: not UTF-8 text" in self.message(folder)

    def test_a_batch_larger_than_the_data(self, folder) -> None:
        assert (
            "tatoeba_en_de + multi30k, split train: batch_size 51 is more than the 50 pairs of the objective "
            "'aux'" in self.message(folder, batch_size=51)
        )

    def test_a_cache_that_cannot_be_written(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert "cannot be written: Not a directory" in self.message("embedded")

    def test_a_setting_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
            tasks.create("translation", steps_per_epoch=0)
        with pytest.raises(ValueError, match="width 30 must be a multiple of twice the 4 heads"):
            tasks.create("translation", width=30)
        with pytest.raises(ValueError, match="vocabulary must be at least 259, .* got 100"):
            tasks.create("translation", vocabulary=100)


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
            gradients = [torch.autograd.grad(loss, flat.theta)[0] for loss in (a, b)]
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
        assert [name for name in flat.names if "embed_tokens" in name or "lm_head" in name] == []
        batch = next(task.batches(torch.Generator().manual_seed(0)))
        (tied,) = torch.autograd.grad(next(task.losses(flat.model(), batch)), flat.theta)
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

        run = smoke().plan(lambda s: describe_data(s, Place()))[0]
        task = tasks.create(**run.task)
        stepper, before, after = Stepper(run, task), [], []
        stepper.flat.module.register_forward_pre_hook(lambda *_: before.append(len(alive)))
        stepper.flat.module.register_forward_hook(lambda *_: after.append(len(alive)))
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
        (run,) = [r for r in experiment.plan(lambda s: describe_data(s, Place())) if r.label == "sum"]
        start, middle, end = train(run, task).trajectory
        assert end["train"]["aux"] < 0.05
        assert end["train"]["aux_bleu"] == pytest.approx(100)
        assert end["train"]["aux_chrf"] == pytest.approx(100)
        assert end["test"]["aux_bleu"] < 90
        assert set(end["test"]) == {"main", "aux", "main_bleu", "main_chrf", "aux_bleu", "aux_chrf"}
        assert set(start["test"]) == set(middle["test"]) == {"main", "aux"}
