"""What is interpreted is what is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verification.interpreter import compiled, interpreted, interpreting, interprets
from verification.wide_numbers import enable_x64

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((4, 4)) + 4.0 * np.eye(4)
TALL = RNG.standard_normal((5, 3))
STACK = RNG.standard_normal((2, 3, 4))
COMPLEX = MATRIX + 1j * RNG.standard_normal((4, 4))
WHOLE = np.arange(12, dtype=np.int32).reshape(3, 4)


def _solved(lower, trans, unit):
    def solve(a, b):
        return jax.scipy.linalg.solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit)

    return solve


def _looped(x):
    def step(carry, row):
        return carry * 0.5 + row, carry.sum()

    return jax.lax.scan(step, x[0], x, reverse=True)


def _until(x):
    return jax.lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * 0.5 + s[0]), (0, x))


def _drawn(x):
    key = jax.random.fold_in(jax.random.PRNGKey(3), 2)
    return x * jax.random.normal(key, x.shape, x.dtype) + jax.random.bits(key, (3, 4)) % 7


PROGRAMS = {
    "product": (lambda a, b: jnp.einsum("bij,bjk->bik", a, b.mT), (STACK, STACK)),
    "contraction of two axes": (lambda a: jnp.tensordot(a, a, ((0, 2), (0, 2))), (STACK,)),
    "inner product": (jnp.dot, (MATRIX[0], MATRIX[1])),
    "adjoint": (lambda a: a.conj().T @ a, (COMPLEX,)),
    "powers": (lambda a: a**3 + jnp.abs(a) ** 0.25 + a**-2, (MATRIX,)),
    "sums": (lambda a: [a.sum((0, 2)), a.max(1), a.min(), a.mean(-1), a.cumsum(1)], (STACK,)),
    "logic": (lambda a: jnp.where((a > 0) & ~(a < 1) | jnp.isnan(a), a, -a), (MATRIX,)),
    "shapes": (
        lambda a: [a[1, ::2], a.transpose(2, 0, 1), a.reshape(4, 6), a[..., ::-1]],
        (STACK,),
    ),
    "joined": (lambda a: [jnp.stack([a, a]), jnp.concatenate([a, 2 * a], 1)], (TALL,)),
    "padded": (lambda a: jnp.pad(a, ((0, 1), (2, 0)), constant_values=3.0), (TALL,)),
    "triangles": (
        lambda a: [jnp.triu(a), jnp.tril(a, -1), jnp.eye(4) + a, jnp.trace(a)],
        (MATRIX,),
    ),
    "picked": (lambda a: a[jnp.argmax(a[:, 0])], (TALL,)),
    "written": (lambda a: a.at[1, 2].set(7.0).at[0].add(1.0), (TALL,)),
    "moved": (lambda a, i: jax.lax.dynamic_slice(a, (i, i), (2, 2)), (TALL, np.int32(4))),
    "complex": (lambda a: [a.real, a.imag, jnp.abs(a), a.sum(), jnp.sign(a)], (COMPLEX,)),
    "whole numbers": (lambda a: [a // 3, a % 5, a.astype(float) / 2, a >> 1], (WHOLE,)),
    "limits": (lambda a: jnp.clip(a, -0.5, jnp.sqrt(jnp.square(a)).max() / 2), (TALL,)),
    "branches": (lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a, lambda: -a), (TALL,)),
    "switch": (lambda a, i: jax.lax.switch(i, [jnp.sin, jnp.exp], a), (TALL, np.int32(9))),
    "scan": (_looped, (TALL,)),
    "loop": (_until, (TALL,)),
    "random numbers": (_drawn, (RNG.standard_normal((3, 4)),)),
    "linear system": (jnp.linalg.solve, (MATRIX, MATRIX[0])),
    "singular values": (lambda a: jnp.linalg.svd(a, compute_uv=False), (TALL,)),
    **{
        f"triangle {lower} {trans} {unit}": (_solved(lower, trans, unit), (COMPLEX, COMPLEX[:, :2]))
        for lower, trans, unit in [(True, 0, False), (False, 1, False), (False, 2, True)]
    },
    "triangle from the right": (
        lambda a, b: jax.lax.linalg.triangular_solve(a, b, transpose_a=True, conjugate_a=True),
        (COMPLEX, COMPLEX[:2]),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_interpreted_is_what_is_compiled(name):
    function, arguments = PROGRAMS[name]
    with enable_x64(True):
        found = jax.tree.leaves(interpreted(function)(*arguments))
        wanted = jax.tree.leaves(jax.jit(function)(*arguments))
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            # Some tens of roundings.
            np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-14)


def test_a_program_is_traced_once_for_each_set_of_shapes():
    traced = []

    def function(x, *, shift):
        traced.append(x.shape)
        return {"y": x + shift}

    call = interpreted(function)
    for size in (2, 2, 3):
        found = call(np.ones(size, np.float32), shift=np.float32(size))
        assert found["y"].tolist() == [1.0 + size] * size
    assert traced == [(2,), (3,)]


def test_what_is_compiled_by_default_is_interpreted_on_demand():
    def kind(function):
        return type(compiled(function)([1.0])[0])

    assert not interprets()
    assert issubclass(kind(lambda x: x), jax.Array)
    with interpreting():
        assert interprets()
        assert issubclass(kind(lambda x: x), np.ndarray)
        with interpreting(False):
            assert issubclass(kind(lambda x: x), jax.Array)
    assert not interprets()


FACTOR = 2.0


def _scaled(x):
    return FACTOR * x


@pytest.mark.parametrize("interprets_it", [True, False])
def test_what_was_traced_of_one_version_is_not_used_for_the_next(monkeypatch, interprets_it):
    with interpreting(interprets_it):
        assert compiled(_scaled)(np.ones(2)).tolist() == [2.0, 2.0]
        monkeypatch.setitem(globals(), "FACTOR", 3.0)
        assert compiled(_scaled)(np.ones(2)).tolist() == [3.0, 3.0]
