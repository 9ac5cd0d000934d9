"""The inputs are what they claim to be: spectra, gradients, determinism, density."""

import ml_dtypes
import numpy as np
import pytest

from verification.problems import (
    PROBLEMS,
    GradientStream,
    Sample,
    digits,
    matrices,
    problem,
    round_to,
    scalars,
    tensors,
    vectors,
)
from verification.problems.matrices import KINDS, SCALES, spectrum

DIGITS = ("digits_mlp", "digits_conv", "logistic")
GENERATORS = (matrices, tensors, vectors, scalars)


def every_sample():
    return [sample for make in GENERATORS for sample in make(np.random.default_rng(0))]


def entry(value, position, change):
    """A copy of an array with one entry changed."""
    changed = np.array(value)
    changed[position] += change
    return changed


def parts(label):
    """Kind and scale of a label such as '12x8 graded 1e-20 real'."""
    _, kind, scale, _ = label.split()
    return kind, float(scale)


@pytest.mark.parametrize("cheap", [False, True])
def test_singular_values_are_those_prescribed(cheap):
    for label, value in matrices(np.random.default_rng(3), cheap=cheap):
        kind, scale = parts(label)
        if kind != "gaussian":
            measured = np.linalg.svd(value / scale, compute_uv=False)
            # Building and decomposing each err by a few eps of the largest value, which is 1.
            np.testing.assert_allclose(measured, spectrum(kind, min(value.shape)), atol=1e-12)


def test_spectra_have_their_characters():
    assert spectrum("graded", 8)[[0, -1]] == pytest.approx([1, 1e-6])
    assert np.count_nonzero(spectrum("rank-one", 8)) == 1
    assert list(spectrum("repeated", 4)) == [1, 1, 0.5, 0.5]
    assert 0 < spectrum("near-singular", 8)[-1] < 1e-9
    with pytest.raises(ValueError, match="gaussian.*graded"):
        spectrum("gaussian", 8)


def test_labels_are_unique_and_true():
    for make in GENERATORS:
        samples = list(make(np.random.default_rng(0)))
        assert len({sample.label for sample in samples}) == len(samples)
    for label, value in matrices(np.random.default_rng(0)):
        assert label.startswith("x".join(map(str, value.shape)) + " ")
        assert label.endswith("complex" if np.iscomplexobj(value) else "real")
        kind, scale = parts(label)
        assert kind in KINDS
        assert 0.1 * scale < np.linalg.norm(value) < 100 * scale


def test_samples_are_finite_and_dense():
    for label, value in every_sample():
        assert np.all(np.isfinite(value)), label
        assert np.all(value != 0), label


def test_cheap_covers_everything_in_few_compilations():
    samples = list(matrices(np.random.default_rng(0), cheap=True))
    assert {parts(sample.label) for sample in samples} == {(k, s) for k in KINDS for s in SCALES}
    assert len({(sample.value.shape, sample.value.dtype) for sample in samples}) == 3
    assert {sample.value.dtype.kind for sample in samples} == {"f", "c"}


def test_a_sample_depends_on_seed_and_label_only():
    full = dict(matrices(np.random.default_rng(5)))
    for label, value in matrices(np.random.default_rng(5), cheap=True):
        np.testing.assert_array_equal(value, full[label])
    for kind in KINDS:
        directions = [full[f"12x8 {kind} {scale:.0e} real"] / scale for scale in SCALES]
        assert not np.allclose(directions[0], directions[1])
    other = dict(matrices(np.random.default_rng(6)))
    assert not any(np.array_equal(full[label], other[label]) for label in full)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", np.float32, ml_dtypes.bfloat16], ids=repr)
def test_rounding_keeps_dtype_and_label(dtype):
    for sample in matrices(np.random.default_rng(0), complex_values=(False,)):
        rounded = round_to(sample, dtype)
        assert rounded.label == sample.label
        assert rounded.value.dtype == np.dtype(ml_dtypes.bfloat16 if "bf" in str(dtype) else "f4")
        # Half of one unit in the last place: 2^-24 and 2^-8 with hidden bits counted.
        unit = 2.0**-8 if "bf" in str(dtype) else 2.0**-24
        error = np.abs(rounded.value.astype(np.float64) - sample.value)
        assert np.max(error / np.abs(sample.value)) <= unit * (1 + 1e-9)


def test_rounding_skips_what_the_dtype_cannot_hold():
    samples = list(matrices(np.random.default_rng(0)))
    scales = {parts(s.label)[1] for s in samples if round_to(s, "float16") is not None}
    assert scales == {1.0}
    for sample in samples:
        single, brain = round_to(sample, "float32"), round_to(sample, "bfloat16")
        if np.iscomplexobj(sample.value):
            assert single.value.dtype == np.complex64
            assert brain is None
        np.testing.assert_array_equal(round_to(sample, "float64").value, sample.value)


@pytest.mark.parametrize("name", ["quadratic", "complex_quadratic", "rosenbrock"])
def test_gradients_of_formulas_match_finite_differences(name):
    chosen = problem(name, 1)
    parameters = chosen.initial_parameters()
    for leaf, gradient in chosen.gradients(parameters, 0).items():
        turns = (1.0, 1j) if np.iscomplexobj(gradient) else (1.0,)
        scale = np.max(np.abs(gradient))
        for position in np.ndindex(gradient.shape):
            for turn in turns:
                slope = central_difference(chosen.loss, parameters, leaf, position, turn)
                expected = (np.conj(turn) * gradient[position]).real
                assert abs(slope - expected) < 1e-6 * scale, (leaf, position)


def central_difference(loss, parameters, leaf, position, turn=1.0, step=1e-4):
    ends = [
        loss({**parameters, leaf: entry(parameters[leaf], position, sign * step * turn)})
        for sign in (1, -1)
    ]
    return (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("name", DIGITS)
def test_gradients_of_networks_match_finite_differences(name, monkeypatch):
    chosen = problem(name, 2)
    parameters = chosen.initial_parameters()
    whole = digits.load()[0]
    # A gradient belongs to one mini-batch and the loss to all data: make them the same data.
    few = digits.Digits(whole.images[:64], whole.labels[:64])
    monkeypatch.setattr(digits, "batch", lambda seed, step: few)
    monkeypatch.setattr(digits, "load", lambda: (few, few))
    rng = np.random.default_rng(0)
    for leaf, gradient in chosen.gradients(parameters, 0).items():
        scale = np.max(np.abs(gradient))
        for _ in range(12):
            position = tuple(rng.integers(size) for size in gradient.shape)
            slope = central_difference(chosen.loss, parameters, leaf, position)
            # Step h = 1e-4: truncation of order h^2 = 1e-8 and rounding eps/h = 2e-12, in units
            # of derivatives of order one; a wrong term would be wrong by order one.
            assert abs(slope - gradient[position]) < 1e-6 * scale, (leaf, position)


@pytest.mark.parametrize("name", DIGITS)
def test_plain_descent_learns_the_digits(name):
    chosen = problem(name, 0)
    parameters = chosen.initial_parameters()
    assert chosen.accuracy(parameters) < 0.3
    first_loss = chosen.loss(parameters)
    for gradients in GradientStream(name, 400, 0):
        for leaf, gradient in gradients.items():
            parameters[leaf] = parameters[leaf] - chosen.learning_rate * gradient
    assert chosen.accuracy(parameters) > 0.9
    assert chosen.loss(parameters) < 0.3 * first_loss


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_stay_dense(name):
    # 0.3 makes an error normwise per leaf meaningful; the digits' inputs are centred so that even
    # the weights of border pixels move, and there all entries are alive.
    floor, least = (1e-12, 0.99) if name in DIGITS else (0.0, 0.3)
    for step, gradients in enumerate(GradientStream(name, 400 if name in DIGITS else 50, 0)):
        for leaf, gradient in gradients.items():
            assert np.mean(np.abs(gradient) > floor) > least, (leaf, step)


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_reproducible(name):
    chosen, again = PROBLEMS[name](4), PROBLEMS[name](4)
    assert problem(name, 4) is problem(name, 4)
    parameters = chosen.initial_parameters()
    assert set(chosen.dimension_numbers) == set(parameters)
    for leaf, gradient in chosen.gradients(parameters, 7).items():
        np.testing.assert_array_equal(gradient, again.gradients(parameters, 7)[leaf])
        assert gradient.shape == parameters[leaf].shape
        assert gradient.dtype == parameters[leaf].dtype
    parameters[leaf][...] = 0
    assert np.any(chosen.initial_parameters()[leaf] != 0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_float64_for_narrow_parameters(name):
    chosen = problem(name)
    start = chosen.initial_parameters()
    narrow = {leaf: round_to(Sample(leaf, w), "float32").value for leaf, w in start.items()}
    wide = {leaf: value.astype(start[leaf].dtype) for leaf, value in narrow.items()}
    expected = chosen.gradients(wide, 0)
    for leaf, gradient in chosen.gradients(narrow, 0).items():
        assert gradient.dtype == start[leaf].dtype
        np.testing.assert_array_equal(gradient, expected[leaf])


@pytest.mark.parametrize("name", PROBLEMS)
def test_dimension_numbers_use_every_axis(name):
    chosen = problem(name)
    for leaf, value in chosen.initial_parameters().items():
        numbers = chosen.dimension_numbers[leaf]
        if numbers is not None:
            assert sorted(numbers[0] + numbers[1]) == list(range(value.ndim))


@pytest.mark.parametrize("name", ["quadratic", "complex_quadratic", "rosenbrock"])
def test_known_optimum_is_one(name):
    chosen = problem(name, 3)
    assert chosen.loss(chosen.optimum) == 0
    assert all(np.all(g == 0) for g in chosen.gradients(chosen.optimum, 0).values())
    assert chosen.loss(chosen.initial_parameters()) > 0.1


@pytest.mark.parametrize("name", ["quadratic", "complex_quadratic"])
def test_quadratics_have_the_promised_condition(name):
    chosen = problem(name, 0)
    for leaf, best in chosen.optimum.items():
        columns = []
        for position in np.ndindex(best.shape):
            moved = {**chosen.optimum, leaf: entry(best, position, 1.0)}
            columns.append(chosen.gradients(moved, 0)[leaf].ravel())
        curvatures = np.linalg.eigvalsh(np.stack(columns, axis=1))
        assert curvatures[-1] / curvatures[0] == pytest.approx(1e4, rel=1e-6)


def test_batches_are_a_pure_function_of_seed_and_step():
    images, labels = digits.batch(0, 5)
    digits.batch(0, 6)
    again = digits.batch(0, 5)
    np.testing.assert_array_equal(images, again.images)
    np.testing.assert_array_equal(labels, again.labels)
    for seed, step in ((0, 6), (1, 5)):
        assert not np.array_equal(images, digits.batch(seed, step).images)


def test_data_are_split_and_scaled():
    train, held_out = digits.load()
    assert (len(train.labels), len(held_out.labels)) == (1437, 360)
    assert set(train.labels) == set(held_out.labels) == set(range(10))
    assert (train.images.min(), train.images.max()) == (0, 1)


def test_stream_is_shared_and_protected():
    stream = GradientStream("digits_mlp", 400, 0)
    assert len(stream) == len(list(stream)) == 400
    assert stream[3]["w1"] is GradientStream("digits_mlp", 400, 0)[3]["w1"]
    with pytest.raises(ValueError, match="read-only"):
        stream[3]["w1"][0, 0] = 1.0


def test_unknown_problem_names_all():
    with pytest.raises(ValueError, match="'digit'.*digits_mlp.*rosenbrock"):
        problem("digit")
