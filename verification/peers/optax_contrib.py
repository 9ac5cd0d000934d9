"""Optax's own Schedule-Free, and what its warmup does to the average.

`optax.contrib.schedule_free` counts steps from one where the base optimizer counts from zero. So
the rate that weights an iterate is that of the step after the one that made it. Without a schedule
both are the same number; with a warmup from zero the first step has length zero and weight all the
same. Three claims separate this from other causes: without warmup all agree; with the same base
optimizer and the same schedule they differ; and if our weights are taken one step late, they agree
again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax

import rollfast
from verification.peers.checks import Check, Peer
from verification.peers.parties import OptaxRunner, both, production_of
from verification.peers.trajectories import Start

WARMUP = 20
COMMON = {"weight_decay": 0.05}
OPTIONS: dict[str, dict[str, Any]] = {
    "schedule_free_sgd": {"learning_rate": 0.5, "b1": 0.85, **COMMON},
    "schedule_free_adamw": {
        "learning_rate": 0.004,
        "b1": 0.95,
        "b2": 0.99,
        "eps": 1e-6,
        **COMMON,
    },
}
LATE = "the iterate of a step is weighted by the rate of the next step"


def checks() -> list[Check]:
    """No warmup, warmup, and the cause of the difference, for both methods."""
    return [check for method in OPTIONS for check in (_constant(method), _warmup(method))] + [
        _same_schedule(method, lateness) for method in OPTIONS for lateness in (0, 1)
    ]


def _constant(method: str) -> Check:
    options = OPTIONS[method]
    return Check(
        method=method,
        options="no warmup, decay 0.05",
        peer=_peer(partial(getattr(optax.contrib, method), **options)),
        ours=both(method, options),
        note="without a schedule the two rates are one number",
    )


def _warmup(method: str) -> Check:
    options = {**OPTIONS[method], "warmup_steps": WARMUP}
    return Check(
        method=method,
        options=f"warmup {WARMUP}, decay 0.05",
        peer=_peer(partial(getattr(optax.contrib, method), **options)),
        ours=both(method, options),
        agrees=False,
        note=f"the warmup starts at a rate of zero, and {LATE}",
    )


def _same_schedule(method: str, lateness: int) -> Check:
    """Both wrappers around one base optimizer and one schedule, our weights `lateness` late."""
    options = OPTIONS[method]
    rate = optax.warmup_constant_schedule(0.0, options["learning_rate"], WARMUP)
    build: Callable[..., Any] = partial(
        rollfast.schedule_free,
        b1=options["b1"],
        weighting_mode="practical",
        use_max_learning_rate=True,
    )
    return Check(
        method=f"schedule_free around {method.removeprefix('schedule_free_')}",
        options=f"same schedule, our weights {lateness} late",
        peer=_peer(lambda: optax.contrib.schedule_free(_base(method, rate), rate, options["b1"])),
        ours={
            "production": production_of(
                lambda: build(_base(method, rate), lambda count: rate(count + lateness))
            )
        },
        agrees=lateness == 1,
        note=LATE,
    )


def _base(method: str, rate: optax.Schedule) -> optax.GradientTransformation:
    options = OPTIONS[method]
    scaling = optax.identity()
    if method == "schedule_free_adamw":
        scaling = optax.scale_by_rms(
            options["b2"], options["eps"], eps_in_sqrt=False, bias_correction=True
        )
    return optax.chain(
        scaling,
        optax.add_decayed_weights(options["weight_decay"]),
        optax.scale_by_learning_rate(rate),
    )


def _peer(build: Callable[[], optax.GradientTransformation]) -> Start:
    return partial(OptaxRunner, build, optax.contrib.schedule_free_eval_params)


PEER = Peer("optax.contrib", ("optax",), checks)
