"""The rules that every method and every task must keep."""

from scalpel_bench.benchmarks.contract.for_methods import check_method, method_rules
from scalpel_bench.benchmarks.contract.for_tasks import check_task, task_rules
from scalpel_bench.benchmarks.contract.inputs import pairs, sampled, trajectory
from scalpel_bench.benchmarks.contract.rules import Broken, Rule

__all__ = [
    "Broken",
    "Rule",
    "check_method",
    "check_task",
    "method_rules",
    "pairs",
    "sampled",
    "task_rules",
    "trajectory",
]
