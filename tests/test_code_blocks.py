"""Every block of code in the documents is run here, or says in a comment before it why it is not.

Commands that are not run are parsed: by the shell, and by the command line of `scalpel`.
"""

import ast
import re
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer
import yaml
from matplotlib import pyplot
from torch import nn

import scalpel_bench
from scalpel_bench import methods
from scalpel_bench.benchmarks.cli.app import app
from tests.benchmarks.recorded import recorded
from tests.test_documents import DOCUMENTS, ROOT

CLI = typer.main.get_command(app)


class Block(NamedTuple):
    document: str
    language: str
    code: str
    not_run: str  # the reason; empty where it is run

    def __repr__(self) -> str:
        return f"{self.document}: {self.code.splitlines()[0]}"


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    fence = r"(?ms)(?:^<!-- not run: ([^\n]+) -->\n)?^( *)```(\w*)\n(.*?)^\2```$"
    found = re.findall(fence, text)
    assert len(found) == len(re.findall(r"(?m)^ *```", text)) // 2, f"{document}: a block is not closed"
    return [
        Block(document, language, re.sub(rf"(?m)^{indent}", "", code), reason)
        for reason, indent, language, code in found
    ]


BLOCKS = [block for document in [*DOCUMENTS, "CHANGELOG.md"] for block in blocks(document)]


def of(document: str, language: str) -> list[Block]:
    return [block for block in BLOCKS if (block.document, block.language) == (document, language)]


RUN_ELSEWHERE = {
    ("README.md", "sh"): "test_examples.py",
    ("docs/experiments.md", "toml"): "test_documents.py",
    ("docs/experiments.md", "sh"): "test_own_experiment.py",
    ("docs/leaderboard.md", "sh"): "test_leaderboard.py",
}
RUN_HERE = {
    *((name, "python") for name in ("README.md", "CONTRIBUTING.md", "docs/training_loop.md")),
    *((name, "python") for name in ("docs/running.md", "docs/leaderboard.md")),
}


def test_every_block_is_run_or_says_why_not() -> None:
    assert len(BLOCKS) > 10
    for block in BLOCKS:
        if not block.not_run:
            assert (block.document, block.language) in RUN_HERE | RUN_ELSEWHERE.keys(), block
    for block in of("README.md", "sh"):
        assert block.not_run or all("examples/" in line for line in block.code.splitlines()), block


def parse(command: list[str]) -> None:
    """What ``scalpel`` makes of the words, up to where it would begin."""
    context = CLI.make_context("scalpel", command)
    args = [*context._protected_args, *context.args]
    group = CLI
    while isinstance(group, typer.core.TyperGroup):
        _, group, args = group.resolve_command(context, args)
        context = group.make_context(group.name, args, parent=context)
        args = [*context._protected_args, *context.args]


def commands(block: Block) -> list[list[str]]:
    """The commands of ``scalpel`` in a block, without what the shell makes of them."""
    joined = re.sub(r"\\\n\s*", " ", block.code)
    if block.language == "yaml":
        joined = yaml.safe_load(block.code)["spec"]["entrypoint"]
    found = [
        shlex.split(line.partition(">>")[0], comments=True)
        for line in joined.splitlines()
        if re.match(r"\s*scalpel ", line)
    ]
    return [[word for word in line[1:] if word != "&"] for line in found]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in ("sh", "yaml")], ids=repr)
def test_commands_can_be_parsed(block: Block) -> None:
    if block.language == "sh":
        subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
    for command in commands(block):
        parse(command)


def test_what_cannot_be_parsed_is_found() -> None:
    assert sum(map(len, map(commands, BLOCKS))) > 5
    for wrong in (["sweeep", "fig3a"], ["sweep", "fig3a", "--sedes", "2"], ["sweep"]):
        with pytest.raises(Exception, match="No such|Missing|unknown"):
            parse(wrong)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_commands_within_sentences_exist_with_their_options(document: str) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", (ROOT / document).read_text())
    for told in re.findall(r"`scalpel ([^`]+)`", " ".join(text.split())):
        words = told.replace("\\|", "|").split()
        if words[0] == "COMMAND":
            continue
        named = CLI
        while isinstance(named, typer.core.TyperGroup) and words and not words[0].startswith("-"):
            (*others, last) = words.pop(0).split("|")
            assert {*others, last} <= named.commands.keys(), told
            named = named.commands[last]
        known = {option for each in named.params for option in (*each.opts, *each.secondary_opts)} | {
            "--help"
        }
        known |= {"--install-completion"} if named is CLI else set()
        options = set(re.findall(r"(?<![\w-])--[\w-]+", " ".join(words)))
        assert options <= known or named.context_settings.get("ignore_unknown_options"), told


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", (ROOT / document).read_text())) <= targets


def test_surgery_in_a_training_loop_as_the_documents_show_it() -> None:
    for document in ("README.md", "docs/training_loop.md"):
        (block,) = of(document, "python")
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        outputs = model(torch.randn(5, 4))
        names = {
            "optimizer": torch.optim.SGD(model.parameters()),
            "main_loss": outputs.square().mean(),
            "aux_loss": outputs.abs().mean(),
        }
        exec(block.code, names)
        assert names["surgeon"].method == methods.Bloop(lam=0.3)
        assert model.weight.grad.abs().sum() > 0


def test_results_as_the_documents_show_them(tmp_path, monkeypatch) -> None:
    shown = [
        block.code for name in ("docs/running.md", "docs/leaderboard.md") for block in of(name, "python")
    ]
    folder = tmp_path / "results" / "fig5a" / "workstation"
    folder.parent.mkdir(parents=True)
    recorded(folder)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for statement in ast.parse("\n".join(shown)).body:  # as a notebook shows the value of each
        code = ast.unparse(statement)
        value = eval(code, names) if isinstance(statement, ast.Expr) else exec(code, names)
        assert value is None or not hasattr(value, "empty") or not value.empty, code
    assert isinstance(names["results"], scalpel_bench.benchmarks.api.Results)
    pyplot.close("all")


def test_the_method_that_contributors_write(tmp_path: Path) -> None:
    (block,) = of("CONTRIBUTING.md", "python")
    file = tmp_path / "balance.py"
    file.write_text(block.code)
    method = methods.create(f"{file}:Balance", lam=0.5)
    main, auxiliary = rows = torch.tensor([[3.0, 4.0], [0.6, 0.0]], dtype=torch.float64)
    direction, _ = method.combine(rows, method.init(rows))
    methods.REGISTRY.remove("balance")
    torch.testing.assert_close(direction, main + 0.5 * (main.norm() / auxiliary.norm()) * auxiliary)
