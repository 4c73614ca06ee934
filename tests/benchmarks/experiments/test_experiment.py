import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.execution import code_of
from scalpel_bench.benchmarks.experiments import loading as experiment
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.loading import load
from scalpel_bench.benchmarks.experiments.schema import MANIFEST, SCALES, Experiment
from scalpel_bench.benchmarks.experiments.simulated import MixedLossExperiment
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records import once, sort_out
from tests.benchmarks.runs import BOX, conditioning, plan, record


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", experiment.available())
def test_every_experiment_loads_at_every_scale(name: str, scale: str) -> None:
    loaded = load(name, scale, {"seeds": 1})
    planned = loaded.plan(lambda settings: {"name": "none", "fingerprint": "0"})
    assert bool(planned) != isinstance(loaded, MixedLossExperiment)


def test_fig3a_is_the_papers_at_its_scale() -> None:
    fig3a = load("fig3a", "paper")
    assert isinstance(fig3a, Experiment)
    training = fig3a.training
    assert (training.optimizer, training.lr, training.epochs) == ("adam", 3e-4, 100)
    assert (training.schedule, training.warmup_epochs) == ("cosine", 5)
    assert fig3a.task == {
        "name": "smooth_mlp",
        "hidden": (256, 128),
        "batch_size": 256,
        "validation_fraction": 0.0,
        "squared": False,
    }
    assert fig3a.lam == pytest.approx([10 ** (-4 + k / 2) for k in range(9)])
    bloop = {k: v for k, v in fig3a.methods["bloop"].items() if v is not None}
    assert bloop == {"name": "bloop", "rescale": False, "rho": 0.01, "order": "after"}


def test_fig3a_is_the_authors_script_as_released() -> None:
    fig3a = load("fig3a", "released")
    assert isinstance(fig3a, Experiment)
    training = fig3a.training
    assert (training.optimizer, training.lr, training.epochs) == ("adam", 3e-4, 25)
    assert (training.schedule, training.warmup_epochs) == ("constant", 0)
    assert (fig3a.task["squared"], fig3a.task["validation_fraction"]) == (True, 0.0)
    assert fig3a.methods["bloop"]["order"] == "before"


class TestPlan:
    def test_has_every_cell_once(self) -> None:
        runs = plan(conditioning(seeds=2, lam=[0.1, 1.0]))
        assert len({run.id for run in runs}) == len(runs) == 2 * (5 * 2 + 1)

    def test_a_method_without_a_trade_off_is_run_at_one_lambda(self) -> None:
        runs = plan(conditioning(seeds=2, lam=[0.0, 0.1], methods={"nash_mtl": {}, "gradvac": {}}))
        for label in ("mgda", "nash_mtl"):
            assert [(r.seed, r.lam) for r in runs if r.label == label] == [(0, 1.0), (1, 1.0)]
        for label in ("sum", "gradvac"):
            assert [r.lam for r in runs if r.label == label] == [0.0, 0.1, 0.0, 0.1]

    def test_a_method_without_a_trade_off_has_no_lambda_to_rescale_by(self) -> None:
        with pytest.raises(UserError, match="methods: agem: agem has no λ to rescale by: leave rescale out"):
            conditioning(methods={"agem": {"rescale": True}})

    def test_ids_are_hashes_of_the_settings_alone(self) -> None:
        (run, *_), (again, *_) = plan(conditioning()), plan(conditioning())
        assert run.id == again.id
        assert run.model_copy(update={"label": "other"}).id == run.id
        for change in (
            {"lam": 0.5},
            {"seed": 3},
            {"scale": "paper"},
            {"method": {"name": "sum", "rescale": True}},
        ):
            assert run.model_copy(update=change).id != run.id

    def test_a_learning_rate_axis_adds_the_runs_that_tune_it(self) -> None:
        runs = plan(conditioning(axes={"training.lr": [0.1, 0.2]}, lam=[0.1]))
        assert {(r.label, r.training.lr) for r in runs if r.lam == 0} == {("sum", 0.1), ("sum", 0.2)}
        assert len(runs) == 6 * 2 + 2
        assert {r.lam for r in runs if r.label == "mgda"} == {1.0}
        assert {r.label for r in runs} == set(conditioning().methods)

    def test_an_axis_of_a_method_varies_the_methods_that_have_it(self) -> None:
        runs = plan(conditioning(axes={"method.rho": [0.1, 0.9]}, lam=[0.1]))
        assert sorted(r.label for r in runs if r.method["name"] == "bloop") == [
            "bloop (rho=0.1)",
            "bloop (rho=0.9)",
        ]
        assert [r.label for r in runs if r.method["name"] == "sum"] == ["sum"]

    def test_a_bad_value_of_a_task_on_an_axis_is_refused(self) -> None:
        for value, message in ((0, "batch_size must be at least 1"), (1.5, "batch_size must be a whole")):
            made = load("quadratic", "smoke", {"axes": {"task.batch_size": [8, value]}})
            with pytest.raises(UserError, match=f"axes: {message}"):
                plan(made)

    def test_a_bad_value_on_an_axis_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"axes: rho must lie in \(0, 1\], got 2"):
            plan(conditioning(axes={"method.rho": [0.1, 2.0]}))
        with pytest.raises(UserError, match="axes: .*lr"):
            plan(conditioning(axes={"training.lr": [-1.0]}))


OWN = {
    "sum_step_of_bloop": {"name": "sum", "training": {"step_of": {"name": "bloop", "rho": 0.1}}},
    "bloop_adam": {"name": "bloop", "training": {"optimizer": "adam", "second_moment": "gradient"}},
}


class TestOwnTraining:
    """Methods of one experiment that differ in how a direction becomes a step."""

    def test_it_is_the_runs_and_leaves_the_ids_of_others(self) -> None:
        plain = {run.id for run in plan(conditioning())}
        runs = plan(conditioning(methods=OWN))
        assert plain < {run.id for run in runs}
        by_label = {run.label: run for run in runs}
        matched, summed = by_label["sum_step_of_bloop"], by_label["sum"]
        assert matched.id != summed.id
        assert matched.method == summed.method
        assert matched.training.step_of == methods.create("bloop", rho=0.1).settings
        assert matched.training.model_copy(update={"step_of": None}) == summed.training
        adam = by_label["bloop_adam"].training
        assert (adam.optimizer, adam.second_moment, adam.lr) == ("adam", "gradient", summed.training.lr)

    def test_a_reference_of_the_experiment_is_filled_in_like_one_of_a_method(self) -> None:
        (run, *_) = plan(conditioning(training={"step_of": {"name": "bloop", "rho": 0.1}}))
        (own, *_) = [r for r in plan(conditioning(methods=OWN)) if r.label == "sum_step_of_bloop"]
        assert run.training == own.training
        assert run.id == own.id

    def test_records_belong_by_it(self, tmp_path) -> None:
        loaded = conditioning(methods=OWN, training={"epochs": 2, "evaluations": 1})
        assert Experiment.model_validate(loaded.model_dump(mode="json"), context=MANIFEST) == loaded
        records = [record(run, 1.0, 1.0) for run in plan(loaded)]
        own, left_out = sort_out(records, loaded, "0" * 16)
        assert (len(own), left_out) == (len(records), [])
        plain = {**loaded.methods, "sum_step_of_bloop": loaded.methods["sum"]}
        _, left_out = sort_out(records, loaded.model_copy(update={"methods": plain}), "0" * 16)
        assert {r.record.run.label for r in left_out} == {"sum_step_of_bloop"}
        assert all(r.reason.startswith("training.step_of is {") for r in left_out)

    def test_methods_named_with_it_are_in_the_remark_of_the_command(self) -> None:
        loaded = conditioning(methods=OWN)
        assert "with the settings of sum_step_of_bloop, bloop_adam" in sweep_command(loaded, {"embedded"})
        changed = conditioning(methods={"sum": {"training": {"optimizer": "adam"}}})
        assert "with the settings of sum in" in sweep_command(changed, {"embedded"})

    def test_the_learning_rate_is_tuned_by_the_sum_as_it_is_trained_by_all(self) -> None:
        first = {"sum": {"training": {"optimizer": "adam"}}, "plain_sum": {"name": "sum"}}
        runs = plan(conditioning(methods=first, axes={"training.lr": [0.1, 0.2]}, lam=[0.1]))
        assert {run.label for run in runs if run.lam == 0} == {"plain_sum"}

    def test_a_setting_may_follow_an_axis(self) -> None:
        rates, rhos = [0.1, 0.2], [0.01, 0.5]
        own = {"following": {"name": "bloop", "rho": {"training.lr": rhos}}}
        loaded = conditioning(methods=own, axes={"training.lr": rates}, lam=[0.1])
        runs = [run for run in plan(loaded) if run.method_label == "following"]
        assert {(run.training.lr, run.method["rho"]) for run in runs} == set(zip(rates, rhos, strict=True))
        again = Experiment.model_validate(loaded.model_dump(mode="json"), context=MANIFEST)
        assert again == loaded
        kept, left_out = sort_out([record(run, 1.0, 1.0) for run in runs], again, "0" * 16)
        assert (len(once(kept)), left_out) == (2, [])

    @pytest.mark.parametrize(
        ("rho", "message"),
        [
            ({"training.lr": [0.1]}, "following: rho: training.lr must be an axis of 1 values"),
            ({"training.lr": [0.1, 2.0]}, "following: rho must lie in"),
            ({"training.lr": 0.1}, "following: rho: expected a value, or {"),
        ],
    )
    def test_a_setting_that_follows_no_axis_is_refused(self, rho, message) -> None:
        own = {"following": {"name": "bloop", "rho": rho}}
        with pytest.raises(UserError, match=message):
            conditioning(methods=own, axes={"training.lr": [0.1, 0.2]})

    def test_what_is_an_axis_is_no_methods_own(self) -> None:
        own = {"bloop_adam": {"name": "bloop", "training": {"momentum": 0.5}}}
        with pytest.raises(UserError, match="methods: bloop_adam: training: momentum is an axis"):
            conditioning(methods=own, axes={"training.momentum": [0.0, 0.9]})

    def test_a_reference_for_positive_losses_is_refused_where_the_task_has_others(self) -> None:
        with pytest.raises(UserError, match="methods: matched is defined for positive losses only"):
            load(
                "fig3a",
                "smoke",
                {"methods": {"matched": {"name": "sum", "training": {"step_of": {"name": "dwa"}}}}},
            )

    def test_the_code_of_a_reference_counts(self) -> None:
        by_label = {run.label: run for run in plan(conditioning(methods=OWN))}
        assert code_of(by_label["sum_step_of_bloop"]) != code_of(by_label["sum"])
        assert by_label["bloop_adam"].methods == {"bloop", "sum"}


def test_a_box_is_that_of_every_split_but_those_with_their_own() -> None:
    own = {key: {**BOX[key], "aux": (3.0, 4.0)} for key in ("tighter", "wider")}
    made = {**own, "aux": (3.0, 4.0), "main": BOX["main"]}
    box = load("conditioning", "smoke", {"box": {**BOX, "train": made}}).box
    assert (box.of("train").aux, box.of("test").aux) == ((3.0, 4.0), (1.0, 9.0))
    assert list(box.of("test").alternatives) == ["tighter box", "wider box"]


def test_the_box_of_a_scale_replaces_that_of_the_file(tmp_path) -> None:
    text = experiment.available()["conditioning"].read_text()
    file = tmp_path / "mine.toml"
    file.write_text(f"{text}\n[scales.other.box]\naux = [0.0, 1.0]\n")
    with pytest.raises(UserError, match="missing: box.main"):
        load(str(file), "other")
