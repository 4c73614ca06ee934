"""Where and in which order runs are executed, and who may execute which."""

from .code import code_of
from .executors import check_executor
from .job import FinishedJob, Job, title_of
from .loaded_tasks import as_key, describe_data, get_task
from .options import (
    ExecutionOptions,
    check_device,
    default_device,
    default_workers,
)
from .populations import fastest, populations
from .supervision import execute_all
from .threads import threads
from .worker import execute

__all__ = [
    "ExecutionOptions",
    "FinishedJob",
    "Job",
    "as_key",
    "check_device",
    "check_executor",
    "code_of",
    "default_device",
    "default_workers",
    "describe_data",
    "execute",
    "execute_all",
    "fastest",
    "get_task",
    "populations",
    "threads",
    "title_of",
]
