"""A sweep of short runs on each folder that standard input names; it prints what it did."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from scalpel_bench.benchmarks.execution import ExecutionOptions, execute_all
from scalpel_bench.benchmarks.execution.worker import STARTED_OVER
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.runs import conditioning, jobs_of


def experiment_of() -> Experiment:
    """Runs of the smallest experiment, each long enough to be cut off."""
    return conditioning(training={"epochs": 300, "evaluations": 4})


def main(workers: int) -> None:
    for line in sys.stdin:
        folder = Folder(Path(line.strip()))
        folder.prepare()
        jobs = [replace(job, stamp=folder.stamp(job.run.id)) for job in jobs_of(experiment_of(), folder)]
        missing = [job for job in jobs if folder.find(job.run.id) is None]
        place = ExecutionOptions(workers=workers, checkpoint_every=0.05)
        for done in execute_all([[job] for job in missing], place, retries=20):
            word = "elsewhere" if done.elsewhere else "over" if done.note == STARTED_OVER else "executed"
            print(word, done.record.id, flush=True)
        print("end", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
