"""For tests of methods: what a test says that it compares, it must make."""

from collections.abc import Iterator
from typing import Any

import pytest

from scalpel_bench import methods


@pytest.fixture(autouse=True)
def makes_what_it_compares(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test with the mark ``compares`` makes all methods that it names, or one if it has parameters."""
    named = {name for mark in request.node.iter_markers("compares") for name in mark.args[1:]}
    made: set[str] = set()
    create = methods.create

    def recording(name: str, **settings: Any) -> methods.Method:
        made.add(name)
        return create(name, **settings)

    if named:
        monkeypatch.setattr(methods, "create", recording)
    yield
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    wanted = {parameters["name"]} if "name" in parameters and named else named
    missing = wanted - made
    assert not missing or (parameters and wanted & made), f"it compares {missing}, and makes {made}"
