"""The rules that every method and every task must keep."""

from .for_methods import check_method, method_rules
from .for_tasks import alone, check_task, task_rules
from .inputs import pairs, sampled, trajectory
from .rules import Broken, Rule

__all__ = [
    "Broken",
    "Rule",
    "alone",
    "check_method",
    "check_task",
    "method_rules",
    "pairs",
    "sampled",
    "task_rules",
    "trajectory",
]
