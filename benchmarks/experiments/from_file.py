"""What experiments have beside `common`: the file that they come from, and defaults for one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from .claims import OWN
from .common import Common

OF_THE_FILE = ("name", "scale", "file")
"""Keys that no file states: they follow from where it is, and from what is asked for."""

TRAINING = {"optimizer": "adam", "lr": 0.01, "epochs": 20, "evaluations": 10}
"""How a task is trained of which no experiment says it."""


class FromFile(Common):
    """What every experiment states; nobody needs a paper.

    ``file`` is the user's own TOML; None for an experiment of the suite, and for a recorded one.
    """

    paper: str = ""
    file: Path | None = Field(None, exclude=True)

    @property
    def of_a_paper(self) -> bool:
        """Whether it asks for a paper's result, which a smaller scale does not give."""
        return self.paper not in ("", OWN)

    @property
    def caption(self) -> str:
        """The title, and where it is in the paper."""
        return f"{self.title} ({self.paper})" if self.paper else self.title


def with_defaults(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """What a file leaves out: the title is then the file's name, and a claim is the user's own question."""
    title = name.replace("_", " ").capitalize()
    filled = {"kind": "training", "title": title, **settings}
    if isinstance(claims := filled.get("claims"), list):
        filled["claims"] = [{"paper": OWN, **each} if isinstance(each, dict) else each for each in claims]
    return filled


def beside(value: Any, folder: Path) -> Any:
    """The same tables, in which ``path/to/file.py:Class`` under ``name`` is a path from their own folder."""
    if isinstance(value, list):
        return [beside(each, folder) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _path(each, folder) if key == "name" else beside(each, folder) for key, each in value.items()
    }


def _path(name: Any, folder: Path) -> Any:
    path, separator, class_name = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    return f"{folder / path}:{class_name}" if separator and path.endswith(".py") else name
