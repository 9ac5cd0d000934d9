"""Wrong versions of production are loaded in its place, tried, and put away again."""

import sys

import pytest

from verification.cases import all_checks
from verification.conviction import by_relevance, convict, edited
from verification.equivalence import Equivalence
from verification.faults import CATALOGUE
from verification.mutants import replaced, source_of
from verification.registry import production
from verification.results import Verdict

WEIGHT = "schedule_free.weighting"


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: f"{fault.target}: {fault.name}")
def test_the_text_of_every_fault_stands_in_its_module_once_and_compiles(fault):
    source = edited(fault.edited, fault.old, fault.new)
    compile(source, fault.edited, "exec")
    assert source != source_of(fault.edited)


def test_every_name_of_a_method_has_a_fault():
    from verification.registry import reference_names

    assert set(reference_names()) <= {fault.target for fault in CATALOGUE}


def test_names_of_faults_are_unique():
    keys = [(fault.target, fault.name) for fault in CATALOGUE]
    assert len(keys) == len(set(keys))


def test_a_module_is_replaced_for_all_that_import_it_and_restored():
    before = production(f"{WEIGHT}.averaging_weight")
    modules = set(sys.modules)
    wrong = edited(WEIGHT, '"schedulet": 1', '"schedulet": 7')
    with replaced(WEIGHT, wrong):
        assert float(production(f"{WEIGHT}.averaging_weight")(2.0, 0, "schedulet")) == 128.0
        wrapper = sys.modules["rollfast.schedule_free.weighting"]
        assert wrapper.WEIGHTINGS["schedulet"] == 7
    assert production(f"{WEIGHT}.averaging_weight") is before
    assert float(before(2.0, 0, "schedulet")) == 2.0
    assert {name for name in sys.modules if name.startswith("rollfast")} <= modules


def test_an_unchanged_module_is_not_convicted_and_a_wrong_one_is():
    checks = by_relevance(all_checks(), f"{WEIGHT}.averaging_coefficient")[:1]
    assert not convict(WEIGHT, source_of(WEIGHT), checks).caught
    wrong = edited(WEIGHT, "jnp.where(positive, weight_sum, 1), 0)", "weight_sum + 1, 0)")
    found = convict(WEIGHT, wrong, checks)
    assert found.caught
    assert found.by == f"{WEIGHT}.averaging_coefficient"


def test_a_version_that_raises_is_convicted():
    checks = by_relevance(all_checks(), f"{WEIGHT}.averaging_weight")[:1]
    found = convict(WEIGHT, "raise RuntimeError", checks)
    assert found.caught
    assert "RuntimeError" in found.by


def test_an_option_that_is_not_handed_on_is_noticed():
    module, name = "schedule_free.methods", "schedule_free.methods.schedule_free_kron"
    checks = [check for check in all_checks() if check.name == name and "handed" in check.title]
    wrong = edited(module, "        cache_preconditioner=cache_preconditioner,\n", "")
    assert "handed to kron" in convict(module, wrong, checks).by


def test_a_text_that_does_not_stand_once_is_refused():
    with pytest.raises(ValueError, match="0 times"):
        edited(WEIGHT, "no such text", "")


def test_checks_of_the_target_come_first():
    ordered = by_relevance(all_checks(), "prism.prism.prism")
    assert ordered[0].name == "prism.prism.prism"
    assert not ordered[-1].name.startswith("prism")


def test_an_equivalence_of_two_zeros_is_mistrusted_and_of_unequal_sides_fails():
    def made(left, right):
        return Equivalence(
            name="made.up", label="a = b", left=left, right=right, budget=1.0, reason="test"
        ).run("float64", 0)[0]

    import numpy as np

    assert made(lambda r: [np.zeros(2)], lambda r: [np.zeros(2)]).verdict is Verdict.MISTRUSTED
    assert made(lambda r: [np.ones(2)], lambda r: [np.ones(2) * 2]).verdict is Verdict.FAIL
    assert made(lambda r: [np.ones(2)], lambda r: np.ones(2)).verdict is Verdict.FAIL
    assert made(lambda r: [r.normal(size=2)], lambda r: [r.normal(size=2)]).verdict is Verdict.PASS
