"""What explains a front, on made-up trajectories."""

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from scalpel_bench.benchmarks.analysis import diagnostics
from scalpel_bench.benchmarks.execution import ExecutionOptions, get_task
from scalpel_bench.benchmarks.figures import diagnostics as figure
from scalpel_bench.benchmarks.training import Stepper
from tests.benchmarks.runs import conditioning, plan, record


def trajectory(*rows: dict[str, float | None]) -> list[dict[str, object]]:
    return [{"step": step, "diagnostics": row} for step, row in enumerate(rows)]


def summary(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        [{"status": "completed", "method": "bloop", "lam": 0.1, "lr": 0.1, "seed": 0, **columns}]
    )


def test_lengths_are_averaged_as_logarithms_over_the_second_half() -> None:
    early = {"direction_norm": 50.0, "main_norm": 1.0, "direction_main_cosine": -1.0, "step_norm": 9.0}
    late = [
        {"direction_norm": 2.0, "main_norm": 1.0, "direction_main_cosine": 0.5, "step_norm": 0.1},
        {"direction_norm": 8.0, "main_norm": 1.0, "direction_main_cosine": 0.7, "step_norm": 0.4},
    ]
    ended = record(plan(conditioning())[0], 0.1, 0.2).model_copy(
        update={"trajectory": trajectory({}, early, *late)}
    )
    (row,) = diagnostics.frame(summary(id=ended.id), {ended.id: ended}).itertuples()
    assert row.relative_length == pytest.approx(4.0)
    assert row.step_norm == pytest.approx(0.2)
    assert row.direction_main_cosine == pytest.approx(0.6)
    assert math.isnan(row.direction_memory_cosine)


def test_the_middle_of_training_is_no_part_of_its_second_half() -> None:
    rows = [
        {"direction_norm": float(2 if step > 2 else 99), "main_norm": 1.0, "step_norm": 1.0}
        for step in range(5)
    ]
    ended = record(plan(conditioning())[0], 0.1, 0.2).model_copy(update={"trajectory": trajectory(*rows)})
    (row,) = diagnostics.frame(summary(id=ended.id), {ended.id: ended}).itertuples()
    assert row.relative_length == pytest.approx(2.0)


def test_what_was_not_measured_and_lengths_of_zero_count_for_nothing() -> None:
    """A cosine of zero is a right angle, and counts."""
    rows = [
        {"direction_norm": 0.0, "main_norm": 0.0, "direction_main_cosine": None, "step_norm": 0.0},
        {"direction_norm": 3.0, "main_norm": 1.5, "direction_main_cosine": 1.0, "step_norm": 0.3},
        {"direction_norm": 3.0, "main_norm": 1.5, "direction_main_cosine": 0.0, "step_norm": 0.3},
    ]
    ended = record(plan(conditioning())[0], 0.1, 0.2).model_copy(
        update={"trajectory": trajectory({}, {}, {}, *rows)}
    )
    (row,) = diagnostics.frame(summary(id=ended.id), {ended.id: ended}).itertuples()
    assert (row.relative_length, row.direction_main_cosine) == (pytest.approx(2.0), 0.5)
    assert row.step_norm == pytest.approx(0.3)
    without = ended.model_copy(update={"trajectory": trajectory({}, {})})
    assert diagnostics.frame(summary(id=ended.id), {ended.id: without}).empty


@pytest.mark.parametrize("name", ["bloop", "bloop_no_ema", "pcgrad"])
@pytest.mark.parametrize("settings", [{}, {"rescale": True}, {"length": "sum"}], ids=str)
def test_the_projected_share_is_the_squared_cosine_to_what_is_projected_on(
    name: str, settings: dict[str, Any]
) -> None:
    """It is left out where d is not g_m + λ π(g_a; ·)."""
    experiment = conditioning(lam=[0.0, 3.0], methods={name: settings})
    runs = [run for run in plan(experiment) if run.label == name and run.seed == 0]
    task = get_task(runs[0].task, ExecutionOptions())
    for run in runs:
        stepper = Stepper([run], task)
        batches = stepper.batches()
        stepper.diagnosed_step(next(batches))
        before = [{key: value.clone() for key, value in state.items()} for state in stepper.states]
        stepper.diagnosed_step(next(batches))
        main, aux = stepper.gradients.double()
        onto = before[0]["memory"][0].double() if name == "bloop" else main
        if name == "pcgrad" or run.lam == 0 or "length" in settings:
            assert "projected_share" not in stepper.diagnostics(0)
        else:
            expected = torch.nn.functional.cosine_similarity(aux, onto, dim=0).square().item()
            assert stepper.diagnostics(0)["projected_share"] == pytest.approx(expected, abs=1e-5)


def cosine(a: torch.Tensor, b: torch.Tensor) -> Any:
    return pytest.approx(
        float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0)), abs=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({"name": "bloop", "rho": 0.3}, "after"),
        ({"name": "bloop", "rho": 0.3, "order": "before"}, "before"),
        ({"name": "dynamic_barrier", "ema": 0.3}, "after"),
    ],
)
def test_what_is_told_of_an_ema_is_of_the_one_that_gave_the_direction(
    settings: dict[str, Any], order: str
) -> None:
    experiment = conditioning(lam=[0.3], methods={"mine": settings})
    run = next(run for run in plan(experiment) if run.label == "mine").model_copy(
        update={"task": {"name": "quadratic", "batch_size": 4}}
    )
    stepper = Stepper([run], get_task(run.task, ExecutionOptions()))
    for batch, _ in zip(stepper.batches(), range(5), strict=False):
        seen = stepper.states[0]["memory"][0].clone() if stepper.states else None
        stepper.diagnosed_step(batch)
    main, after = stepper.gradients[0], stepper.states[0]["memory"][0]
    assert seen is not None
    memory = seen if order == "after" else after
    row = {"step": 5, "diagnostics": stepper.diagnostics(0)}
    (found,) = diagnostics.as_projected(record(run, 1.0, 1.0), [row])
    assert found["memory_norm"] == pytest.approx(float(memory.norm()), rel=1e-5)
    assert found["memory_main_cosine"] == cosine(memory, main)
    assert found["direction_memory_cosine"] == cosine(memory, stepper.direction)
    assert row["diagnostics"]["memory_main_cosine"] == cosine(after, main)
    unknown = run.model_copy(update={"method": {"name": "not_here"}})
    (told,) = diagnostics.as_projected(record(unknown, 1.0, 1.0), [row])
    assert set(row["diagnostics"]) - set(told) == {
        "memory_norm",
        "memory_main_cosine",
        "direction_memory_cosine",
    }


def test_of_several_auxiliary_losses_their_sum_is_told() -> None:
    task = {"name": "pinn", "equation": "kovasznay", "hidden": [8], "points": 16}
    run = plan(conditioning(lam=[0.3]))[0].model_copy(update={"task": task})
    stepper = Stepper([run], get_task(run.task, ExecutionOptions()))
    stepper.diagnosed_step(next(stepper.batches()))
    main, *others = stepper.gradients
    told = stepper.diagnostics(0)
    assert len(others) == 3
    assert told["aux_norm"] == pytest.approx(float(sum(others).norm()), rel=1e-5)
    assert told["main_aux_cosine"] == cosine(main, sum(others))
    assert told["direction_main_cosine"] == cosine(stepper.direction, main)
    assert told["direction_aux_cosine"] == cosine(stepper.direction, sum(others))


def test_the_figure_has_means_over_seeds_at_the_experiments_own_rate() -> None:
    experiment = conditioning(axes={"training.lr": [0.1, 0.5]})
    rows = [
        ("sum", lam, lr, seed, 100 * lr + lam + seed)
        for lam in (0.1, 1.0)
        for lr in (0.1, 0.5)
        for seed in (0, 2)
    ]
    frame = pd.DataFrame(rows, columns=["method", "lam", "lr", "seed", "step_norm"])
    frame = frame.assign(relative_length=1.0, direction_main_cosine=0.5, direction_memory_cosine=math.nan)
    ((_, drawn),) = figure.draw(SimpleNamespace(compared=experiment, diagnostics=frame, summary=frame))
    (line,) = drawn.axes[-1].lines
    assert drawn.axes[-1].get_title() == diagnostics.PANELS["step_norm"]
    assert line.get_xydata().ravel().tolist() == pytest.approx([0.1, 11.1, 1.0, 12.0])
