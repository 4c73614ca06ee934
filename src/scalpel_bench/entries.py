"""What the files of a folder define, read from their text: names, docstrings and literal class attributes.

Nothing is imported but the standard library, so that a list of methods costs no PyTorch.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from .words import first_line, plain

_LITERALS = (str, bytes, bool, int, float, tuple, frozenset, type(None))


@dataclass(frozen=True)
class Entry:
    """A class that can be asked for by name.

    Args:
        name: its name.
        module: where it is defined, to be imported.
        class_name: what it is called there.
        doc: its docstring, without indentation.
        summary: one line that says what it does: the first of its file where it is the first class there
            with a name, or else its own first.
        attributes: class attributes of literal values, inherited ones included; empty for a plugin's class
            that has not been imported.
        origin: the plugin and its version, or the loose file; None for the suite's own.
    """

    name: str
    module: str
    class_name: str
    doc: str = ""
    summary: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    origin: str | None = None

    @property
    def place(self) -> str:
        """``module.Class``."""
        return f"{self.module}.{self.class_name}"


class Folder(NamedTuple):
    """What a folder of the package defines, and why some of its files cannot be used, by their stems."""

    entries: dict[str, Entry]
    broken: dict[str, str]


@functools.cache
def read_folder(package: str) -> Folder:
    """The classes with a name in the files of ``methods`` or ``tasks``."""
    entries: dict[str, Entry] = {}
    broken: dict[str, str] = {}
    trees: dict[Path, ast.Module] = {}
    for path in sorted((Path(__file__).parent / package).glob("*.py")):
        if not path.stem.isidentifier():
            continue
        try:
            trees[path] = ast.parse(path.read_bytes(), path.name)
        except (SyntaxError, ValueError, OSError) as error:
            broken[path.stem] = unusable(package, path.stem, error)
    everywhere = {name: cls for tree in trees.values() for name, cls in _classes(tree).items()}
    for path, tree in trees.items():
        found = _entries(tree, f"scalpel_bench.{package}.{path.stem}", everywhere)
        try:
            for name, entry in found.items():
                if name in entries:
                    raise ValueError(
                        two_named(package.removesuffix("s"), name, entries[name].place, entry.place)
                    )
        except ValueError as error:
            broken[path.stem] = unusable(package, path.stem, error)
        else:
            entries |= found
    return Folder(entries, broken)


@functools.cache
def plugins(package: str) -> dict[str, EntryPoint]:
    """The entry points of installed plugins by name."""
    return {plugin.name: plugin for plugin in entry_points(group=f"scalpel.{package}")}


def of_plugin(plugin: EntryPoint) -> Entry:
    """What is known of a plugin's class before it is imported."""
    return Entry(plugin.name, plugin.module, plugin.attr, origin=version_of(plugin))


def of_class(cls: type[Any], origin: str | None) -> Entry:
    """An entry for a class that was imported."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        own = {name: value for name, value in vars(base).items() if not name.startswith("_")}
        attributes |= {name: value for name, value in own.items() if isinstance(value, _LITERALS)}
    doc = inspect.cleandoc(cls.__doc__ or "")
    if doc.startswith(f"{cls.__name__}("):  # what a dataclass has in place of a docstring
        doc = ""
    return Entry(
        attributes["name"], cls.__module__, cls.__qualname__, doc, _first_line(doc), attributes, origin
    )


def version_of(plugin: EntryPoint) -> str:
    """The name and version of the installed package that a plugin comes with."""
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else "? ?"


def unusable(package: str, stem: str, error: BaseException) -> str:
    """Why a file of the package cannot be used."""
    return f"{package}/{stem}.py cannot be used: {cause(error)}"


def two_named(kind: str, name: str, *places: str) -> str:
    """The message on two classes of one name."""
    return f"two {kind}s are named {name!r}: {' and '.join(places)}"


def cause(error: BaseException) -> str:
    """The first line of an error, with its type unless it is a `ValueError`."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {plain(error.msg)} (line {error.lineno})"
    if isinstance(error, SystemExit):
        return "it leaves the process (SystemExit)"
    prefix = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{prefix}{first_line(error)}"


def _entries(tree: ast.Module, module: str, everywhere: Mapping[str, ast.ClassDef]) -> dict[str, Entry]:
    here = _classes(tree)
    found: dict[str, Entry] = {}
    for class_name, cls in here.items():
        name = _assigned(cls).get("name")
        if not isinstance(name, str) or not name:
            continue
        doc = ast.get_docstring(cls) or ""
        summary = _first_line(doc) if found else _first_line(ast.get_docstring(tree) or doc)
        attributes = _inherited(cls, {**everywhere, **here}, ())
        found[name] = Entry(name, module, class_name, doc, summary, attributes)
    return found


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _inherited(
    cls: ast.ClassDef, known: Mapping[str, ast.ClassDef], below: tuple[ast.ClassDef, ...]
) -> dict[str, Any]:
    """The literal attributes of a class and of those of its bases that stand in the folder."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.bases):
        parent = known.get(ast.unparse(base).rpartition(".")[2])
        if parent is not None and parent not in (cls, *below):
            attributes |= _inherited(parent, known, (cls, *below))
    attributes |= _assigned(cls)
    return {name: value for name, value in attributes.items() if value is not _NO_LITERAL}


_NO_LITERAL = object()


def _assigned(cls: ast.ClassDef) -> dict[str, Any]:
    """What the body of a class assigns, by name; a placeholder where it is no literal."""
    found: dict[str, Any] = {}
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = _literal(node.value)
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            found |= dict.fromkeys(names, _literal(node.value))
    return found


def _literal(node: ast.expr) -> Any:
    """The value of a literal, or of ``frozenset`` of one."""
    try:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "frozenset":
            inner = _literal(node.args[0]) if node.args else ()
            return inner if inner is _NO_LITERAL else frozenset(inner)
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # a name, a set in a set, frozenset(3)
        return _NO_LITERAL


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
