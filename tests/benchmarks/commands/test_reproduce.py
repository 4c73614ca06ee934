"""The long command: what it says before it starts, its order and its bar, and how it ends."""

from collections.abc import Iterator

import pytest
from rich.progress import Task

from scalpel_bench.benchmarks.commands import forecast, sweep
from scalpel_bench.benchmarks.commands.plan import Measured, duration
from scalpel_bench.benchmarks.commands.planning import plan_jobs
from scalpel_bench.benchmarks.execution import ExecutionOptions, FinishedJob, get_task
from scalpel_bench.benchmarks.experiments.loading import available, load
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.records import Folder, Record
from tests.benchmarks.command_line import SMALL, scalpel
from tests.benchmarks.runs import conditioning

STEP, EVALUATION = 0.5, 3.0


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(terminal, "say", lines.append)
    monkeypatch.setattr(terminal, "warn", lines.append)
    return lines


def told(total: float, busy: float) -> forecast.Forecast:
    return forecast.Forecast({"one": total}, 2.5 * 2**20, busy, 1, 0)


def test_the_order_is_the_papers() -> None:
    experiments = [load(name, "smoke") for name in available()]
    names = [e.name for e in sweep._in_order(experiments) if not e.own_question]
    assert names[:9] == ["fig2", "fig3a", "fig3b", "fig4", "fig5a", "fig5b", "fig6", "fig7", "fig10"]
    own = [e.own_question for e in sweep._in_order(experiments)]
    assert own == sorted(own)


def test_what_is_computed_from_runs_comes_after_them() -> None:
    early = load("fig6", "smoke").model_copy(update={"paper": "Figure 1"})
    names = [e.name for e in sweep._in_order([early, load("fig10", "smoke"), load("fig5a", "smoke")])]
    assert names == ["fig5a", "fig6", "fig10"]


def test_seconds_are_those_of_all_steps_and_evaluations(tmp_path, monkeypatch) -> None:
    experiment = conditioning(seeds=2)
    options = ExecutionOptions(workers=3)
    jobs = plan_jobs(experiment, options, Folder(tmp_path))
    measured = Measured(STEP, EVALUATION, memory=0, row=1000, checkpoint=7, busy=0.75)
    monkeypatch.setattr(forecast, "measure", lambda *arguments: measured)
    found = forecast.forecast(jobs, options)
    training = experiment.training
    steps = training.epochs * get_task(experiment.task, options).steps_per_epoch
    rows = training.evaluations + 1
    assert found.total == pytest.approx(len(jobs) * (steps * STEP + rows * EVALUATION) / 3)
    assert found.disk == len(jobs) * rows * 1000 + 3 * 7
    assert found.busy == 0.75


def test_a_run_that_cannot_be_measured_is_left_to_the_sweep(tmp_path, monkeypatch) -> None:
    options = ExecutionOptions()
    jobs = plan_jobs(conditioning(seeds=1), options, Folder(tmp_path))
    monkeypatch.setattr(forecast, "measure", lambda *arguments: 1 / 0)
    assert forecast.forecast(jobs, options).total == pytest.approx(len(jobs) * forecast.SIMULATED)


def test_a_busy_machine_is_told_from_an_idle_one(tmp_path, said) -> None:
    forecast.announce_cost(told(1200, busy=0.03), 9, tmp_path / "new" / "results")
    (line,) = said
    assert line.startswith("9 runs: about 20 minutes on 1 at a time")
    assert "; 2.5 MiB on disk, where " in line
    said.clear()
    forecast.announce_cost(told(1200, busy=0.6), 9, tmp_path)
    assert said[1] == (
        "this machine is busy: a process gets 40% of a core; alone, the runs would take about 8 minutes"
    )


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "2 seconds"), (89, "89 seconds"), (90, "2 minutes"), (9000, "2.5 hours")]
)
def test_times_are_told_in_a_unit_that_suits_them(seconds, shown) -> None:
    assert duration(seconds) == shown


def test_it_says_which_claims_can_be_answered(said) -> None:
    many = load("fig2", "laptop", {"seeds": 6})
    forecast.announce_claims([many, load("fig3a", "laptop"), load("theorem2", "laptop", {"seeds": 5})])
    assert said[0] == "these runs can answer 1 of 9 claims (fig2 1)"
    assert [line.rpartition(": ")[2] for line in said[1:]] == ["5", "2", "1"]
    assert "miniature" in said[1]
    assert "fewer than 6 seeds" in said[2]
    assert "scalpel bench" in said[3]


class TestBar:
    """Its time left."""

    @staticmethod
    def left(elapsed: float, completed: float, at: float, expected: float | None = None) -> str:
        task = Task(0, "", 100.0, completed, _get_time=lambda: elapsed)  # type: ignore[arg-type]
        task.start_time = 0.0
        task.fields = {"at": at, "expected": expected}
        return terminal._Left().render(task).plain

    def test_it_follows_the_work_that_is_done_not_the_count(self) -> None:
        assert self.left(elapsed=60, completed=25, at=60) == "left 0:03:00"

    def test_it_counts_down_between_two_runs(self) -> None:
        assert self.left(elapsed=70, completed=25, at=60) == "left 0:02:50"

    def test_it_starts_from_what_was_expected(self) -> None:
        assert self.left(elapsed=10, completed=0, at=0, expected=130) == "left 0:02:00"
        assert self.left(elapsed=500, completed=0, at=0, expected=130) == "left 0:00:00"
        assert self.left(elapsed=10, completed=0, at=0) == "left ?"


def test_a_figure_that_cannot_be_drawn_stops_no_runs(tmp_path, said, monkeypatch) -> None:
    experiment, options = conditioning(seeds=1), ExecutionOptions()
    folder = Folder(tmp_path)
    jobs = plan_jobs(experiment, options, folder)
    derived = sweep._Derived(
        [experiment], {experiment.name: folder}, {}, jobs, options, tracker=None, brief=True
    )
    tried: list[str] = []

    def broken(e) -> None:
        tried.append(e.name)
        raise ZeroDivisionError("no room")

    monkeypatch.setattr(derived, "_make", broken)

    def ended() -> Iterator[FinishedJob]:
        for job in jobs:
            record = Record(id=job.run.id, run=job.run, status="failed", environment={}, trajectory=[])
            yield FinishedJob(job, record)

    assert derived.running == experiment.name
    assert [done.job for done in derived.watch(ended())] == jobs
    assert tried == [experiment.name]
    assert said == [f"{experiment.name} is not drawn yet: no room"]
    assert derived.running == ""


@pytest.mark.draws
def test_reproduce_ends_with_one_page_over_all(tmp_path) -> None:
    done = scalpel("reproduce", "theorem2", "fig2", *SMALL, cwd=tmp_path)
    assert done.stdout.endswith("report: results/report-smoke.html\n")
    before, _, end = done.stdout.partition("2 runs in ")
    assert "2 runs: about " in before
    assert before.index("fig2: its figures are in") < before.index("theorem2: its figures are in")
    assert "answered: 0 of 3 claims" in end
    assert len(end.splitlines()) <= 25
    page = (tmp_path / "results" / "report-smoke.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert 'alt="Noise in the projection' in page
