import json
from functools import cache

import optax
import pytest

import rollfast
from verification.conformance import Recording, Verdict, judge, verify
from verification.conformance.command import resolved
from verification.conformance.draws import key_option
from verification.conformance.gradients import stream
from verification.conformance.optax_runs import float64, record
from verification.conformance.targets import TARGETS, target

from . import planted

FALLING = {**planted.PRISM, "learning_rate": planted.falling}
OURS = {"evaluation": rollfast.schedule_free_eval_params}
OPTAX = {"evaluation": optax.contrib.schedule_free_eval_params}


@cache
def _options(name):
    with float64():
        return resolved(TARGETS[name].options)


def _held(build, name, options=None, **further):
    given = _options(name) if options is None else options
    with float64():
        transformation = build(**given)
    return verify(transformation, name, given, **further)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_ours_is_acquitted(name):
    verdict = _held(getattr(rollfast, name), name, **OURS)
    assert verdict.verdict is Verdict.EQUAL, str(verdict)
    assert verdict.departure is None
    assert verdict.forced is None
    assert verdict.worst < 1
    assert verdict.indistinguishable == ()


@pytest.mark.parametrize("problem", ["complex", "spoiled", "quadratic"])
def test_ours_is_acquitted_on_other_gradients(problem):
    verdict = _held(
        rollfast.schedule_free_adamw, "schedule_free_adamw", problem=problem, steps=10, **OURS
    )
    assert verdict.verdict is Verdict.EQUAL, str(verdict)


@pytest.mark.parametrize("name", ["prism", "schedule_free_prism", "scale_by_prism", "wsd_schedule"])
def test_our_direction_and_schedule_are_acquitted(name):
    verdict = _held(getattr(rollfast, name), name)
    assert verdict.verdict is Verdict.EQUAL, str(verdict)


def test_a_wrapper_around_another_reference_is_acquitted():
    options = {
        "base_optimizer": {"against": "prism", "learning_rate": planted.falling},
        "learning_rate": planted.falling,
    }
    transformation = rollfast.schedule_free(
        rollfast.prism(planted.falling), learning_rate=planted.falling
    )
    verdict = verify(transformation, "schedule_free", options, steps=8, **OURS)
    assert verdict.verdict is Verdict.EQUAL, str(verdict)


@pytest.mark.parametrize(
    ("transformation", "against", "options", "evaluation"),
    [
        (planted.adamw(), "schedule_free_adamw", planted.ADAMW, planted.evaluation),
        (planted.prism(), "prism", FALLING, None),
    ],
    ids=["adamw", "prism"],
)
def test_a_stranger_that_is_right_is_acquitted(transformation, against, options, evaluation):
    verdict = verify(transformation, against, options, evaluation=evaluation, steps=12)
    assert verdict.verdict is Verdict.EQUAL, str(verdict)


def test_drawn_numbers_are_repeated_inside_of_schedule_free():
    row = target("schedule_free_kron")
    options = _options("schedule_free_kron")
    transformation = rollfast.schedule_free_kron(**options, **key_option(row))
    verdict = verify(transformation, row.name, options, draws="ours", steps=8, **OURS)
    assert verdict.verdict is Verdict.EQUAL, str(verdict)


def test_drawn_numbers_are_repeated_or_nothing_is_said():
    row = target("dense_newton")
    options = {**_options("dense_newton"), "learning_rate": 0.05}
    transformation = rollfast.dense_newton(**options, **key_option(row))
    repeated = verify(transformation, "dense_newton", options, draws="ours", steps=8)
    assert repeated.verdict is Verdict.EQUAL, str(repeated)
    unknown = verify(transformation, "dense_newton", options, steps=8)
    assert unknown.verdict is Verdict.UNDECIDED
    assert "cannot be decided in lockstep" in unknown.reason
    assert not unknown.conforms
    backwards = optax.chain(transformation, optax.scale(-1.0))
    convicted = verify(backwards, "dense_newton", options, steps=8)
    assert convicted.verdict is Verdict.DIFFERENT


def test_schedule_free_of_optax_is_named_by_its_conventions():
    options = {**_options("schedule_free_adamw")}
    del options["averaging_power"]
    build = optax.contrib.schedule_free_adamw
    verdict = _held(build, "schedule_free_adamw", options, steps=12, **OPTAX)
    assert verdict.verdict is Verdict.CONVENTION
    assert verdict.conventions == ("weight index shift", "warmup from zero")
    assert verdict.departure.step == 1
    assert str(verdict).startswith("EQUAL UP TO `weight index shift` + `warmup from zero`")
    del options["warmup_steps"]
    equal = _held(build, "schedule_free_adamw", options, **OPTAX)
    assert equal.verdict is Verdict.EQUAL
    assert "weight index shift" in equal.indistinguishable


def test_muon_of_optax_is_named_by_its_conventions():
    options = {**_options("muon"), "weight_decay": 0.1}
    transformation = optax.contrib.muon(**options)
    verdict = verify(transformation, "muon", {**options, "eps": 1e-8}, steps=8)
    assert verdict.verdict is Verdict.CONVENTION, str(verdict)
    assert set(verdict.conventions) == {
        "corrected momentum",
        "scaled by sqrt(max(1, columns / rows))",
        "decay of matrices alone",
        "Adam looks ahead",
    }


def test_a_mistake_that_is_known_explains_and_does_not_excuse():
    wrong = {"step": lambda z, y, x, d, rate: z + rate * (d + planted.DECAY * y)}
    verdict = verify(planted.adamw(**wrong), "schedule_free_adamw", planted.ADAMW, steps=8)
    assert verdict.verdict is Verdict.DIFFERENT
    assert verdict.conventions == ("opposite sign",)
    assert "explained by `opposite sign`" in str(verdict)


def test_what_cannot_tell_is_mistrusted():
    start, gradients = stream("real", 8)
    zeros = [{leaf: 0 * value for leaf, value in one.items()} for one in gradients]
    still = {"learning_rate": 0.0}
    few = record(rollfast.schedule_free_sgd(0.1), start, gradients[:2])
    for recording, options, reason in (
        (few, {"learning_rate": 0.1}, "3 at least"),
        (record(rollfast.schedule_free_sgd(0.1), start, zeros), {"learning_rate": 0.1}, "zero"),
        (record(rollfast.schedule_free_sgd(0.0), start, gradients), still, "hardly moves"),
    ):
        verdict = judge(recording, "schedule_free_sgd", options)
        assert verdict.verdict is Verdict.UNDECIDED
        assert reason in verdict.reason
        assert str(verdict).startswith("MISTRUSTED")


def test_a_recording_is_judged_as_it_was_saved(tmp_path):
    start, gradients = stream("real", 6)
    recording = record(planted.adamw(), start, gradients, planted.evaluation)
    recording.save(tmp_path / "recording.npz")
    read = Recording.load(tmp_path / "recording.npz")
    verdict = judge(read, "schedule_free.methods.schedule_free_adamw", planted.ADAMW)
    assert verdict.verdict is Verdict.EQUAL
    assert json.loads(json.dumps(verdict.as_dict(), allow_nan=False))["verdict"] == "equal"


def test_errors_say_what_is_allowed():
    with pytest.raises(ValueError, match="against='muoon' is not allowed; .*'muon'"):
        verify(planted.adamw(), "muoon")
    with pytest.raises(ValueError, match="problem is 'reel'; it must be one of real, complex"):
        stream("reel", 3)
    with pytest.raises(ValueError, match="draws='mine' is not allowed; .*'ours'"):
        verify(rollfast.xmat(0.1), "xmat", {"learning_rate": 0.1}, draws="mine")
    with pytest.raises(ValueError, match="draws nothing"):
        verify(planted.adamw(), "schedule_free_adamw", planted.ADAMW, draws="ours")
    with pytest.raises(TypeError, match="no_such"):
        verify(planted.adamw(), "schedule_free_adamw", {"no_such": 1})
    start, gradients = stream("real", 3)
    with pytest.raises(ValueError, match="parameters has 1 entries for 3 gradients"):
        Recording(parameters=[start], gradients=gradients)
