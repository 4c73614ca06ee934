"""English text: a large generic corpus and a small specialised one, as memory-mapped bytes."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .corpus import Documents, read_corpus
from .source import Data, DataError, check_source, open_hub
from .tables import Resumable, open_tables

GENERIC = "allenai/c4"
SPECIALISED = ("reuters21578", "rcv1")
PACKAGES = {"numpy": "numpy", "sklearn": "scikit-learn"}
"""Packages whose docstrings are the embedded generic corpus, and their distributions."""
TEXTS = "SCALPEL_TEXTS"
"""With ``--data hub``, the folder of the corpora that the hub does not have."""
_EMBEDDED_TEST = 10
"""One embedded document in so many is the test split's."""


@dataclass(frozen=True)
class Text(Data):
    """Bytes ``(N,)`` uint8 under ``main`` and ``aux``, memory-mapped on the CPU whatever the device.

    Args:
        digests: a SHA-256 per file, taken when it was written.
    """

    digests: tuple[str, ...] = field(default=())

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a SHA-256 over the digests of the files."""
        return hashlib.sha256(" ".join(self.digests).encode()).hexdigest()[:16]


def load_text(
    source: str,
    specialised: str,
    main_articles: int,
    aux_articles: int,
    validation_fraction: float,
    window: int,
    aux_validation: int | None = None,
) -> Text:
    """The first articles of a generic corpus (main) and of a specialised one (aux), split by article.

    From the hub or a folder: C4 (Raffel et al. 2020), and Reuters-21578 (Lewis 1997) or RCV1 (Lewis et al.
    2004). Embedded: the docstrings of NumPy and scikit-learn, an article per file, and Python's language
    reference (``pydoc_data.topics``), an article per topic.

    Args:
        source: as for ``--data``.
        specialised: one of `SPECIALISED`.
        main_articles, aux_articles: how many are read, validation's among them.
        validation_fraction: share of the articles kept for validation, in [0, 1).
        window: the fewest bytes that every split must have.
        aux_validation: how many articles of the specialised corpus, after the ``aux_articles``, are kept
            for its validation instead of a share of those; only where the generic one has a share.

    Raises:
        DataError: a corpus is missing, too short, or not what it should be.
    """
    kind = check_source(source)
    if kind == "embedded":
        both = (_embedded("docstrings", _docstrings), _embedded("pydoc_data.topics", _topics))
    else:
        both = (_from_hub(GENERIC, source, "en"), _specialised(specialised, source))
    main = read_corpus(both[0], main_articles, validation_fraction)
    aux = read_corpus(both[1], aux_articles, validation_fraction, aux_validation)
    splits = ("train", "validation", "test") if validation_fraction else ("train", "test")
    return Text(
        kind,
        f"{main.name} and {aux.name}",
        {split: {"main": main.bytes(split, window), "aux": aux.bytes(split, window)} for split in splits},
        notes={
            f"{name} {key}": n
            for name, corpus in (("main", main), ("aux", aux))
            for key, n in corpus.notes.items()
        },
        digests=tuple(corpus.digests[split] for corpus in (main, aux) for split in splits),
    )


def _from_hub(name: str, source: str, config: str | None = None) -> Documents:
    hub = check_source(source) == "hub"

    def rows(split: str) -> Any:
        splits = open_hub(name, source, config, streaming=True) if hub else open_tables(name, source)
        if split not in splits:
            raise DataError(f"data set {name} has no split {split!r}; it has {', '.join(splits)}")
        return splits[split] if hub else Resumable(splits[split], "text")

    identity = "hub" if hub else _files(Path(source) / name)
    return Documents(name, {split: partial(rows, split) for split in ("train", "validation")}, identity)


def _specialised(name: str, source: str) -> Documents:
    folder = os.environ.get(TEXTS, "") if source == "hub" else source
    if folder and (Path(folder) / name).is_dir():
        return _from_hub(name, folder)
    licence = (
        "needs a licence, free for research: sign the agreement at https://trec.nist.gov/data/reuters/reuters.html"
        if name == "rcv1"
        else "is distributed free for research: http://www.daviddlewis.com/resources/testcollections/reuters21578"
    )
    where = f"--data PATH, or with --data hub {TEXTS}=PATH" if source == "hub" else f"the folder {folder}"
    raise DataError(
        f"data set {name} is missing. It is not on the hub and {licence}. Write it as JSON lines with a "
        f"column 'text' to {name}/train.jsonl.gz and {name}/validation.jsonl.gz in {where}"
    )


def _files(folder: Path) -> list[Any]:
    """What tells one content of a folder from another: names, sizes and times of its files."""
    stats = [(file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file()]
    return [str(folder.resolve()), [(str(f.relative_to(folder)), s.st_size, s.st_mtime_ns) for f, s in stats]]


def _embedded(name: str, articles: Callable[[], list[str]]) -> Documents:
    def rows(test: bool) -> Any:
        from datasets import Dataset

        chosen = [
            text for i, text in enumerate(articles()) if (i % _EMBEDDED_TEST == _EMBEDDED_TEST - 1) == test
        ]
        return Dataset.from_dict({"text": chosen}).to_iterable_dataset()

    identity = [platform.python_version(), *(version(package) for package in PACKAGES.values())]
    return Documents(name, {"train": partial(rows, False), "validation": partial(rows, True)}, identity)


def _topics() -> list[str]:
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


@cache
def _docstrings() -> list[str]:
    """One article per file, without importing it: its docstrings in the order of `ast.walk`."""
    articles = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for file in sorted(folder.rglob("*.py")):
            if "tests" in file.relative_to(folder).parts:
                continue
            nodes = ast.walk(ast.parse(file.read_bytes()))
            owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            found = [text for node in nodes if isinstance(node, owners) and (text := ast.get_docstring(node))]
            if found:
                articles.append("\n\n".join(found))
    return articles
