"""`make torture`: what can happen to a sweep, many times over, and a table of what was lost. Ten minutes.

python -m tests.torture [kills | sweeps | mutations | command_lines | tables | nodes][=TRIALS]...
"""

from __future__ import annotations

import sys
import time

import pandas as pd

from scalpel_bench.benchmarks.messages import terminal
from tests.torture import command_lines, data_files, kills, mutations, nodes

TRIALS = {
    "kills": kills.killed,
    "sweeps": kills.concurrent,
    "mutations": mutations.mutated,
    "command_lines": command_lines.mistyped,
    "tables": data_files.damaged_tables,
    "nodes": nodes.node_killed,
}


def main(names: list[str]) -> int:
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
