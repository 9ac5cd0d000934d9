"""Steps that are skipped and numbers that are traced, evaluated without compiling."""

from collections.abc import Callable
from typing import Any

import numpy as np

from verification.equivalence import Equivalence
from verification.interpreter import interpreted
from verification.registry import production

__all__ = ["CHECKS"]

KRON, SCHEDULE = "schedule_free.methods.schedule_free_kron", "schedules.wsd_schedule"
SGD = "schedule_free.methods.schedule_free_sgd"
PRISM = "schedule_free.methods.schedule_free_prism"

Side = Callable[[np.random.Generator], Any]


def _total(name: str, *, spiked: bool) -> Side:
    """Return the sum of the updates of a run, one of whose steps may be a spike."""

    def run(rng: np.random.Generator) -> Any:
        optimizer = production(name)(
            0.1, 10, raw_global_grad_clip=100.0, permissive_spike_protection=False
        )
        stream = [{"w": rng.standard_normal((3, 4))} for _ in range(2)]
        if spiked:
            stream.insert(1, {"w": np.full((3, 4), 1e6)})
        params = {"w": np.ones((3, 4))}
        state, update = optimizer.init(params), interpreted(optimizer.update)
        for gradients in stream:
            updates, state = update(gradients, state, params)
            params = {"w": params["w"] + updates["w"]}
        return params["w"]

    return run


def _traced(is_traced: bool, *names: str) -> Side:
    """Return the schedule at some steps, with numbers that are traced or not."""

    def run(rng: np.random.Generator) -> Any:
        del rng
        given = {"total_steps": 20, "warmup_fraction": 0.21, "decay_fraction": 0.33}

        def rates(traced: dict[str, Any]) -> Any:
            schedule = production(SCHEDULE)(0.5, **{**given, **traced})
            return [schedule(np.int32(count)) for count in (0, 2, 4, 10, 14, 15, 19)]

        return interpreted(rates)({name: given[name] for name in names if is_traced})

    return run


def _interpolated(is_traced: bool) -> Side:
    """Return the parameters after some steps with a b1 that is traced or a number."""

    def run(rng: np.random.Generator) -> Any:
        stream = [{"w": rng.standard_normal(4)} for _ in range(4)]

        def trained(b1: Any) -> Any:
            optimizer = production(SGD)(0.3, b1=b1)
            params = stream[0]
            state = optimizer.init(params)
            for gradients in stream:
                updates, state = optimizer.update(gradients, state, params)
                params = {"w": params["w"] + updates["w"]}
            return params

        return interpreted(trained)(0.75) if is_traced else interpreted(lambda: trained(0.75))()

    return run


CHECKS = (
    Equivalence(
        name=SGD,
        label="b1 that is traced = a number",
        left=_interpolated(True),
        right=_interpolated(False),
        budget=16.0,
        reason="x is kept, or recovered of y and z: a rounding over b1 in each of four steps",
    ),
    *(
        Equivalence(
            name=name,
            label="with a step that is skipped = without",
            left=_total(name, spiked=True),
            right=_total(name, spiked=False),
            budget=0.0,
            reason="a skipped step leaves parameters and state as they were",
        )
        for name in (KRON, PRISM)
    ),
    Equivalence(
        name=SCHEDULE,
        label="traced numbers = numbers",
        left=_traced(True, "total_steps", "warmup_fraction", "decay_fraction"),
        right=_traced(False),
        budget=1.0,
        reason="the same formula; one rounding where whole numbers were divided",
    ),
)
