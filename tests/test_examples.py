"""The examples, run as the README shows them, the notebook, and the README's three lines in a plain loop."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from torch import nn

from scalpel_bench import methods

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {
    match["name"]: match["command"]
    for match in re.finditer(r"^\.venv/bin/(?P<command>.*examples/(?P<name>\w+)\.py)\b", README, re.M)
}


def numbers(output: str, name: str) -> list[float]:
    return [float(number) for number in re.findall(rf"{name}\W+(-?[\d.]+(?:e-?\d+)?)", output)]


def test_the_plot_of_the_quickstart_has_the_axes_of_the_suites_figures() -> None:
    text = (ROOT / "examples" / "quickstart.py").read_text()
    assert "points.append((aux, main))" in text
    assert re.search(r'xlabel\("auxiliary loss.*\n.*ylabel\("main loss', text)


def quickstart(output: str, folder: Path) -> None:
    assert matplotlib.image.imread(folder / "quickstart.png").std() > 0.05
    assert output.splitlines()[-1] == "plot: quickstart.png"
    ends: dict[str, list[tuple[float, float]]] = {"sum": [], "bloop": []}
    for name, main, aux in re.findall(
        r"^(\w+), λ = .*: main loss ([\d.]+), auxiliary loss ([\d.]+)$", output, re.M
    ):
        ends[name].append((float(main), float(aux)))
    assert len(ends["sum"]) == len(ends["bloop"]) == 4
    for method in ends.values():
        assert [aux for _, aux in method] == sorted((aux for _, aux in method), reverse=True)
    assert ends["bloop"][-1][0] < 0.7 * ends["sum"][-1][0]


def finetune_hf(output: str, folder: Path) -> None:
    assert numbers(output, "'loss'")[-1] < numbers(output, "'loss'")[0]
    assert len(numbers(output, "surgery/main_aux_cosine")) == 6
    assert (folder / "finetune_hf/checkpoint-60/surgery.pt").is_file()


def ddp(output: str, folder: Path) -> None:
    assert "equal on all processes: True" in output
    assert numbers(output, "main_loss")[-1] < 0.2 < numbers(output, "main_loss")[0]


def with_accelerate(output: str, folder: Path) -> None:
    assert len(numbers(output, "main_loss")) == 10
    assert numbers(output, "main_loss")[-1] < 0.3 < numbers(output, "main_loss")[0]


def with_lightning(output: str, folder: Path) -> None:
    (loss,) = numbers(output, "main_loss")
    assert loss < 0.5
    saved = torch.load(folder / "with_lightning/checkpoints/epoch=4-step=75.ckpt", weights_only=False)
    assert saved["surgeon"]["state"]["memory"].norm() > 0


CHECKS: dict[str, Callable[[str, Path], None]] = {
    check.__name__: check for check in (quickstart, finetune_hf, ddp, with_accelerate, with_lightning)
}


def test_the_readme_shows_every_example() -> None:
    assert set(COMMANDS) == set(CHECKS) == {path.stem for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_an_example_runs_as_the_readme_shows_it(name: str, tmp_path: Path) -> None:
    if name == "with_lightning":
        pytest.importorskip("lightning")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    tool, *arguments = COMMANDS[name].split()
    command = [str(Path(sys.executable).parent / tool), *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    CHECKS[name](done.stdout, tmp_path)


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads((ROOT / "examples/compare.ipynb").read_text())["cells"]
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    assert len(outputs) > 1
    assert not any(outputs)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells one after the other, and the values that they show."""
    monkeypatch.chdir(ROOT / "examples")
    names: dict[str, object] = {}
    shown = []
    for cell in json.loads(Path("compare.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            body = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body[:-1], []), "compare.ipynb", "exec"), names)
            shown.append(eval(ast.unparse(body[-1]), names))
    results, runs, fronts, own, figure, table = shown
    assert repr(results) == f"<{len(results.runs)} runs of fig5a at scale workstation>"
    assert {"sum", "bloop"} <= set(fronts.reset_index()["method"])
    assert len(runs) == len(own) == 5
    assert figure.axes[0].get_ylabel() == "main loss relative to the sum"
    recorded = pd.read_csv(ROOT / "results/fig5a/workstation/metrics.csv").query(
        "statistic == 'front_ratio' and split == 'test' and seed == 'all' and protocol == 'fixed'"
    )
    ratios = recorded.set_index("method")["value"]
    assert table["fig5a"].dropna().to_dict() == pytest.approx(ratios.to_dict(), abs=6e-4)
    assert table.loc["sum"].tolist() == [1.0] * 5
    everywhere = table[table.notna().all(axis=1)]
    assert len(everywhere) < len(table)
    assert table.index[: len(everywhere)].tolist() == everywhere.index.tolist()
    assert everywhere.index[0] == "bloop"
    pyplot.close("all")


def test_the_three_lines_of_the_readme() -> None:
    (snippet,) = re.findall(r"```python\n(from scalpel_bench import methods\n.*?)```", README, re.S)
    once, each = re.findall(r"^surgeon.*$", snippet, re.M)
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names = {"methods": methods, "optimizer": optimizer}
    exec(once, names)
    outputs = model(torch.randn(5, 4))
    main_loss, aux_loss = outputs.square().mean(), outputs.abs().mean()
    main, aux = (torch.autograd.grad(v, model.weight, retain_graph=True)[0] for v in (main_loss, aux_loss))
    both = (torch.autograd.grad(v, model.bias, retain_graph=True)[0] for v in (main_loss, aux_loss))
    rows = torch.stack([torch.cat([w.flatten(), b]) for w, b in zip((main, aux), both, strict=True)])
    exec(each, {**names, "main_loss": main_loss, "aux_loss": aux_loss})
    method = methods.create("bloop", lam=0.3)
    expected, _ = method.combine(rows, method.init(rows))
    torch.testing.assert_close(torch.cat([model.weight.grad.flatten(), model.bias.grad]), expected)
