"""Conventions of PSGD as a whole, and of the warmup-stable-decay schedule."""

from verification.conformance.convention import Convention, Edit

__all__ = ["PSGD", "PSGD_DIRECTION", "PSGD_WITHOUT_MOMENTUM", "WSD"]

_SCHEDULES, _MODULES = "schedules", ("psgd.step", "psgd.flat")


def _either(old: str, new: str) -> tuple[Edit, ...]:
    """Return the edit for whichever of the two steps a method takes."""
    return tuple(Edit(module, old, new) for module in _MODULES)


PSGD_DIRECTION = (
    Convention(
        name="direction before the fit",
        sentence="The direction uses the preconditioner of the step before.",
        source="psgd_torch, update_preconditioner_first",
        options={"update_preconditioner_first": False},
    ),
    Convention(
        name="fitted to the momentum",
        sentence="The preconditioner is fitted to the momentum, not to the gradient.",
        source="psgd_torch, whiten_grad",
        options={"whiten_grad": False},
    ),
    Convention(
        name="no limit on the direction",
        sentence="Neither the root mean square nor the entries of the direction are limited.",
        source="psgd_torch, with limits that are infinite",
        options={"grad_clip_max_amps": None},
    ),
)

_STEP = "(direction + weight_decay * parameter)"

PSGD = (
    *PSGD_DIRECTION,
    Convention(
        name="no decay", sentence="There is no weight decay.", options={"weight_decay": 0.0}
    ),
    Convention(
        name="decay without the rate",
        sentence="Weight decay is not multiplied by the learning rate.",
        source="arXiv 1711.05101, Algorithm 2, with a schedule of 1",
        edits=(
            Edit(
                "psgd.step",
                f"-learning_rate * {_STEP}",
                "-learning_rate * direction - weight_decay * parameter",
            ),
            Edit("psgd.flat", f"-rate * {_STEP}", "-rate * direction - weight_decay * parameter"),
        ),
    ),
    Convention(
        name="rate of the next step",
        sentence="A step uses the learning rate of the next step.",
        edits=_either('learning_rate, state["count"])', 'learning_rate, state["count"] + 1)'),
    ),
    Convention(
        name="opposite sign",
        sentence="Updates are added where the reference subtracts them.",
        edits=(
            Edit("psgd.step", "return -learning_rate", "return learning_rate"),
            Edit("psgd.flat", "return -rate", "return rate"),
        ),
    ),
)

PSGD_WITHOUT_MOMENTUM = tuple(one for one in PSGD if "momentum" not in one.name)

WSD = (
    Convention(
        name="warmup from zero",
        sentence="The first step has a rate of zero, and step T_w the whole one.",
        source="optax.warmup_constant_schedule from 0",
        edits=(
            Edit(
                _SCHEDULES,
                "peak_lr * (count + 1) / (warmup_end + 1)",
                "peak_lr * count / max(warmup_end, 1)",
            ),
        ),
    ),
    Convention(
        name="decay to zero",
        sentence="The last step has a rate of zero.",
        source="optax.linear_schedule to 0",
        edits=(
            Edit(
                _SCHEDULES,
                "(last - count + 1) / (last - decay_start + 1)",
                "(last - count) / (last - decay_start)",
            ),
        ),
    ),
    Convention(
        name="root decay",
        sentence="The decay is 1 - sqrt(1 - s).",
        source="arXiv 2405.18392",
        options={"decay_shape": "sqrt"},
    ),
    Convention(
        name="linear decay",
        sentence="The decay is s.",
        source="arXiv 2511.07767v1",
        options={"decay_shape": "linear"},
    ),
    *(
        Convention(
            name=f"one step {when}",
            sentence=f"Step t has the rate of step t {change}.",
            edits=(
                Edit(
                    _SCHEDULES,
                    "        if count <= warmup_end:",
                    f"        count = max(count {change}, 0)\n        if count <= warmup_end:",
                ),
            ),
        )
        for when, change in (("early", "+ 1"), ("late", "- 1"))
    ),
)
