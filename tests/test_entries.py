"""What is known of classes from the text of their files."""

import ast

import pytest

from scalpel_bench.entries import _NO_LITERAL, _literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 1}", {"a": 1}),
        ("frozenset({'a', 'b'})", frozenset("ab")),
        ("frozenset()", frozenset()),
        ("name", _NO_LITERAL),
        ("{[]: 1}", _NO_LITERAL),
        ("frozenset(3)", _NO_LITERAL),
        ("frozenset(name)", _NO_LITERAL),
    ],
)
def test_what_is_no_literal_is_told_apart_and_raises_nothing(text, value) -> None:
    """One odd line in one file must not keep the package from being imported."""
    assert _literal(ast.parse(text, mode="eval").body) == value
