"""Files that are written by hand: UTF-8 with or without a mark, anything else refused with its line."""

from pathlib import Path

import pytest

from scalpel_bench.benchmarks.experiments import loading
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.utf8 import NotUTF8, decode_utf8

TEXT = 'title = "Glättung"\npaper = "p"\n'
GOOD = Path(loading.available()["conditioning"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_text_is_what_python_decodes(encoding: str) -> None:
    assert decode_utf8(TEXT.encode(encoding)) == TEXT.encode().decode("utf-8")


def test_a_mark_is_one_at_the_beginning_of_a_file_alone() -> None:
    assert decode_utf8("\ufeffa".encode(), line=2) == "\ufeffa"


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (TEXT.encode("utf-16"), 1, "byte-order mark of UTF-16"),
        (TEXT.encode("utf-32"), 1, "byte-order mark of UTF-32"),
        (GOOD.encode("utf-16-be"), 1, "NUL byte"),
        (b"a = 1\n" + TEXT.encode("cp1252"), 2, "byte 0xe4"),
        (b"a\n\nb\0", 3, "NUL byte"),
    ],
    ids=["UTF-16", "UTF-32", "UTF-16 without a mark", "cp1252", "NUL"],
)
def test_other_encodings_are_named_with_their_line(content: bytes, line: int, found: str) -> None:
    with pytest.raises(NotUTF8, match=f"^line {line}: not UTF-8 text .*{found}") as caught:
        decode_utf8(content)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.toml", GOOD.encode("utf-8-sig")),
        ("mine.toml", GOOD.replace("\n", "\r\n").encode()),
        ("MINE.TOML", GOOD.encode()),
    ],
    ids=["mark", "CRLF", "suffix"],
)
def test_an_experiment_from_another_machine_loads(name: str, content: bytes, tmp_path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    plain = loading.load("conditioning", "smoke")
    assert loading.load(str(file), "smoke") == plain.model_copy(update={"name": file.stem, "file": file})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "line 1: not UTF-8 text .*mark of UTF-16"),
        (b'a = 1\ntitle = "Gl\xe4ttung"\n', "line 2: not UTF-8 text .byte 0xe4"),
        (b"a = 1\nb = 2\na = 3\n", "Cannot overwrite a value .at line 3, column"),
        (b"a = 1\nb", "at line 2, the last"),
        (None, "expected a TOML file: Is a directory"),
    ],
    ids=["UTF-16", "cp1252", "a key twice", "cut", "a folder"],
)
def test_what_is_no_toml_is_refused_in_one_line(content: bytes | None, message: str, tmp_path) -> None:
    file = tmp_path / "mine.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"mine.toml: .*{message}") as caught:
        loading.load(str(file), "smoke")
    assert "\n" not in str(caught.value)
