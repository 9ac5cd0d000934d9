import numpy as np
import pytest

from reference.guards import (
    clip_by_global_norm,
    clip_by_global_rms,
    clip_by_tensor_rms,
    global_norm,
    spike_scale,
)

EPS = np.finfo(np.float64).eps
SCALES = [1e-300, 1e-30, 1e-20, 1.0, 1e20, 1e300]


def tensor(scale=1.0, *, complex_=False, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    real = rng.standard_normal((7, 5)) * scale
    if complex_:
        return (real + 1j * rng.standard_normal((7, 5)) * scale).astype(np.result_type(dtype, 1j))
    return real.astype(dtype)


def rms(array):
    return np.sqrt(np.mean(np.abs(array) ** 2))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("complex_", [False, True])
def test_norm_is_homogeneous_at_every_scale(scale, complex_):
    array = tensor(complex_=complex_)
    expected = scale * np.sqrt(np.sum(array.real**2 + array.imag**2))
    # A sum of 35 squares rounds each term a few times: 16 eps is generous.
    assert abs(global_norm([array * scale]) / expected - 1) <= 16 * EPS


def test_norm_of_leaves_is_norm_of_their_concatenation():
    first, second = tensor(seed=1), tensor(seed=2, complex_=True)
    together = np.concatenate([first.ravel(), second.ravel()])
    # Only the order of summation differs: some eps.
    assert global_norm([first, second]) == pytest.approx(np.linalg.norm(together), rel=8 * EPS)
    assert global_norm([np.array([3.0]), np.array(4.0)]) == 5.0


def test_norm_of_nothing_is_zero_and_of_nonfinite_is_not_finite():
    assert global_norm([]) == 0
    assert global_norm([np.zeros((0, 3))]) == 0
    assert global_norm([np.zeros(3)]) == 0
    assert global_norm([np.ones(3), np.array([np.inf])]) == np.inf
    assert np.isnan(global_norm([np.ones(3), np.array([np.nan, 1.0])]))


@pytest.mark.parametrize("scale", [1e-20, 1e20, 1e30])
def test_norm_in_float32_neither_overflows_nor_vanishes(scale):
    array = tensor(scale, dtype=np.float32)
    norm = global_norm([array])
    assert norm.dtype == np.float32
    # 35 rounded squares in float32: 16 of its eps.
    expected = np.linalg.norm(array.astype(np.float64))
    assert norm == pytest.approx(expected, rel=16 * float(np.finfo(np.float32).eps))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("complex_", [False, True])
def test_tensor_clip_bounds_the_rms_and_keeps_the_direction(scale, complex_):
    update = tensor(scale, complex_=complex_)
    clipped = clip_by_tensor_rms(update, 0.5 * scale, None)
    assert clipped.dtype == update.dtype
    # One norm, one quotient, one product: some eps.
    np.testing.assert_allclose(rms(clipped / scale), 0.5, rtol=8 * EPS)
    np.testing.assert_allclose(
        clipped / rms(clipped / scale), update / rms(update / scale), rtol=16 * EPS
    )


@pytest.mark.parametrize("complex_", [False, True])
def test_tensor_clip_limits_each_modulus_and_keeps_its_phase(complex_):
    update = tensor(complex_=complex_)
    clipped = clip_by_tensor_rms(update, None, 0.7)
    over = np.abs(update) > 0.7
    assert 5 < over.sum() < 30, "the sample must have entries on both sides of the limit"
    # A real sign is exact; a complex one is a rounded quotient.
    np.testing.assert_allclose(np.abs(clipped[over]), 0.7, rtol=4 * EPS if complex_ else 0)
    np.testing.assert_array_equal(clipped[~over], update[~over])
    np.testing.assert_allclose(clipped[over] * np.abs(update[over]), 0.7 * update[over], rtol=1e-15)


def test_tensor_clip_limits_the_rms_first():
    update = np.array([10.0, 0.0, 0.0, 0.0])  # root mean square 5
    np.testing.assert_array_equal(clip_by_tensor_rms(update, 2.0, 3.0), [3.0, 0, 0, 0])
    np.testing.assert_array_equal(clip_by_tensor_rms(update, 1.0, 3.0), [2.0, 0, 0, 0])


def test_tensor_clip_leaves_small_updates_and_zeros_alone():
    update = tensor(0.1)
    np.testing.assert_array_equal(clip_by_tensor_rms(update, 2.0, 10.0), update)
    np.testing.assert_array_equal(clip_by_tensor_rms(np.zeros(3), 2.0, 10.0), np.zeros(3))
    assert clip_by_tensor_rms(np.zeros((0, 2)), 2.0, 10.0).shape == (0, 2)


def test_global_clip_is_the_tensor_clip_of_the_concatenation():
    updates = [tensor(seed=3), 30 * tensor(seed=4)[:2], np.array(5.0)]
    clipped = clip_by_global_rms(updates, 1.0, 2.0)
    joint = clip_by_tensor_rms(np.concatenate([u.ravel() for u in updates]), 1.0, 2.0)
    separate = [clip_by_tensor_rms(u, 1.0, 2.0) for u in updates]
    # Only the order of one summation differs.
    np.testing.assert_allclose(np.concatenate([c.ravel() for c in clipped]), joint, rtol=8 * EPS)
    assert not np.allclose(clipped[0], separate[0])
    assert [np.shape(c) for c in clipped] == [np.shape(u) for u in updates]


def test_spike_scale():
    for permissive in (True, False):
        assert spike_scale(3.0, None, permissive) == 1
        assert spike_scale(3.0, 3.0, permissive) == 1
        assert spike_scale(0.0, 3.0, permissive) == 1
        for norm in (np.nan, np.inf):
            assert spike_scale(norm, 3.0, permissive) == 0
            assert spike_scale(norm, None, permissive) == 0
    assert spike_scale(4.0, 3.0, True) == 0.75
    assert spike_scale(4.0, 3.0, False) == 0


@pytest.mark.parametrize("scale", SCALES)
def test_norm_clip_bounds_the_norm_of_all_and_keeps_the_direction(scale):
    updates = [tensor(scale, seed=3), tensor(3 * scale, seed=4, complex_=True)[:2]]
    updates.append(np.array(5.0 * scale))
    # In units of the scale, where squares neither overflow nor vanish.
    norm = np.sqrt(sum(np.sum(np.abs(u / scale) ** 2) for u in updates))
    for share in (0.25, 0.999):
        clipped = clip_by_global_norm(updates, share * norm * scale)
        for update, new in zip(updates, clipped, strict=True):
            assert new.shape == update.shape
            assert new.dtype == update.dtype
            # Two norms, one quotient, one product.
            np.testing.assert_allclose(new / scale, share * update / scale, rtol=16 * EPS)


def test_norm_clip_leaves_small_updates_and_zeros_alone():
    updates = [np.array([3.0, 0.0]), np.array(4.0), np.zeros((0, 2))]
    for limit in (5.0, 1e300, None):
        for update, new in zip(updates, clip_by_global_norm(updates, limit), strict=True):
            np.testing.assert_array_equal(new, update)
    np.testing.assert_array_equal(clip_by_global_norm([np.zeros(3)], 1e-3)[0], np.zeros(3))
    assert clip_by_global_norm([], 1.0) == []
    single = clip_by_global_norm([np.full(4, 1e30, np.float32)], 1.0)[0]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, 0.5, rtol=4 * 2.0**-23)
