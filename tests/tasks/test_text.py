"""Text corpora: what is read, what is kept on disk, and every error."""

import gzip
import hashlib
import pwd
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.execution import ExecutionOptions, Job, describe_data, execute, loaded_tasks
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.messages import UserError
from scalpel_bench.benchmarks.records import Folder
from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data import corpus, text
from scalpel_bench.tasks.data.corpus import Documents, read_corpus
from tests.tasks.articles import (
    GENERIC,
    HELD_OUT,
    SMALL,
    SPECIALISED,
    contents,
    joined,
    make,
    write,
    write_all,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv(text.TEXTS, raising=False)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_all(tmp_path / "data")


def test_the_files_are_the_first_articles_split_by_article(folder) -> None:
    task = make(folder, main_articles=40, aux_articles=20)
    files = contents(task)
    assert files["train", "main"] == joined([t for i, t in enumerate(GENERIC) if i % 10 != 9])
    assert files["validation", "main"] == joined(GENERIC[9::10])
    assert files["train", "aux"] == joined([t for i, t in enumerate(SPECIALISED[:20]) if i % 10 != 9])
    assert files["validation", "aux"] == joined([SPECIALISED[9], SPECIALISED[19]])
    assert files["test", "main"] == files["test", "aux"] == joined(HELD_OUT)
    assert task.dataset.name == "allenai/c4 and reuters21578"
    assert task.dataset.notes["aux train documents"] == 20
    assert make(folder, validation_fraction=0.0).splits == ("train", "test")
    further = contents(make(folder, main_articles=40, aux_articles=10, aux_validation_articles=5))
    assert further["train", "aux"] == joined(SPECIALISED[:10])
    assert further["validation", "aux"] == joined(SPECIALISED[10:15])
    assert further["validation", "main"] == files["validation", "main"]


def test_rows_without_text_are_skipped_and_counted_in_the_record(folder, tmp_path) -> None:
    write(folder, "allenai/c4", "train", [{"text": t} for t in [None, "", *GENERIC, None]])
    place = ExecutionOptions(data=str(folder))
    overrides = {"task": {**SMALL, "steps_per_epoch": 2, "evaluation_windows": 4}}
    experiment = load("fig5a", "smoke", overrides)
    (run, *_) = experiment.plan(lambda settings: describe_data(settings, place))
    results = Folder(tmp_path / "results")
    results.prepare()
    record = execute([Job(run, results)], place)[0].record
    assert record.status == "completed", record.reason
    assert record.notes["main train rows skipped"] == 3
    assert record.notes["main train documents"] == 40
    assert record.notes["aux train rows skipped"] == 0
    assert set(record.trajectory[-1]["test"]) == {
        "main",
        "aux",
        "main_bits_per_byte",
        "aux_bits_per_byte",
    }


def test_a_fingerprint_is_of_the_contents_and_hashed_once(folder, monkeypatch) -> None:
    first = make(folder).dataset.fingerprint
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: pytest.fail("hashed again"))
    assert make(folder).dataset.fingerprint == first
    monkeypatch.undo()
    write(folder, "reuters21578", "train", [{"text": t.lower()} for t in SPECIALISED])
    assert make(folder).dataset.fingerprint != first


class TestCorpus:
    """`read_corpus` on rows made on the spot."""

    @staticmethod
    def documents(rows: list[str], identity: str = "", stop_at: int | None = None) -> Documents:
        import datasets

        def generate():
            for i, row in enumerate(rows):
                if i == stop_at:
                    raise ConnectionError("the line is cut")
                yield {"text": row}

        def train():
            return datasets.IterableDataset.from_generator(generate)

        held_out = datasets.Dataset.from_dict({"text": HELD_OUT}).to_iterable_dataset()
        return Documents("made", {"train": train, "validation": lambda: held_out}, identity)

    def test_a_stream_that_was_cut_goes_on_at_the_same_row(self, monkeypatch) -> None:
        monkeypatch.setattr(corpus, "_SAVE_EVERY", 4)
        whole = read_corpus(self.documents(GENERIC, "whole"), 35, 0.2)
        with pytest.raises(DataError, match="data set made, split train, row 18 or a later .*line is cut"):
            read_corpus(self.documents(GENERIC, "cut", stop_at=18), 35, 0.2)
        changed = ["not read again"] * 16 + GENERIC[16:]
        again = read_corpus(self.documents(changed, "cut"), 35, 0.2)
        assert again.digests == whole.digests
        assert again.notes == whole.notes
        assert bytes(again.bytes("validation", 1).numpy()) == joined(GENERIC[4:35:5])

    def test_validation_may_come_after_what_is_trained_on(self) -> None:
        found = read_corpus(self.documents(GENERIC), 20, 0.2, further=10)
        assert bytes(found.bytes("train", 1).numpy()) == joined(GENERIC[:20])
        assert bytes(found.bytes("validation", 1).numpy()) == joined(GENERIC[20:30])

    def test_a_corpus_that_is_complete_is_not_read_again(self) -> None:
        read_corpus(self.documents(GENERIC), 40, 0.1)
        again = read_corpus(self.documents(GENERIC, stop_at=0), 40, 0.1)
        assert again.notes["train documents"] == 40

    def test_a_cache_that_cannot_be_written_is_named(self, monkeypatch, tmp_path) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(DataError, match=r"data set made cannot be kept in the cache \(XDG_CACHE_HOME\)"):
            read_corpus(self.documents(GENERIC), 40, 0.1)


def test_docstrings_are_harvested_without_importing(monkeypatch, tmp_path) -> None:
    package = tmp_path / "exploding"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('"""The package."""\n')
    (package / "b.py").write_text(
        'raise ImportError\nclass A:\n    """The class."""\n    def f(self):\n        """The method."""\n'
    )
    (package / "a.py").write_text('def f():\n    """Straße."""\n')
    (package / "silent.py").write_text("x = 1\n")
    (package / "tests" / "test_a.py").write_text('"""No text."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(text, "PACKAGES", {"exploding": "numpy"})
    assert text._docstrings.__wrapped__() == ["The package.", "Straße.", "The class.\n\nThe method."]


def test_topics_are_pythons_language_reference() -> None:
    topics = text._topics()
    assert len(topics) > 50
    assert topics[0].startswith('The "assert" statement')


BAD = {
    "no generic corpus": (
        lambda f: (f / "allenai").rename(f / "other"),
        r"data set allenai/c4 could not be read .* has no allenai/c4/",
    ),
    "no specialised corpus": (
        lambda f: (f / "reuters21578").rename(f / "other"),
        r"data set reuters21578 is missing.*reuters21578/train.jsonl.gz",
    ),
    "no validation": (
        lambda f: (f / "reuters21578" / "validation.jsonl.gz").unlink(),
        "data set reuters21578 has no split 'validation'; it has train",
    ),
    "no text column": (
        lambda f: write(f, "allenai/c4", "train", [{"body": "x"}]),
        "data set allenai/c4, split train, row 0 .train.jsonl.gz, line 1.: no column 'text', only body",
    ),
    "numbers": (
        lambda f: write(f, "allenai/c4", "train", [{"text": 3}]),
        "data set allenai/c4, split train, row 0 .*line 1.: the column 'text' holds 3, which is no text",
    ),
    "all rows empty": (
        lambda f: write(f, "allenai/c4", "train", [{"text": ""}]),
        "data set allenai/c4, split train: no text",
    ),
    "shorter than a window": (
        lambda f: write(f, "reuters21578", "validation", [{"text": "short"}]),
        "data set reuters21578, split test: 6 bytes of text, fewer than a window's 25",
    ),
    "not UTF-8": (
        lambda f: (f / "allenai/c4/train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "caf\xe9"}\n')),
        "data set allenai/c4, split train, row 0 .train.jsonl.gz, line 1.: not UTF-8 text",
    ),
    "not JSON": (
        lambda f: (f / "allenai/c4/train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n{"te')),
        "data set allenai/c4, split train, row 1 .train.jsonl.gz, line 2.: not JSON",
    ),
    "not gzip": (
        lambda f: (f / "allenai/c4/train.jsonl.gz").write_bytes(b"text"),
        "data set allenai/c4, split train, row 0 .* cannot be read: not a gzipped file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_corpora_are_refused_in_one_line(case: str, folder) -> None:
    spoil, message = BAD[case]
    spoil(folder)
    with pytest.raises(DataError, match=f"(?i){message}") as caught:
        _ = make(folder).dataset
    assert "\n" not in str(caught.value)


def test_rcv1_needs_a_licence(folder) -> None:
    message = "data set rcv1 is missing.*agreement at https://trec.nist.gov.*rcv1/train.jsonl.gz"
    with pytest.raises(DataError, match=message):
        _ = make(folder, specialised="rcv1").dataset
    with pytest.raises(DataError, match=f"--data hub {text.TEXTS}=PATH"):
        text._specialised("rcv1", "hub")


def test_with_the_hub_the_small_corpus_comes_from_the_folder_that_is_named(folder, monkeypatch) -> None:
    monkeypatch.setenv(text.TEXTS, str(folder))
    (folder / "reuters21578").rename(folder / "rcv1")
    documents = text._specialised("rcv1", "hub")
    assert next(iter(documents.splits["train"]()))["text"] == SPECIALISED[0]


def test_a_kept_corpus_that_was_damaged_is_refused(folder) -> None:
    make(folder).dataset  # noqa: B018
    kept = min((corpus.cache_folder() / "text").glob("*/train"))
    held = bytearray(kept.read_bytes())
    held[5] ^= 1
    kept.write_bytes(held)
    with pytest.raises(UserError, match="the text that was kept has been damaged since: remove .*/text"):
        describe_data({"name": "language_model", **SMALL}, ExecutionOptions(data=str(folder)))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"rows": {}, "digests": 3}', b'{"of": "another"}']
)
@pytest.mark.parametrize("name", ["train.json", "validation.json"])
def test_a_damaged_note_of_what_was_kept_is_one_clear_line(name: str, content: bytes, folder) -> None:
    make(folder).dataset  # noqa: B018
    for kept in (corpus.cache_folder() / "text").glob(f"*/{name}"):
        kept.write_bytes(content)
    loaded_tasks._task.cache_clear()
    with pytest.raises(
        UserError, match=r"language_model: its data cannot be loaded .* remove what is damaged"
    ):
        describe_data({"name": "language_model", **SMALL}, ExecutionOptions(data=str(folder)))


def test_without_a_home_or_a_folder_for_the_cache_there_is_one_clear_line(folder, monkeypatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(
        UserError, match=r"cannot be loaded .*home directory.*XDG_CACHE_HOME/scalpel: name a folder"
    ):
        describe_data({"name": "language_model", **SMALL}, ExecutionOptions(data=str(folder)))
