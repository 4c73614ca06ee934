"""What the numbers of a run may depend on beside its settings."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from ..experiments.suite import SUITE


def environment(device: str) -> dict[str, str | int | None]:
    """What the numbers of a run may depend on, and nothing that tells whose machine it was."""
    kind = torch.device(device).type
    return {
        "commit": _commit(),
        "scalpel": version("scalpel-bench"),
        "suite": SUITE,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a class of its own, which no checkpoint can hold
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if kind == "cuda" else kind,
        "threads": torch.get_num_threads(),
    }


def anonymous(text: str) -> str:
    """What an error says, without the paths and the name of the machine that it says it of."""
    told = {os.path.expanduser("~"): "~", str(Path.cwd()): ".", platform.node(): "this machine"}  # noqa: PTH111
    for word in sorted(told.keys() - {"", "/", "~", "localhost"}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told[word], text)
    return text


@functools.cache
def _processor() -> str:
    """Its kind, by which libraries choose their code: name, family, model and stepping, as far as told."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    except OSError:
        return platform.processor()
    told = dict(re.findall(r"(?m)^([^\t:]+)\t*: (.*)$", first))
    numbers = [told[key] for key in ("cpu family", "model", "stepping") if key in told]
    return " ".join([told.get("model name", platform.machine()), "-".join(numbers)]).strip()


@functools.cache
def _commit() -> str | None:
    """That of the suite's own checkout; none where it is installed, though it may lie in a repository."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
