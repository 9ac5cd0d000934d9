"""The comparison with peers convicts a wrong one, clears an equal one, and finds a known bug."""

from functools import partial

import jax
import numpy as np
import pytest

from reference.schedule_free.methods import schedule_free_sgd
from verification.peers import __main__ as program
from verification.peers import optax_contrib, schedulefree_torch
from verification.peers.checks import LIMIT, Check, Peer, run_check
from verification.peers.parties import ReferenceRunner, both, float64, reference
from verification.peers.table import difference_line, rows
from verification.peers.trajectories import Sequences, compare, relative_difference, trajectory
from verification.problems import problem

STEPS = 30
SGD = {**schedulefree_torch.SGD, "averaging_power": 1.5}
ADAMW = {**schedulefree_torch.ADAMW, "averaging_power": 1.5}
METHODS = {"schedule_free_sgd": SGD, "schedule_free_adamw": ADAMW}
PART_IN_A_MILLION = 1 + 1e-6
WRONG = [
    ("schedule_free_sgd", "weight_decay", SGD["weight_decay"] * PART_IN_A_MILLION),
    ("schedule_free_sgd", "averaging_power", SGD["averaging_power"] * PART_IN_A_MILLION),
    ("schedule_free_sgd", "b1", SGD["b1"] * PART_IN_A_MILLION),
    ("schedule_free_sgd", "warmup_steps", SGD["warmup_steps"] + 1),
    ("schedule_free_sgd", "weighting_mode", "schedulet"),
    ("schedule_free_adamw", "weight_decay", ADAMW["weight_decay"] * PART_IN_A_MILLION),
    ("schedule_free_adamw", "averaging_power", ADAMW["averaging_power"] * PART_IN_A_MILLION),
    ("schedule_free_adamw", "b2", ADAMW["b2"] * PART_IN_A_MILLION),
    ("schedule_free_adamw", "eps", ADAMW["eps"] * 1.01),
    ("schedule_free_adamw", "bias_correction", "learning_rate"),
]


class Corrupted(ReferenceRunner):
    """Adds to one entry of one sequence, once, where the others cannot see it."""

    def __init__(self, name, step, error, parameters):
        super().__init__(schedule_free_sgd(**SGD), parameters)
        self.name, self.remaining, self.error = name, step, error

    def sequences(self):
        self.remaining -= 1
        found = super().sequences()
        if self.remaining:
            return found
        tree = dict(getattr(found, self.name))
        tree["b3"] = tree["b3"].copy()
        tree["b3"][0] += self.error * np.linalg.norm(tree["b3"])
        return found._replace(**{self.name: tree})


def digits():
    return problem("digits_mlp")


def check_of(peer, ours, **fields):
    return Check(method="some method", options="some options", peer=peer, ours=ours, **fields)


def outcomes_against_reference(peer, steps=STEPS, **fields):
    ours = {"reference": reference("schedule_free_sgd", SGD)}
    return run_check(check_of(peer, ours, **fields), digits(), steps)


@pytest.mark.parametrize("method", METHODS)
def test_an_equal_peer_is_cleared(method):
    options = METHODS[method]
    check = check_of(reference(method, options), both(method, options))
    outcomes = run_check(check, digits(), STEPS)
    assert [outcome.pair for outcome in outcomes] == [
        ("production", "reference"),
        ("production", "peer"),
        ("reference", "peer"),
    ]
    assert [outcome.verdict for outcome in outcomes] == ["agrees"] * 3
    # Production and reference are two programs, not one compared with itself.
    assert 0 < max(outcomes[0].comparison.worst) < LIMIT


@pytest.mark.parametrize(("method", "option", "value"), WRONG)
def test_a_wrong_peer_is_convicted(method, option, value):
    options = METHODS[method]
    peer = reference(method, {**options, option: value})
    check = check_of(peer, {"reference": reference(method, options)})
    (outcome,) = run_check(check, digits(), STEPS)
    assert outcome.verdict == "DIFFERS"
    assert not outcome.as_claimed
    # What LIMIT_REASON says.
    assert max(outcome.comparison.worst) > 1e-9


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [1e-11, np.nan, np.inf])
def test_each_sequence_is_compared_at_each_step(place, error):
    peer = partial(Corrupted, Sequences._fields[place], 7, error)
    (outcome,) = outcomes_against_reference(peer)
    assert outcome.verdict == "DIFFERS"
    assert outcome.comparison.first_step_over(LIMIT) == 7
    assert outcome.comparison.differences[6][place] >= 0.99e-11


def test_an_error_under_the_limit_is_cleared():
    (outcome,) = outcomes_against_reference(partial(Corrupted, "x", 7, 1e-13))
    assert outcome.verdict == "agrees"
    assert outcome.comparison.worst[2] == pytest.approx(1e-13, rel=0.01)


def test_parties_that_do_not_move_are_mistrusted():
    start = reference("schedule_free_sgd", {**SGD, "learning_rate": 1e-9})
    (outcome,) = run_check(check_of(start, {"reference": start}), digits(), STEPS)
    assert outcome.verdict == "MISTRUSTED"
    assert not outcome.as_claimed


def test_a_recorded_difference_that_is_gone_is_reported():
    (outcome,) = outcomes_against_reference(reference("schedule_free_sgd", SGD), agrees=False)
    assert outcome.verdict == "AGREES"
    assert not outcome.as_claimed


def test_a_recorded_difference_does_not_excuse_our_own():
    wrong = reference("schedule_free_sgd", {**SGD, "b1": 0.8})
    ours = {"one": reference("schedule_free_sgd", SGD), "other": wrong}
    outcomes = run_check(check_of(wrong, ours, agrees=False), digits(), STEPS)
    verdicts = {outcome.pair: outcome.verdict for outcome in outcomes}
    assert verdicts["one", "other"] == "DIFFERS"
    assert verdicts["one", "peer"] == "differs"


def test_gradients_are_taken_at_the_own_y():
    seen = []

    class Recording:
        """A problem that remembers where its gradients were taken."""

        initial_parameters = staticmethod(digits().initial_parameters)

        @staticmethod
        def gradients(parameters, step):
            seen.append((parameters, step))
            return digits().gradients(parameters, step)

    points = list(trajectory(Recording, reference("schedule_free_sgd", SGD), 5))
    assert [step for _, step in seen] == list(range(5))
    for (at, _), point in zip(seen, points[:5], strict=True):
        assert relative_difference(at, point.y) == 0
    assert relative_difference(points[5].y, points[5].x) > 1e-3


def test_trees_and_trajectories_must_fit():
    tree = {"w": np.ones(3)}
    point = Sequences(tree, tree, tree)
    with pytest.raises(ValueError, match="leaves and shapes"):
        relative_difference(tree, {"v": np.ones(3)})
    with pytest.raises(ValueError, match="leaves and shapes"):
        relative_difference({"w": np.ones((1, 3))}, tree)
    with pytest.raises(ValueError, match="2 and 3 points"):
        compare([point] * 2, [point] * 3)
    with pytest.raises(ValueError, match="two at least"):
        compare([point], [point])


def test_something_where_zero_is_expected_is_a_difference():
    assert relative_difference({"w": np.ones(3)}, {"w": np.zeros(3)}) == np.inf
    assert relative_difference({"w": np.zeros(3)}, {"w": np.zeros(3)}) == 0


def test_float64_is_only_inside():
    before = jax.config.jax_enable_x64
    with float64():
        assert jax.numpy.ones(1).dtype == np.float64
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("check", optax_contrib.checks(), ids=lambda c: f"{c.method}-{c.options}")
def test_the_warmup_of_optax_weights_iterates_one_step_late(check):
    outcomes = run_check(check, digits(), STEPS)
    assert all(outcome.as_claimed for outcome in outcomes)
    for outcome in outcomes:
        if outcome.verdict == "differs":
            assert max(outcome.comparison.worst) > 1e-3
            assert outcome.comparison.first_step_over(LIMIT) <= 2
            assert "different from step" in difference_line(outcome)


@pytest.fixture
def absent():
    return Peer("absent", ("no-such-distribution",), checks=list)


def run_program(monkeypatch, capsys, peer, *arguments):
    monkeypatch.setattr(program, "PEERS", {peer.name: peer})
    status = program.main(["--steps", str(STEPS), *arguments])
    return status, capsys.readouterr().out


def test_an_absent_peer_is_listed(monkeypatch, capsys, absent):
    assert rows(absent, [])[0][-1] == "not installed"
    status, printed = run_program(monkeypatch, capsys, absent)
    assert status == 0
    assert "not installed" in printed


def test_an_absent_peer_that_was_asked_for_fails(monkeypatch, capsys, absent):
    status, printed = run_program(monkeypatch, capsys, absent, "absent")
    assert status == 1
    assert "asked for but not installed: absent" in printed


@pytest.mark.parametrize(("b1", "status", "verdict"), [(0.85, 0, "agrees"), (0.8, 1, "DIFFERS")])
def test_the_exit_status_follows_the_claims(monkeypatch, capsys, b1, status, verdict):
    peer = reference("schedule_free_sgd", {**SGD, "b1": b1})
    check = check_of(peer, {"reference": reference("schedule_free_sgd", SGD)})
    found, printed = run_program(monkeypatch, capsys, Peer("some", ("numpy",), lambda: [check]))
    assert found == status
    assert verdict in printed


def test_an_unknown_peer_is_refused(capsys):
    with pytest.raises(SystemExit):
        program.main(["keras"])
    assert "known are schedulefree, optax.contrib" in capsys.readouterr().err
