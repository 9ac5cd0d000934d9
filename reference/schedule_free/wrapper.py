"""Schedule-Free around any optimizer that steps z."""

from collections.abc import Callable

from reference.optimizer import Leaves, Optimizer, State, all_finite, map_leaves, value_at
from reference.schedule_free.sequences import average, interpolate
from reference.schedule_free.weighting import averaging_coefficient, averaging_weight

__all__ = ["schedule_free"]


def schedule_free(
    base_optimizer: Optimizer,
    learning_rate: float | Callable[[int], float],
    b1: float = 0.9,
    weighting_mode: str = "schedulet",
    averaging_power: float = 0.0,
    use_max_learning_rate: bool = False,
) -> Optimizer:
    """Average the iterates of a base optimizer whose gradients are taken between both.

    z_{t+1} = z_t + u_t(gradient at y_t),  x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1},
    y_{t+1} = (1 - b1) z_{t+1} + b1 x_{t+1},  c_{t+1} = w_t / sum_{i <= t} w_i.

    The base optimizer sees y_t as its parameters (so weight decay acts at y) and its "updates",
    learning rate and sign included, are u_t.

    Args:
        base_optimizer: the optimizer that steps z.
        learning_rate: gamma_t, a number or a function of the step from 0; only the weights use it.
        b1: beta, in [0, 1].
        weighting_mode: see `schedule_free.weighting.averaging_weight`.
        averaging_power: r, see the same.
        use_max_learning_rate: whether the weights use the largest rate so far.

    Returns:
        An optimizer. State: "x", "z", "params" (y), "updates" (the last change of y),
        "weight_sum", "max_learning_rate", "step_count", and the fields of the base optimizer's
        state under "base_", but for its parameters. A step whose gradient is not finite, or which
        the base optimizer skips, changes nothing.

    Source: arXiv 2405.15682v4, equations (3) to (5) and Theorem 2; weights of
    arXiv 2511.07767v1, see `averaging_weight`.
    """

    def init(params: Leaves) -> State:
        return {
            "x": params,
            "z": params,
            "params": params,
            "weight_sum": 0.0,
            "max_learning_rate": 0.0,
            "step_count": 0,
            **_prefixed(base_optimizer.init(params)),
        }

    def step(state: State, gradients: Leaves) -> State:
        if not all_finite(gradients):
            return state
        base_state = base_optimizer.step(_base_state(state), gradients)
        if base_state.get("skipped"):
            return state
        z = map_leaves(lambda z, update: z + update, state["z"], base_state["updates"])

        count = state["step_count"]
        rate = value_at(learning_rate, count)
        max_rate = max(state["max_learning_rate"], rate)
        weight = averaging_weight(
            max_rate if use_max_learning_rate else rate, count, weighting_mode, averaging_power
        )
        weight_sum = state["weight_sum"] + weight
        coefficient = averaging_coefficient(weight, weight_sum)

        x = map_leaves(lambda x, z: average(x, z, coefficient), state["x"], z)
        y = map_leaves(lambda x, z: interpolate(x, z, b1), x, z)
        return {
            "x": x,
            "z": z,
            "params": y,
            "updates": map_leaves(lambda new, old: new - old, y, state["params"]),
            "weight_sum": weight_sum,
            "max_learning_rate": max_rate,
            "step_count": count + 1,
            **_prefixed(base_state),
        }

    return Optimizer(init, step)


def _prefixed(base_state: State) -> State:
    return {"base_" + field: value for field, value in base_state.items() if field != "params"}


def _base_state(state: State) -> State:
    prefix = "base_"
    fields = {
        field.removeprefix(prefix): value
        for field, value in state.items()
        if field.startswith(prefix)
    }
    return {**fields, "params": state["params"]}
