"""Sweeps on Ray, on real clusters of processes of this machine."""

import os
import subprocess
import sys
import time
from contextlib import closing

import pytest

from scalpel_bench.benchmarks.commands.sweep import sweep
from scalpel_bench.benchmarks.execution import ExecutionOptions, execute_all, executors
from scalpel_bench.benchmarks.messages.errors import UserError
from tests.benchmarks.runs import conditioning, jobs_of
from tests.torture.nodes import head_restarted

pytest.importorskip("ray")


@pytest.mark.slow
def test_a_sweep_on_ray_records_what_a_local_one_does(killer, folder) -> None:
    jobs = jobs_of(killer(times=1), folder)
    place = ExecutionOptions(workers=1, executor="ray")
    ended = {done.job.run.id: done.record for done in execute_all([[job] for job in jobs], place)}
    assert {record.status for record in ended.values()} == {"completed"}
    assert [record.lost for record in ended.values() if record.lost] == [["its worker died (out of memory?)"]]
    assert sorted(ended) == [record.id for record in folder.read()[0]]
    for job in jobs:
        folder.file(job.run.id).unlink()
    for done in execute_all([[job] for job in jobs], ExecutionOptions()):
        assert done.record.trajectory == ended[done.job.run.id].trajectory


def test_a_cluster_that_is_not_there_is_one_clear_error(folder) -> None:
    jobs = jobs_of(conditioning(), folder)
    with pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:1: .*refused"):
        list(execute_all([jobs[:1]], ExecutionOptions(executor="ray", address="127.0.0.1:1")))
    place = ExecutionOptions(executor="ray", address="127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        sweep([conditioning()], place, folder.path / "results", False, "disabled")
    assert not (folder.path / "results").exists()


def test_without_ray_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--executor ray needs Ray: pip install 'scalpel-bench\[ray\]'"):
        executors.create(ExecutionOptions(executor="ray"))


@pytest.mark.slow
def test_a_cluster_without_room_is_said_once(capfd) -> None:
    with closing(
        executors.create(ExecutionOptions(executor="ray", device="cuda", gpu_share=0.5))
    ) as executor:
        said = ""
        while "waiting" not in said:
            time.sleep(0.05)
            said += capfd.readouterr().err
        assert executor.slots == 0
    assert said.count("no room for a run, which takes a core and 0.5 GPU; waiting for a node that has") == 1


@pytest.mark.slow
def test_a_node_that_dies_in_mid_sweep_costs_nothing(folder) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        doomed = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        (long, *_) = jobs_of(conditioning(lam=[0.1], training={"epochs": 30_000}), folder)
        jobs = [long, *jobs_of(conditioning(lam=[0.1, 1.0], training={"epochs": 2000}), folder)]
        place = ExecutionOptions(executor="ray", address=cluster.address)
        ended = []
        for done in execute_all([[job] for job in jobs], place):
            ended.append(done)
            if len(ended) == 2:
                cluster.add_node(num_cpus=2)
            if len(ended) == 3:  # while the long one runs there
                cluster.remove_node(doomed, allow_graceful=False)
    finally:
        cluster.shutdown()
    assert {done.record.status for done in ended} == {"completed"}
    assert sorted(done.record.id for done in ended) == [record.id for record in folder.read()[0]]
    assert len(ended) == len(jobs)
    assert {done.record.id: done.record.lost for done in ended}[long.run.id]


@pytest.mark.slow
def test_a_head_that_dies_ends_the_sweep_in_one_line_though_a_run_is_silent(killer, folder) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    jobs = {job.run.label: job for job in jobs_of(killer(times=1, number=0), folder)}
    address = cluster.address  # which Ray forgets with the head
    place = ExecutionOptions(executor="ray", address=address)
    try:
        sweep = execute_all([[job] for job in jobs.values()], place)
        assert next(sweep).record.run.label == "sum"
        cluster.head_node.kill_gcs_server(check_alive=False)
        with pytest.raises(UserError, match=f"the head of the Ray cluster at {address} is gone"):
            next(sweep)
    finally:
        cluster.shutdown()
    assert [record.id for record in folder.read()[0]] == [jobs["sum"].run.id]
    assert list(folder.runs.glob("*.lease")) == []


@pytest.mark.slow
def test_a_head_that_restarts_at_the_same_address_ends_the_sweep_in_one_line_and_the_command_goes_on() -> (
    None
):
    assert [row["bad"] for row in head_restarted()] == [0]


OURS = """
import os, subprocess, sys
from scalpel_bench.benchmarks.execution import ExecutionOptions, executors
executor = executors.create(ExecutionOptions(executor="ray"))
import ray
address = ray.get_runtime_context().gcs_address
code = f"import ray; ray.init(address={address!r}, logging_level=50); print('let in')"
for other in ({}, {"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}):
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **other}, stderr=subprocess.DEVNULL)
executor.close()
"""


@pytest.mark.slow
def test_a_cluster_of_ours_answers_nobody_without_its_token() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", OURS], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split("\n").count("let in") == 1
