"""Schedule-Free around other optimizers, and sentences of its paper."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.optimizer import Optimizer
from verification.equivalence import Equivalence
from verification.interpreter import compiled
from verification.problems import problem
from verification.registry import production
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params

__all__ = ["CHECKS", "SEQUENCES"]

NAME = "schedule_free.wrapper.schedule_free"
STEPS = 12


def _decaying(count: Any) -> Any:
    """Return a rate that rises and falls, so that its largest value is not its last."""
    import jax.numpy as jnp

    array = jnp if not isinstance(count, int) else np
    return 0.3 * (1.5 + array.sin(0.5 * count))


def _reference_descent() -> Any:
    """Return gradient descent with the same rate, as a reference optimizer."""

    def step(state: dict[str, Any], gradients: dict[str, np.ndarray]) -> dict[str, Any]:
        rate = float(_decaying(state["count"]))
        updates = {leaf: -rate * gradient for leaf, gradient in gradients.items()}
        return {**state, "updates": updates, "count": state["count"] + 1}

    return Optimizer(lambda params: {"params": params, "count": 0}, step)


def _around_descent(**options: Any) -> Callable[[Callable[..., Any], bool], Any]:
    def build(factory: Callable[..., Any], is_production: bool) -> Any:
        if not is_production:
            return factory(_reference_descent(), lambda t: float(_decaying(t)), **options)
        import optax

        return factory(optax.sgd(_decaying), _decaying, **options)

    return build


def _evaluated(state: Any, params: Any, updates: Any) -> Any:
    """Read x through the public function."""
    del updates
    return production("schedule_free.wrapper.schedule_free_eval_params")(state, params)


SEQUENCES = (
    Field("params", updated_params),
    Field("x", _evaluated, condition=lambda leaf: 4.0),
    stored("z"),
    stored("weight_sum"),
    stored("max_learning_rate"),
    counters("step_count", "step_count", "count"),
)


def _trained(optimizer: Any, task: Any, steps: int = STEPS) -> tuple[Any, Any]:
    """Return (parameters, state) after some steps of production on a problem."""
    import jax
    import jax.numpy as jnp
    import optax

    params = jax.tree.map(jnp.asarray, task.initial_parameters())
    state = optimizer.init(params)
    update = compiled(optimizer.update)
    for step in range(steps):
        gradients = jax.tree.map(jnp.asarray, task.gradients(params, step))
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def _average_of_iterates(b1: float) -> Callable[[np.random.Generator], Any]:
    """Return x of production, with equal weights."""

    def evaluate(rng: np.random.Generator) -> Any:
        import optax

        del rng
        wrapped = production(NAME)(optax.sgd(0.2), 0.2, b1=b1, weighting_mode="theoretical")
        params, state = _trained(wrapped, problem("quadratic", 0))
        return _evaluated(state, params, None)

    return evaluate


def _polyak(rng: np.random.Generator) -> Any:
    """Return the mean of the iterates of plain gradient descent."""
    del rng
    task = problem("quadratic", 0)
    z = task.initial_parameters()
    total = {leaf: np.zeros_like(value) for leaf, value in z.items()}
    for step in range(STEPS):
        gradients = task.gradients(z, step)
        z = {leaf: value - 0.2 * gradients[leaf] for leaf, value in z.items()}
        total = {leaf: total[leaf] + value for leaf, value in z.items()}
    return {leaf: value / STEPS for leaf, value in total.items()}


def _primal(rng: np.random.Generator) -> Any:
    """Return the mean of the iterates whose gradients are taken at that mean."""
    del rng
    task = problem("quadratic", 0)
    z = task.initial_parameters()
    x = z
    for step in range(STEPS):
        gradients = task.gradients(x, step)
        z = {leaf: value - 0.2 * gradients[leaf] for leaf, value in z.items()}
        x = {leaf: x[leaf] + (z[leaf] - x[leaf]) / (step + 1) for leaf in z}
    return x


def _unsound_step(optimizer: Callable[[], Any], spoiled: bool) -> Callable[..., Any]:
    """Return (parameters, state) of a run into which an infinite gradient came, or did not."""

    def run(rng: np.random.Generator) -> Any:
        import jax.numpy as jnp

        del rng
        built = optimizer()
        params, state = _trained(built, problem("quadratic", 0), 4)
        if spoiled:
            gradients = {leaf: jnp.full_like(value, 1.0) for leaf, value in params.items()}
            gradients["bias"] = gradients["bias"].at[0].set(jnp.inf)
            updates, state = built.update(gradients, state, params)
            params = {leaf: value + updates[leaf] for leaf, value in params.items()}
        return params, state

    return run


def _adamw() -> Any:
    return production("schedule_free.methods.schedule_free_adamw")(0.01)


def _around_xmat() -> Any:
    """Return it around an optimizer that skips by itself the steps which are not taken."""
    return production(NAME)(production("psgd.xmat.xmat")(0.05), 0.05)


def _modes(mode: str) -> Callable[[np.random.Generator], Any]:
    def run(rng: np.random.Generator) -> Any:
        del rng
        build = production("schedule_free.methods.schedule_free_sgd")
        params, _ = _trained(build(0.25, weighting_mode=mode), problem("quadratic", 0))
        return params

    return run


def _looped(unrolled: bool) -> Callable[[np.random.Generator], Any]:
    """Return parameters of steps in a Python loop, or in a scan."""

    def run(rng: np.random.Generator) -> Any:
        import jax
        import jax.numpy as jnp
        import optax

        stream = jnp.asarray(rng.standard_normal((6, 4, 3)))
        built = production("schedule_free.methods.schedule_free_adamw")(0.01, warmup_steps=3)
        params = jnp.asarray(rng.standard_normal((4, 3)))
        carry = (params, built.init(params))

        def step(carry: Any, gradient: Any) -> Any:
            params, state = carry
            updates, state = built.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        if not unrolled:
            return jax.lax.scan(step, carry, stream)[0]
        for gradient in stream:
            carry = compiled(step)(carry, gradient)[0]
        return carry

    return run


CHECKS = (
    Trajectory(
        name=NAME,
        problem="quadratic",
        label="rate that falls, practical",
        build=_around_descent(b1=0.7, weighting_mode="practical"),
        fields=SEQUENCES,
        budget=8.0,
        reason="a few roundings of each entry a step, relative to the norm of its leaf",
        ratio=8.0,
        ratio_reason="the rate itself is a sine, in float32 for production alone",
    ),
    Trajectory(
        name=NAME,
        problem="logistic",
        label="rate that falls, largest rate, r = 2",
        build=_around_descent(averaging_power=2.0, use_max_learning_rate=True),
        fields=SEQUENCES,
        budget=8.0,
        reason="a few roundings of each entry a step, relative to the norm of its leaf",
        ratio=8.0,
        ratio_reason="the rate itself is a sine, in float32 for production alone",
        free=False,
    ),
    Equivalence(
        name=NAME,
        label="β = 0 is Polyak averaging",
        left=_average_of_iterates(0.0),
        right=_polyak,
        budget=8.0,
        reason="arXiv 2405.15682v4, section 2; a dozen steps, each a few roundings",
    ),
    Equivalence(
        name=NAME,
        label="β = 1 is primal averaging",
        left=_average_of_iterates(1.0),
        right=_primal,
        budget=8.0,
        reason="arXiv 2405.15682v4, equations (6) and (7); a dozen steps, each a few roundings",
    ),
    Equivalence(
        name=NAME,
        label="a step with an infinite gradient = no step",
        left=_unsound_step(_adamw, True),
        right=_unsound_step(_adamw, False),
        budget=0.0,
        reason="the state is handed on untouched: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="around XMat, a step with an infinite gradient = no step",
        left=_unsound_step(_around_xmat, True),
        right=_unsound_step(_around_xmat, False),
        budget=0.0,
        reason="the state is handed on untouched: equal bits",
    ),
    Equivalence(
        name=NAME,
        label="at a constant rate, schedulet = practical",
        left=_modes("schedulet"),
        right=_modes("practical"),
        budget=8.0,
        reason="the weights are proportional; a dozen steps, each a few roundings",
    ),
    Equivalence(
        name=NAME,
        label="scanned = unrolled",
        left=_looped(False),
        right=_looped(True),
        budget=2.0,
        reason="the same operations, which the compiler may fuse into others",
    ),
)
