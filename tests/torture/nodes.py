"""A Ray cluster of several nodes on this machine, one of which dies in mid-sweep."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalpel_bench.benchmarks.execution import ExecutionOptions, execute_all
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.runs import conditioning, jobs_of


def node_killed() -> Iterator[dict[str, Any]]:
    """All runs complete on a node that joined before the first died; then what Ray adds to a short run."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        doomed = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        place = ExecutionOptions(executor="ray", address=cluster.address)
        with tempfile.TemporaryDirectory() as base:
            folder = Folder(Path(base))
            folder.prepare()
            jobs = jobs_of(conditioning(training={"epochs": 2500}), folder)
            ended = []
            for done in execute_all([[job] for job in jobs], place):
                ended.append(done.record)
                if len(ended) == 2:
                    cluster.add_node(num_cpus=2)
                if len(ended) == 5:
                    cluster.remove_node(doomed, allow_graceful=False)
            recorded = [record.id for record in folder.read()[0]]
    finally:
        cluster.shutdown()
    bad = sum(record.status != "completed" for record in ended) + (
        recorded != sorted(job.run.id for job in jobs)
    )
    lost = sum(bool(record.lost) for record in ended)
    what = f"Ray: one node joins, another is killed, {lost} runs retried: all complete"
    yield {"what": what, "trials": len(jobs), "bad": bad + (lost == 0)}
    yield _overhead()


def _overhead() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as base:
        folder = Folder(Path(base))
        folder.prepare()
        jobs = jobs_of(conditioning(seeds=20, training={"epochs": 1, "evaluations": 1}), folder)
        moments = [
            (time.perf_counter(), sum(done.record.timings.values()))
            for done in execute_all([[job] for job in jobs], ExecutionOptions(workers=1, executor="ray"))
        ]
    half = len(moments) // 2
    seconds = (moments[-1][0] - moments[half][0]) / (len(moments) - 1 - half)
    own = sum(spent for _, spent in moments[half + 1 :]) / (len(moments) - 1 - half)
    what = f"Ray: {1000 * (seconds - own):.0f} ms a run beside its own (target 100)"
    return {"what": what, "trials": len(moments), "bad": int(seconds - own > 0.1)}
