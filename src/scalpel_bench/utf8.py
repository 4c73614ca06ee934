"""Text from the bytes of a file, which must be UTF-8: no other encoding is guessed."""

from __future__ import annotations

import codecs

_OTHERS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class NotUTF8(ValueError):
    """Bytes that are not UTF-8 text.

    Args:
        line: which line they are in, from 1.
        problem: what was found.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


def decode_utf8(content: bytes, line: int = 1) -> str:
    """The text of these bytes; a byte-order mark at the beginning of the file is left out.

    Args:
        content: a file, or some lines of it.
        line: the number of the first.

    Raises:
        NotUTF8: the bytes are in another encoding, or damaged.
    """
    if line == 1:
        for mark, encoding in _OTHERS.items():
            if content.startswith(mark):
                raise NotUTF8(1, f"not UTF-8 text (it begins with the byte-order mark of {encoding})")
        content = content.removeprefix(codecs.BOM_UTF8)
    if (at := content.find(0)) >= 0:
        raise NotUTF8(line + content.count(b"\n", 0, at), "not UTF-8 text (a NUL byte, as UTF-16 has)")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x}, {error.reason}"
        raise NotUTF8(line + content.count(b"\n", 0, error.start), f"not UTF-8 text ({found})") from error
