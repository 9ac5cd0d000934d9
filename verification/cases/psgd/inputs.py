"""Devices and limits of PSGD with Kronecker factors, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

NAME = "psgd.kron.scale_by_kron"
STEPS = 2
# Of each of two leaves: together more than are taken one by one.
LAYERS = 17

Side = Callable[[np.random.Generator], Any]


def _on_devices(count: int | None) -> Side:
    """Return the updates of several devices with the same gradients, or of one by itself."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        axis = None if count is None else "devices"
        optimizer = production(NAME)(key=7, b1=0.5, axis_name=axis)
        stream = [{"w": rng.standard_normal((3, 4))} for _ in range(STEPS)]
        init, update = optimizer.init, optimizer.update
        if count is not None:
            stream = [{"w": np.stack([gradients["w"]] * count)} for gradients in stream]
            init, update = jax.vmap(init), jax.vmap(update, axis_name=axis)
        state, update = init(stream[0]), interpreted(update)
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
        return updates["w"] if count is None else updates["w"][1]

    return run


def _many(scanned: bool) -> Side:
    """Return the updates of many tensors of one shape, in two leaves or each in its own."""

    def run(rng: np.random.Generator) -> Any:
        stream = [{leaf: rng.standard_normal((LAYERS, 2, 3)) for leaf in "ab"}]
        options: dict[str, Any] = {"key": 7, "max_skew_triangular": 4.0}
        if scanned:
            options["scanned_layers"] = dict.fromkeys("ab", True)
        else:
            stream = [
                {
                    f"{leaf}{row:02}": tensor
                    for leaf in "ab"
                    for row, tensor in enumerate(both[leaf])
                }
                for both in stream
            ]
        optimizer = production(NAME)(**options)
        state, update = optimizer.init(stream[0]), interpreted(optimizer.update)
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
        if scanned:
            return updates
        return {
            leaf: np.stack([updates[f"{leaf}{row:02}"] for row in range(LAYERS)]) for leaf in "ab"
        }

    return run


def _squares(part: Any) -> Any:
    return (part * part).sum(1)


def _folded(by_parts: bool) -> Side:
    """Return sums over more columns than go at once, with some left over and with none.

    Four for each: folds to a sum and to a maximum, a sum that is wanted, and one that is known.
    """

    def run(rng: np.random.Generator) -> Any:
        most: Any = production("trees.columns._COLUMNS")
        found = []
        for columns in (3 * most + 5, 2 * most):
            matrix = rng.integers(0, 9, (2, columns)).astype(float)
            matrix[:, -1] = 9.0, 10.0
            known, wanted = np.asarray([1.0, 2.0]), _squares(matrix)
            sides = [wanted, matrix.max(1), wanted, known]
            found.append(interpreted(_in_parts)(matrix, known) if by_parts else sides)
        return found

    return run


def _in_parts(matrix: Any, known: Any) -> Any:
    import operator

    import jax.numpy as jnp

    fold, add = (production(f"trees.columns.{x}") for x in ("fold_columns", "sum_over_columns"))
    return [
        fold(_squares, operator.add, [matrix]),
        fold(lambda part: part.max(1), jnp.maximum, [matrix]),
        add(_squares, matrix, known, known[0] > 0),
        add(_squares, matrix, known, known[0] < 0),
    ]


def _of_nothing(rng: np.random.Generator) -> Any:
    """Return one more than the entries of a vector of no leaves, and of one without entries."""
    flatten, number = production("trees.flat.flatten"), production("trees.flat.flat_size")
    return [
        np.asarray(1.0 + size)
        for leaves in ([], [rng.standard_normal((0, 3))])
        for size in (flatten(leaves).size, number(leaves))
    ]


def _sides(of_state: bool) -> Side:
    """Return U and V as the state of LRA shows them, or of the rows in which it keeps them."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        optimizer = production("psgd.lra.scale_by_lra")(uvd_rank_of_approximation=2, seed=7)
        state = optimizer.init({"w": np.zeros(5)})
        if of_state:
            return [state.U, state.V]
        return list(np.moveaxis(np.asarray(state.rows).reshape(2, 2, 5), 1, 2))

    return run


CHECKS = (
    Equivalence(
        name="psgd.lra.scale_by_lra",
        label="U and V of the state = its rows, upright",
        left=_sides(True),
        right=_sides(False),
        budget=0.0,
        reason="entries are moved, not computed",
    ),
    Equivalence(
        name="psgd.xmat.scale_by_xmat",
        label="entries of a vector of nothing = none",
        left=_of_nothing,
        right=lambda rng: [np.asarray(1.0)] * 4,
        budget=0.0,
        reason="whole numbers",
    ),
    Equivalence(
        name="psgd.lra.update_factor",
        label="sum over columns in parts = over all",
        left=_folded(True),
        right=_folded(False),
        budget=0.0,
        reason="sums of small whole numbers are exact",
    ),
    Equivalence(
        name=NAME,
        label="many layers of two leaves = as many leaves",
        left=_many(True),
        right=_many(False),
        budget=4.0,
        condition=10.0,
        reason="tensors are numbered alike; products in other stacks, amplified by some tens",
    ),
    Equivalence(
        name=NAME,
        label="devices with one gradient = one device",
        left=_on_devices(2),
        right=_on_devices(None),
        budget=4.0,
        condition=10.0,
        reason="a mean of equal matrices; products in stacks, amplified by some tens",
    ),
)
