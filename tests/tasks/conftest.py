import json

import pytest

from tests.tasks.phrases import write_lines

WORDS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "de": ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Tests leave the user's cache folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tatoeba and Multi30k in small: phrases of number words."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")

    def write(name: str, split: str, numbers: range) -> None:
        target = tmp_path / "data" / name
        target.mkdir(parents=True, exist_ok=True)
        rows = [{k: " ".join(words[int(d)] for d in str(n)) for k, words in WORDS.items()} for n in numbers]
        write_lines(target / f"{split}.jsonl", map(json.dumps, rows))

    write("tatoeba_en_de", "train", range(1000, 1200))
    write("tatoeba_en_de", "validation", range(2000, 2020))
    write("multi30k", "train", range(30000, 30050))
    write("multi30k", "validation", range(31000, 31010))
    write("multi30k", "test", range(32000, 32010))
    return tmp_path / "data"
