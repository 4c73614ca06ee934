"""Real processes over gloo, for tests of what several of them do together."""

import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WORLD = 2


def together(function: Callable[..., None], folder: Path, *arguments: object) -> None:
    """Call ``function(rank, *arguments)`` in two processes of one group; raise where one of them does."""
    mp.spawn(_run, (function, str(folder / "rendezvous"), arguments), nprocs=WORLD)


def _run(rank: int, function: Callable[..., None], meeting: str, arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORLD)
    try:
        function(rank, *arguments)
    except Exception:
        traceback.print_exc()
        raise
    finally:
        dist.destroy_process_group()
