"""What is put around a preconditioner: keys, a learning rate, and steps that are not taken."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

DESCENT, KRON = "psgd.descent.descend", "psgd.kron.scale_by_kron"
SEED, RATE, DECAY = 5, 0.25, 0.5
# Two of one shape, which guards look at together.
SHAPES: dict[str, tuple[int, ...]] = {"a": (3, 4), "b": (4,), "c": (4,)}

Side = Callable[[np.random.Generator], Any]


def _drawn(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {leaf: rng.standard_normal(shape) for leaf, shape in SHAPES.items()}


def _keyed(kind: str) -> Side:
    """Return the updates of a first step with one seed, given in some way."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp

        given = {
            "number": lambda: SEED,
            "array": lambda: jnp.asarray(SEED),
            "raw": lambda: jax.random.PRNGKey(SEED),
            "typed": lambda: jax.random.key(SEED),
        }[kind]()
        optimizer = production(KRON)(key=given)
        gradients = _drawn(rng)
        state = optimizer.init(gradients)
        return interpreted(optimizer.update)(gradients, state, gradients)[0]

    return run


def _directions() -> Any:
    """Return a guarded transformation that hands on gradients, and skips steps by itself."""
    import jax
    import jax.numpy as jnp
    import optax

    def update(updates: Any, state: Any, params: Any = None, *, measured: Any = None) -> Any:
        del params
        return jax.tree.map(lambda u: jnp.where(measured.sound, u, 0), updates), state

    plain = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    return production("guards.skip_unsound_steps")(plain, inner_skips=True)


def _descent(decay: Any) -> Any:
    return production(DESCENT)(_directions(), lambda count: RATE / (1 + count), decay, None)


def _first(is_traced: bool) -> Side:
    """Return the first updates with a decay that is traced, or a number."""

    def run(rng: np.random.Generator) -> Any:
        gradients, params = _drawn(rng), _drawn(rng)

        def updates(decay: Any) -> Any:
            optimizer = _descent(decay)
            return optimizer.update(gradients, optimizer.init(params), params)[0]

        return interpreted(updates)(DECAY) if is_traced else interpreted(lambda: updates(DECAY))()

    return run


def _enormous(guarded: bool) -> Side:
    """Return gradients whose largest modulus is a number, but no sum of two, guarded or not."""

    def run(rng: np.random.Generator) -> Any:
        gradients = {leaf: np.sign(array) * 1.5e308 for leaf, array in _drawn(rng).items()}
        if not guarded:
            return gradients
        guard = _directions()
        return interpreted(guard.update)(gradients, guard.init(gradients))[0]

    return run


def _descended(decay: float, with_params: bool, spoiled: bool = False) -> Side:
    """Return parameters and counts along some steps, of which the second may be spoiled."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        optimizer = _descent(decay)
        params, found = _drawn(rng), []
        state, update = optimizer.init(params), interpreted(optimizer.update)
        for step in range(3):
            gradients = _drawn(rng)
            if spoiled and step == 1:
                gradients["b"][2] = np.inf
            updates, state = update(gradients, state, params if with_params else None)
            params = {leaf: value + updates[leaf] for leaf, value in params.items()}
            found.append((params, jax.tree.leaves(state)))
        return found

    return run


def _formula(decay: float, skipped: bool) -> Side:
    """Return w - η_t (g + λ w) along some steps, and w as it was where one is not taken."""

    def run(rng: np.random.Generator) -> Any:
        params, found, count = _drawn(rng), [], 0
        for step in range(3):
            gradients, rate = _drawn(rng), RATE / (1 + count)
            taken = not (skipped and step == 1)
            count += taken
            params = {
                leaf: value - rate * taken * (gradients[leaf] + decay * value)
                for leaf, value in params.items()
            }
            found.append((params, [np.asarray(count)]))
        return found

    return run


def _newton(spoiled: bool) -> Side:
    """Return updates and Q of Newton steps, the first with an infinite product or unasked."""

    def run(rng: np.random.Generator) -> Any:
        import jax

        optimizer = production(KRON)(key=SEED)
        gradients, found = _drawn(rng), []
        state = optimizer.init(gradients)
        for step in range(3):
            vector, product = _drawn(rng), _drawn(rng)
            if spoiled and step == 0:
                product["b"][2] = np.inf
            updates, state = interpreted(optimizer.update)(
                gradients,
                state,
                gradients,
                Hvp=product,
                vector=vector,
                update_preconditioner=spoiled or step > 0,
            )
            found.append((updates, jax.tree.leaves(state.Qs_preconditioners)))
        return found

    return run


def _refused(rng: np.random.Generator) -> Any:
    """Return whether half of a pair is refused, by the name of what is given."""
    optimizer, gradients = production(KRON)(), _drawn(rng)
    found = []
    for given in ("vector", "Hvp"):
        try:
            optimizer.update(gradients, optimizer.init(gradients), **{given: gradients})
        except ValueError as error:
            found.append(np.asarray(float(str(error).startswith(f"{given} is given without"))))
    return found


CHECKS = (
    Equivalence(
        name=KRON,
        label="half of a pair is refused by its name = true",
        left=_refused,
        right=lambda rng: [np.asarray(1.0)] * 2,
        budget=0.0,
        reason="nothing is computed",
    ),
    *(
        Equivalence(
            name=KRON,
            label=f"seed as {kind} = as a number",
            left=_keyed(kind),
            right=_keyed("number"),
            budget=0.0,
            reason="the same key: equal bits",
        )
        for kind in ("array", "raw", "typed")
    ),
    Equivalence(
        name=KRON,
        label="a first product that is not finite = none",
        left=_newton(True),
        right=_newton(False),
        budget=0.0,
        reason="nothing is fitted to it: equal bits",
    ),
    Equivalence(
        name="psgd.kron.kron",
        label="a decay that is traced = a number",
        left=_first(True),
        right=_first(False),
        budget=0.0,
        reason="the same operations on the same numbers",
    ),
    Equivalence(
        name="psgd.kron.kron",
        label="enormous gradients, guarded = as they are",
        left=_enormous(True),
        right=_enormous(False),
        budget=0.0,
        reason="all are finite, so that the step is taken: equal bits",
    ),
    *(
        Equivalence(
            name="psgd.kron.kron",
            label=f"directions that descend, decay {decay:g}{', one skipped' * skipped} = formula",
            left=_descended(decay, bool(decay), skipped),
            right=_formula(decay, skipped),
            budget=2.0,
            reason="a product, a sum and a product",
        )
        for decay, skipped in ((0.0, False), (1.0, False), (DECAY, True))
    ),
)
