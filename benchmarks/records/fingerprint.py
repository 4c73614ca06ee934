"""Which code decided a number: a fingerprint of a file and of all it imports inside its package.

Comments and docstrings do not count. Where a name is imported from a package, only the file that defines it
counts, not all that the package's ``__init__`` offers: an edit to one method leaves the others as they were.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import scalpel_bench

PACKAGE = "scalpel_bench"
ROOT = Path(scalpel_bench.__file__).parent
MESSAGES = "benchmarks/messages/"
"""What is said of a run decides none of its numbers."""


def code_identity(*files: Path) -> str:
    """12 hexadecimal digits that change with the code of files, or of what they import of their package.

    Args:
        files: Python files of the suite, or of a plugin, whose own package counts as well as the suite.
    """
    seen: dict[Path, str] = {}
    waiting = [_inside(file) for file in files]
    while waiting:
        file = waiting.pop()
        if file not in seen and not _name(file).startswith(MESSAGES):
            digest, imported = _scan(file, file.stat().st_mtime_ns)
            seen[file] = digest
            waiting += imported
    together = sorted(f"{_name(file)} {digest}" for file, digest in seen.items())
    return hashlib.sha256("\n".join(together).encode()).hexdigest()[:12]


def _inside(file: Path) -> Path:
    """A file of the package by its path there, not by where a link leads."""
    resolved = file.resolve()
    for folder in ("methods", "tasks", "benchmarks"):
        real = (ROOT / folder).resolve()
        if resolved.is_relative_to(real):
            return ROOT / folder / resolved.relative_to(real)
    return resolved


@functools.lru_cache(maxsize=1024)
def _name(file: Path) -> str:
    """A file of the package by its place in it; of a plugin, by what it is called."""
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


@functools.lru_cache(maxsize=1024)
def _scan(file: Path, changed: int) -> tuple[str, tuple[Path, ...]]:
    """The digest of a file's program, and the files of the package that it imports.

    Args:
        file: to read.
        changed: when it was written last, so that an edit is seen.
    """
    tree = ast.parse(file.read_bytes())
    imported = tuple(dict.fromkeys(_imported(tree, file)))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:  # type: ignore[arg-type]
            node.body = node.body[1:]  # type: ignore[attr-defined]
    return hashlib.sha256(_program(tree).encode()).hexdigest(), imported


def _program(node: object) -> str:
    """A syntax tree in words that are the same in every version of Python: what is empty is left out."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={_program(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_program, node))}]"
    return repr(node)


def _imported(tree: ast.Module, file: Path) -> Iterator[Path]:
    """The files that a file's program imports, below ``if TYPE_CHECKING`` apart."""
    nodes = list(_nodes(tree))
    used: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.setdefault(node.value.id, set()).add(node.attr)
    for node in nodes:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from _found(name.name, None, set())
                yield from _of_plugin(name.name, None, file)
        elif isinstance(node, ast.ImportFrom):
            module = _module(node, file)
            for name in node.names:
                yield from _found(module, name.name, used.get(name.asname or name.name, set()))
                yield from _of_plugin(module, name.name, file)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All parts of a program, but what only a type checker reads."""
    for_types = (
        isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING"
    )
    yield tree
    for node in tree.orelse if isinstance(tree, ast.If) and for_types else ast.iter_child_nodes(tree):
        yield from _nodes(node)


def _module(node: ast.ImportFrom, file: Path) -> str:
    """The full name of the module that names are imported from."""
    if not node.level:
        return node.module or ""
    package = file.relative_to(_import_root(file)).parts[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def _import_root(file: Path) -> Path:
    """The folder in which the outermost package of a file lies; of a file in none, its own."""
    return next(folder for folder in file.parents if not (folder / "__init__.py").is_file())


def _of_plugin(module: str, name: str | None, file: Path) -> Iterator[Path]:
    """The files behind ``from module import name`` in a plugin's file, where they are of its own package."""
    root = _import_root(file)
    if file.is_relative_to(ROOT) or module.partition(".")[0] != file.relative_to(root).parts[0]:
        return
    for each in (module, f"{module}.{name}" if name else module):
        path = root.joinpath(*each.split("."))
        yield from filter(Path.is_file, (path / "__init__.py", path.with_suffix(".py")))


def _found(module: str, name: str | None, attributes: set[str]) -> Iterator[Path]:
    """The files behind ``from module import name``, of whose attributes these are used."""
    if module.partition(".")[0] != PACKAGE:
        return
    inner = f"{module}.{name}" if name else module
    if (file := _file(inner)) is None:
        yield from _defining(module, name or "")
    elif file.name != "__init__.py":
        yield file
    else:
        for attribute in sorted(attributes):
            yield from _defining(inner, attribute)


def _defining(module: str, name: str) -> Iterator[Path]:
    """The file that defines what a module, or a package's ``__init__``, offers by a name."""
    file = _file(module)
    if file is None:
        return
    if file.name != "__init__.py":
        yield file
        return
    if (inner := _file(f"{module}.{name}")) is not None and inner.name != "__init__.py":
        yield inner
        return
    offered, bound = _offers(file, file.stat().st_mtime_ns)
    if name in offered:
        yield from _found(*offered[name], set())
    elif name in bound:
        for each in sorted(bound[name] & offered.keys()):
            yield from _found(*offered[each], set())
    else:
        yield file


@functools.lru_cache(maxsize=256)
def _offers(file: Path, changed: int) -> tuple[dict[str, tuple[str, str]], dict[str, set[str]]]:
    """What a package's ``__init__`` offers.

    Args:
        file: to read.
        changed: when it was written last.

    Returns:
        offered: for each name that it imports, the module and the name there, below ``if TYPE_CHECKING`` too.
        bound: for each name that it assigns, the names that the value uses.
    """
    tree = ast.parse(file.read_bytes())
    offered = {
        each.asname or each.name: (_module(node, file), each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    bound = {
        name: {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for statement in tree.body
        for name in _bound(statement)
    }
    return offered, bound


def _bound(statement: ast.stmt) -> set[str]:
    """The names that an assignment gives."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _file(module: str) -> Path | None:
    """The file of a module of the package; None where there is none of that name."""
    path = ROOT.joinpath(*module.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None
