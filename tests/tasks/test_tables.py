"""Columns of text from files: what is read, against csv and json, and what is refused."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalpel_bench.tasks import DataError
from scalpel_bench.tasks.data.tables import Resumable, open_tables

WORDS = [
    "None",
    "NA",
    "nan",
    "null",
    "NULL",
    "N/A",
    "inf",
    "1.0",
    "007",
    "1e5",
    "TRUE",
    "2020-01-01",
    "-",
    "",
]
TRICKY = ['say "no", thanks', "a,b\tc", " spaces ", "Straße 😀 \u2028 ´", "two\nlines", "'", '"']
PAIRS = [{"en": text, "de": text[::-1]} for text in [*WORDS, *TRICKY]]
ROW = '{"en": "one", "de": "eins"}\n'
HEAD = "en,de\none,eins\n"


def table(folder: Path, files: dict[str, str | bytes], split: str = "train"):
    for name, content in files.items():
        file = folder / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_tables("set", str(folder))[split]


def separated(delimiter: str, **options: object) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, **options)
    writer.writerows([["en", "de"], *([pair["en"], pair["de"]] for pair in PAIRS)])
    return file.getvalue()


def parquet(columns: dict[str, object] | pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file)
    return file.getvalue()


LINES = "".join(json.dumps(pair) + "\n" for pair in PAIRS)
CONTENTS = {
    "train.csv": separated(","),
    "train-unix.csv": separated(",", lineterminator="\n", quoting=csv.QUOTE_ALL),
    "train.tsv": separated("\t"),
    "train.jsonl": LINES,
    "train.ndjson": "\n" + LINES.replace("\n", "\r\n\r\n"),
    "train-lines.json": LINES,
    "train-list.json": "\n " + json.dumps(PAIRS, indent=1),
    "train.parquet": parquet(pa.Table.from_pylist(PAIRS)),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_csv_and_json_wrote_is_read_back(name: str, tmp_path) -> None:
    rows = table(tmp_path, {name: CONTENTS[name]})
    assert list(rows.rows("en", "de")) == PAIRS
    assert list(rows.rows("de")) == [{"de": pair["de"]} for pair in PAIRS]
    assert (rows.columns(), rows.count()) == (["en", "de"], len(PAIRS))


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_packed_files_and_byte_order_marks(suffix: str, pack, tmp_path) -> None:
    content = b"\xef\xbb\xbf" + CONTENTS["train.csv"].encode()
    assert list(table(tmp_path, {f"train.csv{suffix}": pack.compress(content)}).rows("en", "de")) == PAIRS


def test_columns_inside_a_column_null_and_plain_text(tmp_path) -> None:
    nested = [{"translation": {"en": "a", "de": None}}, {"translation": {"en": "None", "de": "b"}}]
    expected = [{"translation.de": None}, {"translation.de": "b"}]
    assert list(table(tmp_path / "a", {"train.json": json.dumps(nested)}).rows("translation.de")) == expected
    column = parquet({"translation": [row["translation"] for row in nested], "other": [1, 2]})
    assert list(table(tmp_path / "b", {"train.parquet": column}).rows("translation.de")) == expected
    lines = table(tmp_path / "c", {"train.txt": "a\u2028b\r\n\nNone"}).rows("text")
    assert list(lines) == [{"text": "a\u2028b"}, {"text": ""}, {"text": "None"}]


def test_splits_are_those_of_the_names_and_shards_follow_each_other(tmp_path) -> None:
    files = {"train-0.csv": HEAD, "train-1.csv": "de,en\nzwei,two\n", "test.csv": HEAD, "README.md": "# Hi"}
    train = table(tmp_path, files)
    assert [row["en"] for row in train.rows("en")] == ["one", "two"]
    assert list(open_tables("set", str(tmp_path))) == ["train", "test"]


def test_rows_go_on_where_they_stopped(tmp_path) -> None:
    rows = table(tmp_path, {"train.jsonl": LINES})
    first = Resumable(rows, "en")
    for _, _ in zip(range(5), first, strict=False):
        pass
    rest = Resumable(rows, "en")
    rest.load_state_dict({"row": 5})
    assert [row["en"] for row in rest] == [pair["en"] for pair in PAIRS[5:]]
    assert rest.state_dict() == {"row": len(PAIRS)}


BAD: dict[str, tuple[dict[str, str | bytes], str]] = {
    "an extra comma": (
        {"train.csv": HEAD + "no, thanks,nein\n"},
        "row 1 .train.csv, line 3.: fields: 3, exp.* 2",
    ),
    "in every row": ({"train.csv": "en,de\nno, no,nein\n"}, r"fields: 3, expected 2 \(en, de\)"),
    "a field too few": ({"train.csv": HEAD + "\nno\n"}, "row 1 .train.csv, line 4.: fields: 1, expected 2"),
    "a stray quote": (
        {"train.csv": HEAD + '"no" he said,nein\n'},
        "row 1 .train.csv, line 3.: not separated by ','",
    ),
    "an open quote": (
        {"train.csv": HEAD + '"no,nein\na,b\n'},
        "row 1 .train.csv, line 3.: .*unexpected end of data",
    ),
    "a column twice": ({"train.csv": "en,de,en\na,b,c\n"}, "line 1.: two columns are named 'en'"),
    "no such column": (
        {"train.csv": "en,fr\na,b\n"},
        "row 0 .train.csv, line 2.: no column 'de', only en, fr",
    ),
    "semicolons": ({"train.csv": "en;de\na;b\n"}, "no column 'en', only en;de"),
    "UTF-16": (
        {"train.csv": HEAD.encode("utf-16")},
        "line 1.: not UTF-8 text .it begins with .* mark of UTF-16",
    ),
    "UTF-16 without a mark": ({"train.csv": HEAD.encode("utf-16-le")}, "line 1.: not UTF-8 text .a NUL byte"),
    "Latin-1": (
        {"train.csv": (HEAD + "f,fünf\n").encode("latin-1")},
        "row 1 .train.csv, line 3.: .*byte 0xfc",
    ),
    "a NUL byte": ({"train.csv": HEAD + "t\0wo,zwei\n"}, "row 1 .train.csv, line 3.: .*NUL"),
    "an empty file": ({"train.csv": ""}, "split train: train.csv has no rows, expected at least one"),
    "a header alone": ({"train.csv": "en,de\n"}, "split train: train.csv has no rows"),
    "an empty shard": (
        {"train-0.jsonl": ROW, "train-1.jsonl": "\n"},
        "split train: train-1.jsonl has no rows",
    ),
    "a list in a line": (
        {"train.jsonl": ROW + '["a", "b"]\n'},
        r"row 1 .*line 2.: \['a', 'b'\] is no JSON object",
    ),
    "no object in a list": (
        {"train.json": f"[{ROW}, 3]"},
        "row 1 .train.json, item 1 of its list.: 3 is no JSON",
    ),
    "one object of lists": (
        {"train.json": '{"en": ["a"], "de": ["b"]}'},
        r"column 'en' holds \['a'\], which is no",
    ),
    "no JSON": ({"train.jsonl": ROW + "{'en'"}, "row 1 .train.jsonl, line 2.: not JSON .*column 2"),
    "no JSON in a list": ({"train.json": '[\n{"en": 1},\n,]'}, "row 0 .train.json, line 3.: not JSON"),
    "a number": (
        {"train.jsonl": ROW + '{"en": 3, "de": "c"}'},
        "row 1 .*line 2.: the column 'en' holds 3, which",
    ),
    "not a number": (
        {"train.jsonl": '{"en": NaN, "de": "c"}'},
        "the column 'en' holds nan, which is no text",
    ),
    "a boolean": ({"train.jsonl": '{"en": true, "de": "c"}'}, "the column 'en' holds True, which is no text"),
    "a key that is missing": (
        {"train.jsonl": ROW + '{"en": "a"}'},
        "row 1 .*line 2.: no column 'de', only en",
    ),
    "a key twice": (
        {"train.jsonl": '{"en": "a", "de": "b", "en": "c"}'},
        "line 1.: .*key 'en' twice in one object",
    ),
    "half a character": ({"train.jsonl": '{"en": "\\ud800", "de": "b"}'}, "'en' holds .*not UTF-8 text"),
    "deep": ({"train.jsonl": '{"en": ' + "[" * 100_000}, "line 1.: not JSON .maximum recursion"),
    "no gzip": (
        {"train.csv.gz": HEAD},
        "row 0 or a later one .train.csv.gz. cannot be read: Not a gzipped file",
    ),
    "half a gzip": (
        {"train.csv.gz": gzip.compress(HEAD.encode())[:-9]},
        "row 1 or a later one .*ended before",
    ),
    "no Parquet": ({"train.parquet": "nonsense"}, "row 0 or a later one .train.parquet. cannot be read"),
    "bytes": (
        {"train.parquet": parquet({"en": [b"a"], "de": ["b"]})},
        "row 0 .train.parquet.: .* holds b'a'",
    ),
    "rows twice": (
        {"train.csv": HEAD, "train.csv.gz": gzip.compress(HEAD.encode())},
        "train.csv and train.csv.gz seem",
    ),
    "another format": (
        {"train-0.csv": HEAD, "train-1.csv": HEAD, "train-2.jsonl": ROW},
        "train-2.jsonl would be left",
    ),
    "an unknown format": ({"train.xml": "<a/>"}, "train.xml is no table of text; expected one of .csv"),
    "no file": ({"notes.md": ""}, "notes.md is no table of text"),
}


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_guessed(case: str, tmp_path) -> None:
    files, message = BAD[case]
    with pytest.raises(DataError, match=f"^data set set.*{message}") as caught:
        list(table(tmp_path, files).rows("en", "de"))
    assert "\n" not in str(caught.value)
