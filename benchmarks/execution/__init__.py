"""Where and in which order runs are executed, and who may execute which."""

from scalpel_bench.benchmarks.execution.code import code_of
from scalpel_bench.benchmarks.execution.job import FinishedJob, Job
from scalpel_bench.benchmarks.execution.loaded_tasks import as_key, describe_data, get_task
from scalpel_bench.benchmarks.execution.options import (
    ExecutionOptions,
    check_device,
    default_device,
    default_workers,
)
from scalpel_bench.benchmarks.execution.populations import fastest, populations
from scalpel_bench.benchmarks.execution.supervision import execute_all
from scalpel_bench.benchmarks.execution.worker import execute

__all__ = [
    "ExecutionOptions",
    "FinishedJob",
    "Job",
    "as_key",
    "check_device",
    "code_of",
    "default_device",
    "default_workers",
    "describe_data",
    "execute",
    "execute_all",
    "fastest",
    "get_task",
    "populations",
]
