"""Rosenbrock's valley, the delayed exclusive or and the products of pixels: what they compute.

They are run for some steps at most; what the criteria see is made by hand.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from verification.document import compose
from verification.problems import digits
from verification.report import plots, violations
from verification.reproductions import (
    REPRODUCTIONS,
    catalogue,
    chosen,
    delayed_xor,
    logistic,
    rosenbrock,
    rosenbrock_many,
)
from verification.reproductions.reproduction import Part, Reproduction, clopper_pearson
from verification.wide_numbers import enable_x64


def of_valley():
    """Parts of the function of two variables as they should be."""
    parts = {}
    for label, method in rosenbrock.METHODS.items():
        count = 100.0 if method.fits else {"Adam": 600.0}.get(label, 8000.0)
        curves = {
            label: np.geomspace(4.0, 1e-20, rosenbrock.STEPS // rosenbrock.STRIDE + 1),
            f"{label}, {rosenbrock.REACHED}": np.array([count]),
        }
        facts = {"step": 0.5, "step of the preconditioner": 0.1, "limit": method.steps}
        facts |= {"fastest": count, "slowest": count + 1e6, "path": [[-1.0, 1.0], [1.0, 1.0]]}
        parts[label] = Part(curves, facts)
    return parts


def of_hundred():
    """Parts of the function of a hundred variables as the author's code has them."""
    parts = {}
    for label in rosenbrock_many.METHODS:
        last, count = rosenbrock_many.AUTHOR.get(label, (1e-7, 1300))
        curves = {
            label: np.geomspace(50.0, last, 201),
            f"{label}, {rosenbrock_many.REACHED}": np.array([float(count)]),
            f"{label}, largest end": np.array([last]),
        }
        parts[label] = Part(curves, {"step": 1.0, "step of Q": 0.5})
    return parts


def of_ranks():
    """Parts of the delayed exclusive or, of which higher ranks solve more."""
    parts = {}
    for count, rank in zip((0, 2, 4, 7, 8), delayed_xor.RANKS, strict=True):
        steps = np.full(8, float(delayed_xor.NEVER))
        steps[:count] = 5000.0 - 100 * rank
        label = delayed_xor.label_of(rank)
        curve = np.geomspace(0.7, 0.05, delayed_xor.LIMIT // delayed_xor.STRIDE)
        parts[label] = Part({label: curve, delayed_xor.taken(rank): steps}, {})
    return parts


def of_products():
    """Parts of the logistic regression as the paper orders them."""
    parts = {}
    for place, label in enumerate(logistic.REPRODUCTION.parts):
        curves = {
            label: np.geomspace(2.3, 1e-4, logistic.FULL.passes + 1),
            f"{label}, {logistic.LOSS}": np.full(10, 1e-4 * (1 + place)),
            f"{label}, {logistic.ERROR}": np.full(10, 1.0 + place),
        }
        parts[label] = Part(curves, {"step": 0.1, "seconds": 1.0, "best": 1.0})
    return parts


MADE = {
    rosenbrock.REPRODUCTION.title: (of_valley, rosenbrock.CRITERIA),
    rosenbrock_many.REPRODUCTION.title: (of_hundred, rosenbrock_many.CRITERIA),
    delayed_xor.REPRODUCTION.title: (of_ranks, delayed_xor.CRITERIA),
    logistic.REPRODUCTION.title: (of_products, logistic.CRITERIA),
}


@pytest.mark.parametrize("title", MADE)
def test_parts_as_they_should_be_pass_and_fit_the_report(title):
    (one,) = chosen(title)
    parts = MADE[title][0]()
    assert list(parts) == list(one.parts)
    entry = one.entry(parts)
    assert entry["title"] == title
    assert entry["passed"] is True
    assert len(entry["series"]) <= plots.COLOURS
    assert all(len(values) <= plots.MAX_POINTS for values in entry["series"].values())
    assert violations(compose([], [], 0, "command", [entry])) == []


@pytest.mark.parametrize("title", MADE)
def test_every_criterion_can_fail(title):
    (one,) = chosen(title)
    made, criteria = MADE[title]
    statements = {criterion.statement for criterion in criteria}

    def failed(label, name, wrong):
        parts = made()
        parts[label].curves[name] = wrong(parts[label].curves[name])
        rows = one.entry(parts)["rows"]
        return {row["criterion"] for row in rows if row["verdict"] == "FAIL"}

    def bump(values):
        return np.where(np.arange(len(values)) == len(values) // 9, 1e6, values)

    seen = set()
    for label in one.parts:
        for name in made()[label].curves:
            assert failed(label, name, lambda values: values * math.nan) == statements
            for wrong in (lambda v: v * 1e-12, lambda v: v * 1e12, bump):
                seen |= failed(label, name, wrong)
    assert seen == statements


def test_titles_are_found_by_a_part_of_them():
    assert len({one.title for one in REPRODUCTIONS}) == len(REPRODUCTIONS)
    assert [one.title for one in chosen("PIXELS")] == [logistic.REPRODUCTION.title]
    assert chosen() == REPRODUCTIONS
    assert chosen("no such title") == ()


class Pool:
    """Takes the place of processes, and runs what it is given at once."""

    order = ()

    def __init__(self, *given):
        del given

    def __enter__(self):
        return self

    def __exit__(self, *given):
        del given

    def submit(self, function, title, label):
        self.order.append(label)
        found = function(title, label)
        return type("Future", (), {"result": lambda self: found})()


def test_long_parts_are_run_first_and_seconds_added(monkeypatch):
    made = Reproduction("some title", {"short": 1.0, "long": 2.0}, str.upper, dict)
    monkeypatch.setattr(catalogue, "REPRODUCTIONS", (made, *REPRODUCTIONS))
    monkeypatch.setattr(catalogue, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(Pool, "order", [])
    monkeypatch.setattr(catalogue.time, "perf_counter", iter((1.0, 3.0, 10.0, 13.0)).__next__)
    (entry,) = catalogue.reproduce(1, "some title")
    assert Pool.order == ["long", "short"]
    assert entry == {"short": "SHORT", "long": "LONG", "seconds": 5.0}


def test_the_interval_is_clopper_and_pearsons():
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    assert clopper_pearson(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_the_valley_and_its_contours():
    point = np.array([-1.0, 1.0, 0.5, 2.0])
    with enable_x64(True):
        assert float(rosenbrock.valley(jnp.asarray(point))) == pytest.approx(4 + 306.25 + 0.25)
        assert float(rosenbrock.valley(jnp.ones(100))) == 0.0
        for value in rosenbrock.LEVELS:
            for line in rosenbrock.contour(value):
                found = [float(rosenbrock.valley(jnp.array(place))) for place in line[::20]]
                assert found == pytest.approx([value] * len(found), abs=0.05 * value + 0.01)
                assert max(abs(x) for x, _ in line) <= 2


def test_a_descent_begins_at_its_start_and_goes_down():
    label = rosenbrock.XMAT
    short = rosenbrock.METHODS[label]._replace(steps=40)
    with enable_x64(True):
        points, losses = rosenbrock.descents(short, (0.5, 0.5), (0, 1))
    assert points.shape == (2, 41, 2)
    assert points[:, 0].tolist() == [[-1.0, 1.0]] * 2
    assert losses[:, 0].tolist() == [4.0, 4.0]
    assert (losses[:, -1] < 3.0).all()
    x, y = points[..., 0], points[..., 1]
    assert losses == pytest.approx(100 * (y - x**2) ** 2 + (1 - x) ** 2)
    assert not np.array_equal(points[0], points[1])


def test_iterations_are_counted_to_the_first_loss_that_is_small():
    losses = np.array([[1.0, 1e-7, 1.0], [1.0, 1e-6, math.inf], [1.0, 1.0, 1e-9]])
    assert rosenbrock.iterations(losses).tolist() == [1.0, 3.0, 2.0]
    path = np.array([[0.0, 0.0], [0.001, 0.0], [0.01, 0.0], [0.012, 0.0]])
    assert rosenbrock.thinned(path) == [[0.0, 0.0], [0.01, 0.0], [0.012, 0.0]]


def test_of_a_grid_the_step_with_the_smallest_loss_is_taken(monkeypatch):
    label = rosenbrock_many.ADAM
    method = rosenbrock_many.METHODS[label]._replace(steps=20, grid=((1e-6, 0.0), (0.1, 0.0)))
    monkeypatch.setitem(rosenbrock_many.METHODS, label, method)
    part = rosenbrock_many.measure(label)
    assert part.facts["step"] == 0.1
    assert part.curves[label][0] == pytest.approx(50.0)
    assert part.curves[label][2] < 50.0


def test_labels_say_whether_marked_signs_differ():
    length = 20
    inputs, labels = map(np.asarray, delayed_xor.batch(jax.random.key(1), length))
    signs, marks = inputs[:, 0], inputs[:, 1]
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert {1.0, -1.0} == set(labels)
    for column in range(delayed_xor.BATCH):
        (places,) = np.nonzero(marks[:, column])
        first, second = places
        assert first < 0.1 * length <= second < 0.5 * length
        differ = signs[first, column] != signs[second, column]
        assert labels[column] == (1.0 if differ else -1.0)


def test_the_network_is_the_one_of_its_formula():
    weights = {k: np.asarray(v) for k, v in delayed_xor.start(jax.random.key(0)).items()}
    assert sum(value.size for value in weights.values()) == 1021
    turned = weights["state"] @ weights["state"].T
    assert turned == pytest.approx(np.eye(delayed_xor.HIDDEN), abs=1e-5)
    inputs, labels = delayed_xor.batch(jax.random.key(1), 5)
    weights["bias"] = weights["bias"] + 0.3
    state = np.zeros((delayed_xor.BATCH, delayed_xor.HIDDEN))
    for now in np.asarray(inputs):
        state = np.tanh(now.T @ weights["input"] + state @ weights["state"] + weights["bias"])
    answers = state @ weights["output"] + weights["offset"]
    wanted = np.mean(np.log1p(np.exp(-np.asarray(labels) * answers)))
    assert float(delayed_xor.loss(weights, inputs, labels)) == pytest.approx(wanted, rel=1e-5)


def test_trials_end_with_the_chunk_in_which_all_succeed(monkeypatch):
    size = delayed_xor.Size(length=3, trials=2, limit=100, chunk=50)
    monkeypatch.setattr(delayed_xor, "LEVEL", 10.0)
    # One that compiles sooner.
    plain = optax.with_extra_args_support(optax.sgd(0.01))
    monkeypatch.setattr(delayed_xor, "optimizer", lambda rank: plain)
    losses = delayed_xor.trials(0, size)
    assert losses.shape == (50, 2)
    assert losses[0] == pytest.approx([math.log(2)] * 2, abs=0.1)
    monkeypatch.setattr(delayed_xor, "trials", lambda rank, size: losses)
    part = delayed_xor.measure("rank 0", size)
    assert part.curves["rank 0"] == pytest.approx([np.median(losses.mean(0))] * 2)
    assert part.curves[delayed_xor.taken(0)].tolist() == [1.0, 1.0]
    monkeypatch.setattr(delayed_xor, "LEVEL", 0.0)
    part = delayed_xor.measure("rank 0", size)
    assert part.curves[delayed_xor.taken(0)].tolist() == [delayed_xor.NEVER] * 2


def test_features_are_products_of_all_pairs():
    images = digits.load()[0].images[:3]
    rows = logistic.features(images)
    assert rows.shape == (3, 2081)
    pixels = images[1].ravel()
    assert rows[1, :64] == pytest.approx(pixels[0] * pixels)
    assert rows[1, 64:127] == pytest.approx(pixels[1] * pixels[1:])
    assert rows[1, -2:].tolist() == [pixels[63] ** 2, 1.0]


def test_splits_share_no_digit_and_leave_none_out():
    data = logistic.split(3)
    (rows, labels), (others, kept) = data
    assert (len(rows), len(others)) == (1437, 360)
    assert len(np.unique(np.concatenate([rows, others]), axis=0)) == 1797
    weights = jax.random.normal(jax.random.key(0), (2081, 10)) / 100
    logits = np.asarray(rows @ weights, np.float64)
    wanted, _ = digits.cross_entropy(logits, np.asarray(labels))
    assert float(logistic.loss(weights, rows, labels)) == pytest.approx(wanted, rel=1e-5)
    wrong = np.mean(np.argmax(np.asarray(others @ weights), 1) != np.asarray(kept))
    assert float(logistic.error(weights, others, kept)) == pytest.approx(100 * wrong)


def test_methods_of_the_regression_learn():
    size = logistic.Size(passes=2, splits=(0,), trial_splits=(100,))
    for label in (logistic.AS_GIVEN, logistic.SGD, logistic.LBFGS):
        part = logistic.measure(label, size)
        curve = part.curves[label]
        assert curve.shape == (3,)
        assert curve[0] == pytest.approx(math.log(10), rel=1e-5)
        assert curve[2] < curve[1] < curve[0]
        assert part.curves[f"{label}, {logistic.LOSS}"][0] == pytest.approx(curve[2])
