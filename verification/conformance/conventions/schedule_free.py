"""Conventions of Schedule-Free: where the rate, the decay, the correction and eps stand."""

from verification.conformance.convention import Convention, Edit

__all__ = ["ADAMW", "SGD", "WRAPPER"]

_METHODS, _WRAPPER = "schedule_free.methods", "schedule_free.wrapper"
_SEQUENCES, _WEIGHTING = "schedule_free.sequences", "schedule_free.weighting"
_POINTS = 'state["z"],\n            state["params"],'
_NEXT_RATE = '_warmup(learning_rate, state["step_count"] + 1, warmup_steps)'

_WEIGHTS = (
    *(
        Convention(
            name=f"weights: {mode}",
            sentence=f"Iterates are weighted by the rate to the power {power}.",
            source=source,
            options={"weighting_mode": mode},
        )
        for power, (mode, source) in enumerate(
            {
                "theoretical": "arXiv 2405.15682v4, equation (5)",
                "schedulet": "arXiv 2511.07767v1",
                "practical": "arXiv 2405.15682v4, Algorithm 1",
            }.items()
        )
    ),
    Convention(
        name="power index shift",
        sentence="The polynomial weight of step k is k^r, not (k+1)^r.",
        edits=(Edit(_WEIGHTING, "(count + 1) ** averaging_power", "count**averaging_power"),),
    ),
    Convention(
        name="b1 is the share of z",
        sentence="y = b1 z + (1 - b1) x, not (1 - b1) z + b1 x.",
        edits=(Edit(_SEQUENCES, "return (1 - b1) * z + b1 * x", "return b1 * z + (1 - b1) * x"),),
    ),
    Convention(
        name="average of the iterates before their steps",
        sentence="x averages z_t where it should average z_{t+1}.",
        edits=(
            Edit(_METHODS, 'coefficient), state["x"], z)', 'coefficient), state["x"], state["z"])'),
            Edit(_WRAPPER, 'coefficient), state["x"], z)', 'coefficient), state["x"], state["z"])'),
        ),
    ),
)

SGD = (
    Convention(
        name="weight index shift",
        sentence="The iterate of a step is weighted by the rate of the next step.",
        source="optax.contrib.schedule_free 0.2",
        edits=(Edit(_METHODS, "_averaged(state, z, rate,", f"_averaged(state, z, {_NEXT_RATE},"),),
    ),
    Convention(
        name="warmup from zero",
        sentence="Step k, from 0, of a warmup of T steps has k / T of the rate, not (k+1) / T.",
        source="optax.warmup_constant_schedule from 0",
        edits=(Edit(_METHODS, "(count + 1) / warmup_steps", "count / warmup_steps"),),
    ),
    Convention(
        name="decay at z",
        sentence="Weight decay acts at z, the iterate that is stepped, not at y.",
        source="schedulefree 1.4.1, decay_at_z",
        edits=(Edit(_METHODS, "weight_decay * y)", "weight_decay * z)"),),
    ),
    Convention(
        name="decay at x",
        sentence="Weight decay acts at x, the average, not at y.",
        edits=(Edit(_METHODS, _POINTS, 'state["z"],\n            state["x"],'),),
    ),
    Convention(
        name="decay without the rate",
        sentence="Weight decay is not multiplied by the learning rate.",
        source="arXiv 1711.05101, Algorithm 2, with a schedule of 1",
        edits=(
            Edit(
                _METHODS,
                "rate * (direction + weight_decay * y)",
                "rate * direction - weight_decay * y",
            ),
        ),
    ),
    Convention(
        name="no decay", sentence="There is no weight decay.", options={"weight_decay": 0.0}
    ),
    *_WEIGHTS,
    Convention(
        name="opposite sign",
        sentence="Updates are added where the reference subtracts them.",
        edits=(Edit(_METHODS, "return z - rate", "return z + rate"),),
    ),
)

_DIRECTED = "gradient / (np.sqrt(nu / correction) + eps)"
_MOMENT = "        nu = map_leaves(lambda v, g: _second"
_IN_DENOMINATOR = {"bias_correction": "denominator"}

ADAMW = (
    *SGD,
    Convention(
        name="bias correction in the rate",
        sentence="sqrt(1 - b2^(k+1)) multiplies the rate, in the decay and the weights too.",
        source="arXiv 2405.15682v4, Algorithm 1",
        options={"bias_correction": "learning_rate"},
    ),
    Convention(
        name="bias correction in the denominator",
        sentence="The second moment is divided by 1 - b2^(k+1), and the rate stays as it is.",
        source="schedulefree 1.3 to 1.4.1",
        options=_IN_DENOMINATOR,
    ),
    Convention(
        name="bias correction in the step alone",
        sentence="sqrt(1 - b2^(k+1)) multiplies the direction, whose eps is added before.",
        source="arXiv 1412.6980, end of section 2",
        edits=(Edit(_METHODS, _DIRECTED, "gradient * correction**0.5 / (np.sqrt(nu) + eps)"),),
        options=_IN_DENOMINATOR,
    ),
    Convention(
        name="no bias correction",
        sentence="The second moment is not corrected for its start at zero.",
        source="AdamW of the released BERT",
        edits=(Edit(_METHODS, _DIRECTED, "gradient / (np.sqrt(nu) + eps)"),),
        options=_IN_DENOMINATOR,
    ),
    *(
        Convention(
            name=f"bias correction one step {when}",
            sentence=f"The exponent of the bias correction is the number of gradients {size}.",
            edits=(Edit(_METHODS, "1 - b2 ** (count + 1)", f"1 - b2 ** {exponent}"),),
        )
        for when, size, exponent in (
            ("late", "and one more", "(count + 2)"),
            ("early", "before this one, but not 0", "max(count, 1)"),
        )
    ),
    Convention(
        name="eps inside the root",
        sentence="The denominator is sqrt(v + eps).",
        source="optax.scale_by_rms, eps_in_sqrt",
        edits=(Edit(_METHODS, _DIRECTED, "gradient / np.sqrt(nu / correction + eps)"),),
        options=_IN_DENOMINATOR,
    ),
    Convention(
        name="square of eps inside the root",
        sentence="The denominator is sqrt(v + eps^2).",
        edits=(Edit(_METHODS, _DIRECTED, "gradient / np.sqrt(nu / correction + eps**2)"),),
        options=_IN_DENOMINATOR,
    ),
    Convention(
        name="decay in the gradient",
        sentence="Weight decay is added to the gradient, before the second moment.",
        source="torch.optim.Adam, weight_decay",
        edits=(
            Edit(
                _METHODS,
                _MOMENT,
                "        gradients = map_leaves(\n"
                '            lambda g, y: g + weight_decay * y, gradients, state["params"]\n'
                f"        )\n{_MOMENT}",
            ),
            Edit(_METHODS, "(direction + weight_decay * y)", "direction"),
        ),
    ),
)

WRAPPER = (
    Convention(
        name="weight index shift",
        sentence="The iterate of a step is weighted by the rate of the next step.",
        source="optax.contrib.schedule_free 0.2",
        edits=(
            Edit(_WRAPPER, "value_at(learning_rate, count)", "value_at(learning_rate, count + 1)"),
        ),
    ),
    Convention(
        name="weights by the largest rate",
        sentence="Iterates are weighted by the largest rate so far.",
        source="schedulefree 1.4.1; optax.contrib.schedule_free 0.2",
        options={"use_max_learning_rate": True},
    ),
    Convention(
        name="weights by the current rate",
        sentence="Iterates are weighted by the rate of their step.",
        source="arXiv 2405.15682v4; arXiv 2511.07767v1",
        options={"use_max_learning_rate": False},
    ),
    *_WEIGHTS,
)
