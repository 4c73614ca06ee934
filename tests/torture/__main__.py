"""`make torture`: what can happen to a sweep, many times over; a table of what was lost. Under 20 minutes.

python -m tests.torture [ROW[=TRIALS]]..., by default all rows of `TRIALS`
"""

from __future__ import annotations

import sys
import time

import pandas as pd
import torch

from scalpel_bench.benchmarks.messages import terminal
from tests.torture import (
    caches,
    command_lines,
    data_files,
    hosts,
    interruptions,
    kills,
    load,
    mutations,
    nodes,
)

TRIALS = {
    "kills": kills.killed,
    "sweeps": kills.concurrent,
    "hosts": hosts.two_hosts,
    "mutations": mutations.mutated,
    "command_lines": command_lines.mistyped,
    "tables": data_files.damaged_tables,
    "caches": caches.damaged_caches,
    "derived": interruptions.derived,
    "packed": interruptions.packed,
    "stopped": interruptions.stopped,
    "full_disk": interruptions.full_disk,
    "load": load.loaded,
    "dashboards": load.dashboards,
    "many_runs": load.many_runs,
    "long_trajectory": load.long_trajectory,
    "nodes": nodes.node_killed,
    "heads": nodes.head_restarted,
    "ray_runs": nodes.many_runs,
}


def main(names: list[str]) -> int:
    torch.set_num_threads(1)  # others would be missing in forks
    rows = []
    for word in names or list(TRIALS):
        name, _, count = word.partition("=")
        started = time.perf_counter()
        for row in TRIALS[name](*[int(count)] if count else []):
            rows.append({**row, "seconds": round(time.perf_counter() - started)})
            terminal.say(f"{row['what']}: {row['trials']} trials, {row['bad']} bad")
    terminal.table("torture", pd.DataFrame(rows))
    return int(any(row["bad"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
