"""Claims as they are written in experiments."""

import pytest

from scalpel_bench.benchmarks.experiments.claims import Better, Equal
from scalpel_bench.benchmarks.experiments.loading import ADAPTER, load
from scalpel_bench.benchmarks.experiments.schema import MANIFEST
from scalpel_bench.benchmarks.messages.errors import UserError

STATED = {"id": "c", "text": "t", "paper": "claim 1"}
BETTER = {**STATED, "kind": "better", "method": "bloop", "than": ["sum"]}
EQUAL = {**STATED, "kind": "equal", "methods": ["pcgrad"], "than": "sum"}
APART = {**STATED, "kind": "apart", "method": "bloop", "than": ["sum", "pcgrad"]}

BAD = {
    "unknown kind": ({**BETTER, "kind": "beter"}, "claims.0.kind: unknown kind 'beter': did you mean better"),
    "unknown key": ({**BETTER, "bound": 1}, "claims.0.bound: unknown key"),
    "no method": (
        {k: v for k, v in BETTER.items() if k != "method"},
        "missing: claims.0.method",
    ),
    "unknown method": ({**BETTER, "than": ["blop"]}, "claims: c: unknown method 'blop': did you mean bloop"),
    "unknown split": ({**BETTER, "split": "dev"}, "claims.0.split: .*got 'dev'"),
    "unknown measure": (
        {**BETTER, "of": ["accuracy"]},
        "claims: c: unknown metric 'accuracy'; known: front_ratio, ",
    ),
    "margin of 1": ({**BETTER, "margin": 1.0}, "claims.0.margin: .*less than 1"),
    "limit below margin": ({**BETTER, "margin": 0.2, "limit": 0.1}, "limit 0.1 must be more than margin 0.2"),
    "equal without margin": ({**EQUAL, "margin": 0}, "claims.0.margin: .*greater than 0"),
    "equal within too much": (
        {**EQUAL, "margin": 0.05},
        "claims.0.margin: .*less than or equal to 0.02",
    ),
    "equal to nothing": ({**EQUAL, "methods": []}, "claims.0.methods: .*at least 1"),
    "apart from one": ({**APART, "than": ["sum"]}, "claims.0.than: .*at least 2"),
    "t beyond 1": ({**BETTER, "kind": "lower_mixed_loss", "t": [1.5]}, "t.0: .*less than or equal to 1"),
    "cost below 1": (
        {**STATED, "kind": "cost", "method": "bloop", "on": "MLP", "most": 0.9},
        "claims.0.most: .*greater than 1",
    ),
    "id with spaces": ({**BETTER, "id": "a b"}, "claims.0.id: .*pattern"),
    "no table": ("better", "claims.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_claims_are_refused_in_one_line(case: str) -> None:
    claim, message = BAD[case]
    with pytest.raises(UserError, match=f"conditioning.toml: .*{message}") as caught:
        load("conditioning", "smoke", {"claims": [claim]})
    assert "\n" not in str(caught.value)


def test_ids_are_unique() -> None:
    with pytest.raises(UserError, match="claims: two have the id 'c'"):
        load("conditioning", "smoke", {"claims": [BETTER, EQUAL]})


def test_one_claim_of_an_experiment_is_primary() -> None:
    two = [{**BETTER, "primary": True}, {**EQUAL, "id": "d", "primary": True}]
    with pytest.raises(UserError, match="claims: one may be primary, not c and d"):
        load("conditioning", "smoke", {"claims": two})
    for name in ("fig3a", "fig3b", "fig4", "fig5a", "fig5b", "fig7", "fig10"):
        assert sum(claim.primary for claim in load(name, "paper").claims) == 1


def test_claims_fit_their_kind_of_experiment() -> None:
    with pytest.raises(UserError, match="fig2.toml: claims.0.kind: unknown kind 'better'; known: within"):
        load("fig2", "smoke", {"claims": [BETTER]})
    with pytest.raises(UserError, match="give low, high or both"):
        load("fig2", "smoke", {"claims": [{**STATED, "kind": "within", "quantity": "q"}]})


def test_labels_of_a_varied_setting_are_methods_too() -> None:
    assert load("conditioning", "smoke", {"claims": [{**BETTER, "method": "bloop (rho=0.001)"}]}).claims


def test_bounds() -> None:
    assert Better(**BETTER).bounds == (0, 1)
    assert Better(**{**BETTER, "margin": 0.05, "limit": 0.2}).bounds == (0.8, 0.95)
    low, high = Equal(**EQUAL).bounds
    assert low * high == pytest.approx(1)


def test_a_manifest_keeps_claims_and_may_have_none() -> None:
    written = load("fig3a", "smoke").model_dump(mode="json")
    assert ADAPTER.validate_python(written, context=MANIFEST).claims == load("fig3a", "smoke").claims
    del written["claims"]
    assert ADAPTER.validate_python(written, context=MANIFEST).claims == ()


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 9])
def test_the_papers_claims_are_stated(number: int) -> None:
    stated = {
        claim.paper.partition(",")[0]
        for name in ("fig3a", "fig3b", "fig4", "fig10")
        for claim in load(name, "paper").claims
    }
    assert f"claim {number}" in stated
