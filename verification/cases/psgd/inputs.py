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


def _many(scanned: bool, layers: int, leaves: str, shape: tuple[int, ...]) -> Side:
    """Return the updates of many tensors of one shape, in some leaves or each in its own."""

    def run(rng: np.random.Generator) -> Any:
        gradients = {leaf: rng.standard_normal((layers, *shape)) for leaf in leaves}
        options: dict[str, Any] = {"key": 7, "max_skew_triangular": 4.0}
        if scanned:
            options["scanned_layers"] = dict.fromkeys(leaves, True)
        else:
            gradients = {
                f"{leaf}{row:02}": tensor
                for leaf in leaves
                for row, tensor in enumerate(gradients[leaf])
            }
        optimizer = production(NAME)(**options)
        update = interpreted(optimizer.update)
        updates, _ = update(gradients, optimizer.init(gradients), gradients)
        if scanned:
            return updates
        rows = range(layers)
        return {leaf: np.stack([updates[f"{leaf}{row:02}"] for row in rows]) for leaf in leaves}

    return run


def _of_no_layers(rng: np.random.Generator) -> Any:
    """Return whether a leaf without axes is refused where it is said to have layers."""
    try:
        production(NAME)(scanned_layers=True).init(rng.standard_normal(()))
    except ValueError as error:
        return np.asarray(float("no axis of layers" in str(error)))
    return np.asarray(0.0)


def _with_decay(injected: bool) -> Side:
    """Return the updates with a momentum whose decay is a number, or comes with the state."""

    def run(rng: np.random.Generator) -> Any:
        import optax

        def optimizer(b1: Any) -> Any:
            return production(NAME)(key=7, b1=b1, whiten_grad=False)

        made = optax.inject_hyperparams(optimizer)(b1=0.5) if injected else optimizer(0.5)
        stream = [rng.standard_normal((3, 4)) for _ in range(STEPS)]
        state, update = made.init(stream[0]), interpreted(made.update)
        for gradients in stream:
            updates, state = update(gradients, state, gradients)
        return updates

    return run


def _overflown(moved: bool) -> Side:
    """Return a low-rank factor and its L, before or after a step whose estimates overflow."""

    def run(rng: np.random.Generator) -> Any:
        u, v, d = rng.standard_normal((5, 2)), rng.standard_normal((5, 2)), rng.uniform(1, 2, 5)
        chances = production("psgd.low_rank.LowRankDraws")(np.asarray(0.7), np.asarray(0.5))
        rule = production("psgd.flat.StepRule")(np.asarray(0.1), np.asarray(0.9), "2nd")

        def step(u: Any, v: Any, d: Any, lipschitz: Any, far: Any) -> Any:
            factor = production("psgd.low_rank.low_rank")(u, v, d)
            update = production("psgd.low_rank.update_factor")
            if moved:
                factor, lipschitz = update(factor, lipschitz, far, far, chances, rule)
            return [factor.rows, factor.diagonal, lipschitz]

        return interpreted(step)(u, v, d, rng.uniform(1, 2, 3), np.full(5, 1e200))

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
        name="psgd.lra.update_factor",
        label="a step whose estimates overflow = none",
        left=_overflown(True),
        right=_overflown(False),
        budget=0.0,
        reason="nothing is moved",
    ),
    Equivalence(
        name=NAME,
        label="layers of a scalar = refused",
        left=_of_no_layers,
        right=lambda rng: np.asarray(1.0),
        budget=0.0,
        reason="nothing is computed",
    ),
    Equivalence(
        name=NAME,
        label="a decay that is injected = a number",
        left=_with_decay(True),
        right=_with_decay(False),
        budget=0.0,
        reason="the same operations on the same numbers",
    ),
    *(
        Equivalence(
            name=NAME,
            label=f"{layers} layers of {len(leaves)} leaves {shape} = as many leaves",
            left=_many(True, layers, leaves, shape),
            right=_many(False, layers, leaves, shape),
            budget=4.0,
            condition=10.0,
            reason="tensors are numbered alike; products in other stacks, amplified by some tens",
        )
        # Together more than are taken one by one, but for the last.
        for layers, leaves, shape in (
            (17, "ab", (2, 3)),
            (2, "abcdefghijklmnopq", (2, 3)),
            (3, "a", ()),
        )
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
