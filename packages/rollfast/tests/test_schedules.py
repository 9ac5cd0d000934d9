"""The warmup, stable, decay schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rollfast import wsd_schedule


def values(*arguments, steps=None, **options):
    schedule = wsd_schedule(*arguments, **options)
    return np.asarray([schedule(count) for count in range(steps or arguments[1])])


def test_three_pieces():
    """Ten steps, two of warmup and three of decay, worked out by hand from the definition."""
    got = values(6.0, 10, 0.2, 0.3)
    want = [2.0, 4.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 4.0, 2.0]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_square_root_decay():
    """1 - √(1-s) with s = 2/3 and 1/3 in the last two steps."""
    got = values(1.0, 10, 0.2, 0.3, decay_shape="sqrt")
    np.testing.assert_allclose(got[-2:], [1 - np.sqrt(1 / 3), 1 - np.sqrt(2 / 3)], rtol=1e-5)
    np.testing.assert_allclose(got[:-2], values(1.0, 10, 0.2, 0.3)[:-2], rtol=1e-6)


@pytest.mark.parametrize(("warmup", "decay"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_any_fractions(total, warmup, decay):
    """Positive and at most the peak in every step; zero, and not below, long after the end."""
    got = values(0.5, total, warmup, decay)
    assert np.all(got > 0)
    assert np.max(got) <= 0.5
    assert float(wsd_schedule(0.5, total, warmup, decay)(10 * total)) == 0


def test_traced_count():
    schedule = wsd_schedule(1.0, 20)
    got = jax.jit(jax.vmap(schedule))(jnp.arange(20))
    np.testing.assert_allclose(got, values(1.0, 20), rtol=1e-6)
    assert got.dtype == jnp.float32
