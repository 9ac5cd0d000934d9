"""The random numbers of a step, taken from the bits in the order in which they are documented.

Both sides of every other check use the same numbers, so that none of them would notice if they
were drawn in another way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

SEED, COUNT, WORD, PROBES = 5, 3, 32, 8
# The first and the third are of one kind.
SHAPES = (
    ((3, 4), (True, False)),
    ((5,), (True,)),
    ((3, 4), (True, False)),
    ((2, 3), (True, True)),
)
MODES = ("Q0.5EQ1.5", "EQ", "QEQ", "PRO4P", "QEP")

Side = Callable[[np.random.Generator], Any]


def _folded(*numbers: int) -> Any:
    import jax

    key = jax.random.PRNGKey(SEED)
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def _signs(words: np.ndarray, shape: Sequence[int], paired: bool) -> np.ndarray:
    """Return ±1, bit after bit, or (±1 ± i) / √2: all real parts, then all imaginary ones."""
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    size = int(np.prod(shape))
    real = (2.0 * bits[:size] - 1.0).reshape(shape)
    if not paired:
        return real
    imaginary = (2.0 * bits[size : 2 * size] - 1.0).reshape(shape)
    return (real + 1j * imaginary) * np.sqrt(0.5)


def _signed(slice_shape: Any, row: Any, noisy: bool) -> list[tuple[int, ...]]:
    """Return the shapes of the signs of one tensor: probes of both bounds, then noise."""
    shape, dense = slice_shape
    lengths = [size if is_dense else 0 for size, is_dense in zip(shape, dense, strict=True)]
    shapes: list[tuple[int, ...]] = [(PROBES, length) for length in lengths]
    shapes += [(PROBES, length if row.rotates else 0) for length in lengths]
    return shapes + ([shape] if noisy or row.basis == "whitened" else [])


def _streams(row: Any, paired: bool, noisy: bool) -> list[np.ndarray]:
    """Return the words of every tensor: one stream, kind after kind, in which numbers rise."""
    import jax

    counts = {
        kind: 1 + sum(-(-int(np.prod(one)) * (2 if paired else 1) // WORD) for one in shapes)
        for kind, shapes in ((kind, _signed(kind, row, noisy)) for kind in SHAPES)
    }
    order = sorted(range(len(SHAPES)), key=lambda number: SHAPES.index(SHAPES[number]))
    total = sum(counts[kind] for kind in SHAPES)
    stream = np.asarray(jax.random.bits(_folded(COUNT, 1), (total,), "uint32"))
    parts = np.split(stream, np.cumsum([counts[SHAPES[number]] for number in order])[:-1])
    return [parts[order.index(number)] for number in range(len(SHAPES))]


def _of_slice(number: int, row: Any, paired: bool, noisy: bool) -> Any:
    """Return (noise, probes of the norm, probes of the rotation, balance) of one tensor."""
    shape, _ = SHAPES[number]
    shapes, stream = _signed(SHAPES[number], row, noisy), _streams(row, paired, noisy)[number]
    words = [-(-int(np.prod(one)) * (2 if paired else 1) // WORD) for one in shapes]
    ends = np.cumsum([1, *words])
    drawn = [
        _signs(stream[begin:end], one, paired) if end > begin else None
        for one, begin, end in zip(shapes, ends[:-1], ends[1:], strict=True)
    ]
    axes = len(shape)
    noise = drawn[2 * axes] if len(drawn) > 2 * axes else None
    return noise, tuple(drawn[:axes]), tuple(drawn[axes : 2 * axes]), (stream[0] >> 8) / 2.0**24


def _step(mode: str, paired: bool, noisy: bool) -> tuple[Side, Side]:
    def left(rng: np.random.Generator) -> Any:
        del rng
        import jax

        item, draw = production("psgd.draws.DrawnSlice"), production("psgd.draws.draw_step")
        row = production("psgd.geometry.geometry")(mode)
        items = [item(*shape, "complex128" if paired else "float64") for shape in SHAPES]
        key = jax.random.PRNGKey(SEED)
        drawn = interpreted(lambda count: draw(key, count, items, row, noisy))(np.int32(COUNT))
        return drawn.decision, [tuple(one) for one in drawn.slices]

    def right(rng: np.random.Generator) -> Any:
        del rng
        import jax

        row = production("psgd.geometry.geometry")(mode)
        slices = [_of_slice(number, row, paired, noisy) for number in range(len(SHAPES))]
        return np.asarray(jax.random.uniform(_folded(COUNT, 0))), slices

    return left, right


def _flat(rotates: bool) -> tuple[Side, Side]:
    size = 21

    def left(rng: np.random.Generator) -> Any:
        del rng
        import jax

        draw, key = production("psgd.draws.draw_flat_step"), jax.random.PRNGKey(SEED)
        return tuple(
            interpreted(lambda count: draw(key, count, size, "float64", rotates))(np.int32(COUNT))
        )

    def right(rng: np.random.Generator) -> Any:
        del rng
        import jax

        def signs(number: int, shape: tuple[int, ...]) -> np.ndarray:
            words = -(-int(np.prod(shape)) // WORD)
            return _signs(
                np.asarray(jax.random.bits(_folded(COUNT, number), (words,), "uint32")),
                shape,
                False,
            )

        side, balance = jax.random.uniform(_folded(COUNT, 4), (2,))
        rows = signs(3, (PROBES, size)) if rotates else None
        decision = jax.random.uniform(_folded(COUNT, 0))
        return decision, signs(1, (size,)), signs(2, (size,)), rows, side, balance

    return left, right


def _check(name: str, label: str, sides: tuple[Side, Side]) -> Equivalence:
    return Equivalence(
        name=name,
        label=f"{label} = bits in their order",
        left=sides[0],
        right=sides[1],
        budget=1.0,
        reason="signs are exact; 1 / √2 may be rounded once",
    )


CHECKS = (
    *(
        _check(
            "psgd.kron.scale_by_kron",
            f"draws of {mode}{', complex' if paired else ''}{'' if noisy else ', no damping'}",
            _step(mode, paired, noisy),
        )
        for mode, paired, noisy in (
            *((mode, False, True) for mode in MODES),
            ("EQ", True, True),
            ("PRO4P", True, True),
            ("PRO4P", False, False),
        )
    ),
    _check("psgd.xmat.scale_by_xmat", "draws", _flat(False)),
    _check("psgd.dense.scale_by_dense_newton", "draws with a rotation", _flat(True)),
)
