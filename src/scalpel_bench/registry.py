"""Things by name: those of a package, of installed plugins, and of loose files.

Shared by `methods` and `tasks`, which do not import each other. A name is known from the text of the files,
which are imported one by one, when their class is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from .declared import check_types
from .entries import (
    Entry,
    cause,
    of_class,
    of_plugin,
    plugins,
    read_folder,
    two_named,
    unusable,
    version_of,
)
from .words import unknown

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_REGISTRIES: dict[str, Registry[Any]] = {}


def catalogue(package: str) -> dict[str, Entry]:
    """What can be asked for by name, without importing any of it: sorted by name.

    The suite's own, classes that this process has loaded from plugins and loose files, and installed plugins
    by their name and origin alone: their class must be imported to know more.

    Args:
        package: ``"methods"`` or ``"tasks"``.
    """
    found = {name: of_plugin(plugin) for name, plugin in plugins(package).items()}
    if package in _REGISTRIES:
        found |= _REGISTRIES[package].loaded()
    found = {name: entry for name, entry in found.items() if name not in broken(package)}
    return dict(sorted((found | read_folder(package).entries).items()))


def attributes(package: str, name: str) -> Mapping[str, Any]:
    """The literal class attributes of a class, an installed plugin's too; none where the name is unknown."""
    entry = catalogue(package).get(name)
    if entry is not None and entry.origin and not entry.attributes:
        importlib.import_module(f"scalpel_bench.{package}").REGISTRY.available()
        entry = catalogue(package).get(name)
    return entry.attributes if entry else {}


def broken(package: str) -> dict[str, str]:
    """Files of the package and plugins that cannot be used, as far as that is known: why, by name."""
    registry = _REGISTRIES.get(package)
    return dict(registry.broken if registry else read_folder(package).broken)


class Registry(Generic[T]):
    """Classes by their ``name``, imported when they are asked for.

    Args:
        kind: what they are, for messages: ``"method"`` or ``"task"``.
        package: the package whose modules define the suite's own; plugins use the entry-point group
            ``scalpel.<package>``.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._own, without = read_folder(package)
        self.broken: dict[str, str] = dict(without)
        """Files of the package and installed plugins that cannot be used, as far as that is known: why, by
        name."""
        self._classes: dict[str, type[T]] = {}
        self._origins: dict[str, str] = {}
        self._files: dict[tuple[Path, str], type[T]] = {}
        _REGISTRIES[package] = self

    def add(self, cls: type[T]) -> None:
        """Register a class by its ``name``, as it is defined.

        Raises:
            ValueError: another class has that name, or it is not of letters, digits and ``_ . -``.
        """
        name: str = cls.name  # type: ignore[attr-defined]
        if not NAME.fullmatch(name):
            raise ValueError(f"{self.kind} name {name!r}: write letters, digits, _ . and - alone")
        place = f"{cls.__module__}.{cls.__qualname__}"
        known = self._classes.get(name)
        if known is not None and f"{known.__module__}.{known.__qualname__}" != place:
            raise ValueError(two_named(self.kind, name, _place(known), _place(cls)))
        if name in self._own and self._own[name].place != place:
            raise ValueError(two_named(self.kind, name, self._own[name].place, _place(cls)))
        self._classes[name] = cls

    def remove(self, name: str) -> None:
        """Forget a class."""
        self._classes.pop(name, None)

    def available(self) -> list[str]:
        """All names, sorted: the suite's own, and those of installed plugins that can be used."""
        self._load_plugins()
        return sorted(self._classes.keys() | self._usable())

    def classes(self) -> dict[str, type[T]]:
        """All classes that can be used, imported, by name; `broken` then has all the others."""
        for name in self.available():
            with contextlib.suppress(ValueError):
                self.get(name)
        return dict(sorted(self._classes.items()))

    def loaded(self) -> dict[str, Entry]:
        """What this process has imported from elsewhere than the package."""
        others = self._classes.keys() - self._own.keys()
        return {name: of_class(self._classes[name], self._origins.get(name)) for name in others}

    def get(self, name: str) -> type[T]:
        """The class of that name, or of ``path/to/file.py:ClassName``.

        Raises:
            ValueError: there is none, or its file or plugin cannot be used.
        """
        path, separator, class_name = name.rpartition(":")
        if separator and path.endswith(".py"):
            return self._from_file(Path(path), class_name)
        if name not in self._classes:
            if name in self._own:
                self._import(self._own[name])
            elif name in plugins(self.package):
                self._load_plugin(plugins(self.package)[name])
        if name in self._classes:
            return self._classes[name]
        if name in self.broken:
            raise ValueError(self.broken[name])
        raise ValueError(unknown(self.kind, name, self.available()))

    def class_names(self) -> list[str]:
        """What the classes of the package's own are called."""
        return sorted({entry.class_name for entry in self._own.values()})

    def attribute(self, class_name: str) -> type[T]:
        """The class of that name in the package, as its attribute.

        Raises:
            AttributeError: it has none, or several, or the file cannot be used.
        """
        found = [entry for entry in self._own.values() if entry.class_name == class_name]
        if not found:
            reasons = "".join(f"; {reason}" for reason in self.broken.values())
            package = f"scalpel_bench.{self.package}"
            raise AttributeError(f"module {package!r} has no attribute {class_name!r}{reasons}")
        if len(found) > 1:
            places = " and ".join(entry.place for entry in found)
            raise AttributeError(f"two classes are called {class_name}: {places}; get them by name")
        try:
            return self.get(found[0].name)
        except ValueError as error:
            raise AttributeError(str(error)) from error

    def create(self, /, name: str, *, origin: str | None = None, **settings: Any) -> T:
        """An instance by name and settings.

        Args:
            name: as for `get`.
            origin: the version of the plugin that is wanted, as `origin` tells it; None for any.
            settings: the fields of the class.

        Raises:
            ValueError: no such class or setting, a value of another type or out of range, or another origin.
        """
        cls = self.get(name)
        if origin is not None and origin != self.origin(name):
            raise ValueError(f"{self.kind} {name!r} is {self.origin(name)}, not {origin}")
        known = [field.name for field in fields(cls) if field.init] if is_dataclass(cls) else list(settings)
        for setting in settings.keys() - known:
            raise ValueError(f"{self.kind} {name!r}: {unknown('setting', setting, known)}")
        if is_dataclass(cls):
            check_types(cls, settings)
        try:
            return cls(**settings)
        except TypeError as error:
            raise ValueError(f"{self.kind} {name!r}: {error}") from error

    def origin(self, name: str) -> str | None:
        """Which version of a plugin a class comes from; None for the suite's own."""
        return self._origins.get(self.get(name).name)  # type: ignore[attr-defined]

    def files(self, names: set[str]) -> dict[str, str]:
        """The loose files of these classes, as ``path/to/file.py:ClassName``, for other processes to load."""
        used = {cls: name for name, cls in self._classes.items() if name in names}
        return {
            used[cls]: f"{path}:{class_name}"
            for (path, class_name), cls in self._files.items()
            if cls in used
        }

    def place(self, name: str) -> str:
        """Where a class is defined: ``file.py:Class`` or ``module.Class``."""
        return _place(self.get(name))

    def _usable(self) -> set[str]:
        return {name for name, entry in self._own.items() if _stem(entry) not in self.broken}

    def _import(self, entry: Entry) -> None:
        """Import a class of the package.

        Raises:
            ValueError: its file cannot be used.
        """
        before = dict(self._classes)
        try:
            module = importlib.import_module(entry.module)
            self._check(getattr(module, entry.class_name), entry.name)
        except (Exception, SystemExit) as error:
            self._classes = before
            self.broken[_stem(entry)] = unusable(self.package, _stem(entry), error)
            raise ValueError(self.broken[_stem(entry)]) from error

    def _load_plugins(self) -> None:
        for name, plugin in plugins(self.package).items():
            if name not in self._classes:
                self._load_plugin(plugin)

    def _load_plugin(self, plugin: EntryPoint) -> None:
        if plugin.name in self.broken:
            return
        before = dict(self._classes)
        try:
            with _unchanged(plugin.module.partition(".")[0]):
                loaded = plugin.load()
            self._check(loaded, plugin.name)
            self._origins[plugin.name] = version_of(plugin)
        except (Exception, SystemExit) as error:
            self._classes = before
            distribution = plugin.dist.name if plugin.dist else "?"
            self.broken[plugin.name] = (
                f"{self.kind} plugin {plugin.name!r} of {distribution} ({plugin.value}) cannot be used: "
                f"{cause(error)}"
            )

    def _from_file(self, path: Path, class_name: str) -> type[T]:
        if not path.is_file():
            raise ValueError(f"{self.kind} file {path}: no such file")
        key = (path.resolve(), class_name)
        if key in self._files:
            return self._files[key]
        self._load_plugins()
        before = dict(self._classes)
        content = path.read_bytes()
        module_name = f"scalpel_file_{hashlib.sha256(str(key[0]).encode()).hexdigest()[:12]}"
        earlier = sys.modules.get(module_name)  # for another class of the file
        try:
            module = earlier or _executed(path, module_name)
            found: Any = getattr(module, class_name, None)
            if found is None:
                raise ValueError(f"it has no class {class_name}")
            self._check(found, None)
        except (Exception, SystemExit) as error:
            self._classes = before
            if earlier is None:
                sys.modules.pop(module_name, None)
            raise ValueError(f"{self.kind} file {path}: {cause(error)}") from error
        self._origins[found.name] = f"file {hashlib.sha256(content).hexdigest()[:12]}"
        cls: type[T] = found
        self._files[key] = cls
        return cls

    def _check(self, cls: Any, name: str | None) -> None:
        if cls not in self._classes.values():
            raise ValueError(f"{getattr(cls, '__name__', cls)} is no {self.kind} with a name of its own")
        if name is not None and cls.name != name:
            raise ValueError(f"its class is named {cls.name!r}")


def _executed(path: Path, module_name: str) -> ModuleType:
    """The module that a loose file makes."""
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    with _unchanged(module_name):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _unchanged(package: str) -> Iterator[None]:
    """Undo and refuse what an import changes in this process.

    Raises:
        ValueError: it changed something.
    """
    from .world import Snapshot  # which imports torch

    before = Snapshot(package)
    try:
        yield
    finally:
        changed = before.restore()
    if changed:
        raise ValueError(f"importing it changes {', '.join(changed)}: set this where it is used, and back")


def _place(cls: type[Any]) -> str:
    module = sys.modules.get(cls.__module__)
    if cls.__module__.startswith("scalpel_file_") and module is not None:
        return f"{module.__file__}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _stem(entry: Entry) -> str:
    return entry.module.rpartition(".")[2]
