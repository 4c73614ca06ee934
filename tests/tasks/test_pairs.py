import gzip
import json
from itertools import islice

import pytest

from scalpel_bench import tasks
from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, describe_data, execute
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data import pairs, tokens
from scalpel_bench.tasks.data.tokens import END, PAD
from tests.tasks.phrases import SMALL, phrases, smoke, write_lines


@pytest.fixture(scope="module")
def task():
    return tasks.create("translation")


def sources(task, split: str) -> set[str]:
    decode = task._pairs.tokenizer.decode_batch
    return {
        pairs.normalise(text) for o in task.objectives for text in decode(phrases(task, split, o, "source"))
    }


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

    def test_words_of_a_csv_are_words(self, folder) -> None:
        words = [("None", "Keine"), ("null", "Null"), ("NA", "k.A."), ("nan", "Oma"), ("one", "")]
        for split in ("train", "validation", "test"):
            (folder / "multi30k" / f"{split}.jsonl").unlink()
            write_lines(folder / "multi30k" / f"{split}.csv", ["en,de", *map(",".join, words)])
        _, corpus = pairs.open_corpora(str(folder), "tatoeba+multi30k")
        for rows, empty in corpus.read():
            assert [row[1:] for row in rows] == words[:4]
            assert empty == 1

    def test_the_notes_are_recorded(self, folder, tmp_path) -> None:
        file = folder / "multi30k" / "train.jsonl"
        write_lines(file, [*file.read_text().splitlines(), '{"en": "", "de": "leer"}'])
        place = ExecutionOptions(data=str(folder))
        (run,) = smoke(lam=[0.1], methods={"sum": {}}).plan(lambda s: describe_data(s, place))[:1]
        results = Folder(tmp_path / "results")
        results.prepare()
        record = execute([Job(run, results)], place)[0].record
        assert (record.status, record.notes) == ("completed", {"aux_empty_side": 1})
        results.write(record)
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

    def test_other_settings_and_other_contents_are_other_data(self, folder) -> None:
        first = tasks.create("translation", data=str(folder), **SMALL).dataset.fingerprint
        other = tasks.create("translation", data=str(folder), **SMALL | {"vocabulary": 400}).dataset
        assert other.fingerprint != first
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
        place = "data set multi30k, split train, row 0 (train.jsonl, line 1)"
        assert f"{place}: the column 'en' holds 1, which is no text" in self.message(folder)

    @pytest.mark.parametrize("packed", [False, True])
    def test_bytes_that_are_not_utf8(self, folder, packed: bool) -> None:
        file = folder / "multi30k" / "train.jsonl"
        write_lines(file, ['{"en": "a", "de": "b"}'] * 2 + [b'{"en": "caf\xe9", "de": "c"}'])
        if packed:
            file.with_suffix(".jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        name = "train.jsonl.gz" if packed else "train.jsonl"
        place = f"data set multi30k, split train, row 2 ({name}, line 3)"
        assert f"{place}: not UTF-8 text (byte 0xe9, " in self.message(folder)

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
        assert "data set multi30k, split train, row 1 (train.parquet): not UTF-8 text" in self.message(folder)

    def test_a_batch_larger_than_the_data(self, folder) -> None:
        assert (
            "tatoeba_en_de + multi30k, split train: batch_size 51 is more than the 50 pairs of the objective "
            "'aux'" in self.message(folder, batch_size=51)
        )

    def test_a_cache_that_cannot_be_written(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert (
            "the pairs cannot be kept in the cache (XDG_CACHE_HOME): [Errno 20] Not a directory"
            in self.message("embedded")
        )

    def test_a_cached_tokenizer_that_is_damaged_and_can_be_read(self, folder, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        _ = tasks.create("translation", data=str(folder), **SMALL).dataset
        (file,) = tmp_path.rglob("tokenizer.json")
        file.write_text(file.read_text().replace('"<s>"', '"<S>"'))
        assert f"{file} is damaged; remove {file.parent}, it is made again" in self.message(folder)

    def test_a_setting_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="steps_per_epoch must be at least 1, got 0"):
            tasks.create("translation", steps_per_epoch=0)
        with pytest.raises(ValueError, match="width 30 must be a multiple of twice the 4 heads"):
            tasks.create("translation", width=30)
        with pytest.raises(ValueError, match="vocabulary must be at least 259, .* got 100"):
            tasks.create("translation", vocabulary=100)
