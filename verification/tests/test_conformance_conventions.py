import pytest

from verification.conformance import Recording, Verdict, judge
from verification.conformance.convention import Convention
from verification.conformance.gradients import stream
from verification.conformance.reference_run import run
from verification.conformance.targets import TARGETS
from verification.conformance.trial import Trial
from verification.conformance.variants import factory, options_under

from .planted import ADAMW, falling

OPTIONS = {
    "schedule_free_sgd": {name: ADAMW[name] for name in ADAMW if name not in ("b2", "eps")},
    "schedule_free_adamw": ADAMW,
    "schedule_free": {
        "base_optimizer": "sgd",
        "learning_rate": falling,
        "averaging_power": 0.5,
    },
    "scale_by_prism": {"b1": 0.9, "gamma": 0.7},
    "prism": {"learning_rate": falling, "b1": 0.9, "gamma": 0.7, "adam_eps": 1e-6},
    "kron": {"learning_rate": falling, "weight_decay": 0.1},
    "xmat": {"learning_rate": falling, "weight_decay": 0.1, "grad_clip_max_amps": 0.1},
    "schedule_free_kron": {
        "learning_rate": 0.05,
        "total_steps": 5,
        "warmup_fraction": 0.4,
        "decay_fraction": 0.4,
        "weight_decay": 0.1,
    },
}
# The directions of PRISM and Kron are within their limits here; Schedule-Free Kron has no power.
IDLE = {name: {"no limit on the direction"} for name in ("prism", "kron", "schedule_free_kron")}
IDLE["schedule_free_kron"] |= {"power index shift"}


def _following(name, convention, options, steps):
    """Return a recording of the reference under a convention."""
    row = TARGETS[name]
    start, gradients = stream("real", steps)
    function = factory(row.name, row.modules, (convention,))
    optimizer = row.optimizer(function, options_under(options, (convention,)))
    path = run(optimizer, start, gradients, row.evaluation)
    return Recording(
        parameters=[start, *path.parameters], gradients=gradients, evaluation=path.evaluation
    )


def _rows(name):
    """Return the rows that ask for anything."""
    start, gradients = stream("real", 3)
    still = Recording(parameters=[start] * 4, gradients=gradients)
    trial = Trial(still, name, OPTIONS[name])
    return [row for row in TARGETS[name].conventions if trial.applies(row)]


@pytest.mark.parametrize("name", TARGETS)
def test_every_row_fits_the_text_of_the_reference(name):
    row = TARGETS[name]
    for convention in row.conventions:
        assert factory(row.name, row.modules, (convention,)) is not None, convention.name


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_every_row_is_named_where_it_is_followed(name):
    for convention in _rows(name):
        options = OPTIONS[name]
        verdict = judge(_following(name, convention, options, 4), name, options)
        wanted = Verdict.CONVENTION if convention.source else Verdict.DIFFERENT
        assert (verdict.verdict, verdict.conventions) == (wanted, (convention.name,)), str(verdict)


@pytest.mark.parametrize(
    "name", ["scale_by_prism", "prism", "schedule_free", "kron", "xmat", "schedule_free_kron"]
)
def test_every_row_moves_what_is_compared(name):
    """A row that moves nothing would never be found."""
    options = OPTIONS[name]
    recording = _following(name, Convention(name="none", sentence=""), options, 5)
    # The seed of these numbers is that of the function's default.
    trial = Trial(recording, name, options, {"seed": 0} if TARGETS[name].seeded else None)
    assert trial.leaves_near(()) == trial.leaves
    still = {row.name for row in _rows(name) if trial.leaves_near((row,)) == trial.leaves}
    assert still == IDLE.get(name, set())
