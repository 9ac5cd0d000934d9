"""Conventions of PRISM and Muon: momentum, look-ahead, factors of the shape, other leaves."""

from verification.conformance.convention import Convention, Edit

__all__ = ["DIRECTION", "WHOLE"]

_PRISM, _SHAPING = "prism.prism", "prism.shaping"
_JORDAN, _OPTAX = "K. Jordan, Muon (code)", "optax.contrib.muon 0.2"
_SHAPED = "direction = _shape_tensor(target, shaping.innovation(gradient, mean), axes, options)"


def _shape_factor(name: str, sentence: str, source: str, factor: str) -> Convention:
    """Return the row of a factor of the shape of a matrix."""
    return Convention(
        name=name,
        sentence=f"The shaped direction is multiplied by {sentence}.",
        source=source,
        edits=(
            Edit(
                _PRISM,
                _SHAPED,
                f"{_SHAPED}\n"
                "        rows, columns = to_matrices(gradient, *axes).shape[-2:]\n"
                f"        direction = direction * {factor}",
            ),
        ),
    )


_MOMENTUM = (
    Convention(
        name="corrected momentum",
        sentence="The momentum is freed of its start at zero, with b1^(t+1) in the look-ahead.",
        source=_OPTAX,
        options={"bias_correction": True},
    ),
    Convention(
        name="plain momentum",
        sentence="The momentum is not corrected for its start at zero.",
        source=_JORDAN,
        options={"bias_correction": False},
    ),
    Convention(
        name="corrected momentum, look-ahead at t",
        sentence="The momentum is freed of its start at zero, with b1^t in the look-ahead.",
        edits=(Edit(_SHAPING, "(1 - b1 ** (count + 1))", "(1 - b1**count)"),),
        options={"bias_correction": True},
    ),
    Convention(
        name="no look-ahead",
        sentence="The momentum is not Nesterov's.",
        source="arXiv 2602.03096; the option nesterov of K. Jordan's Muon",
        options={"nesterov": False},
    ),
    Convention(
        name="look-ahead before the shaping",
        sentence="The momentum is Nesterov's, before the shaping.",
        source=_JORDAN,
        options={"nesterov": True, "shape_nesterov": True},
    ),
    Convention(
        name="look-ahead after the shaping",
        sentence="The momentum is Nesterov's, after the shaping.",
        source="rollfast 0.1.0, shape_nesterov",
        options={"nesterov": True, "shape_nesterov": False},
    ),
    Convention(
        name="momentum is a running sum",
        sentence="M = b1 M + G, and b1 M + G ahead, without the factor 1 - b1.",
        source="torch.optim.SGD, which the first Muon followed",
        edits=(
            Edit(
                _PRISM,
                'shaping.momentum(state["mu"][name], gradient, options.b1)',
                'options.b1 * state["mu"][name] + gradient',
            ),
            Edit(
                _PRISM,
                'shaping.momentum(state["mu"][name], gradient, b1)',
                'b1 * state["mu"][name] + gradient',
            ),
            Edit(
                _SHAPING,
                "return b1 * momentum + (1 - b1) * gradient",
                "return b1 * momentum + gradient",
            ),
        ),
    ),
    Convention(
        name="momentum starts at the first gradient",
        sentence="M_1 = G_1, not (1 - b1) G_1.",
        source="torch.optim.SGD, momentum buffer",
        edits=(
            Edit(
                _PRISM,
                'shaping.momentum(state["mu"][name], gradient,',
                'shaping.momentum(state["mu"][name] if count > 1 else gradient, gradient,',
            ),
        ),
    ),
)

DIRECTION = (
    *_MOMENTUM,
    *(
        Convention(
            name=f"eps of {eps:g} in the norm",
            sentence=f"{eps:g} is added to the norm that the iteration divides by.",
            source=source,
            options={"eps": eps},
        )
        for eps, source in ((0.0, "arXiv 2602.03096"), (1e-7, _JORDAN), (1e-8, _OPTAX))
    ),
    _shape_factor(
        "scaled by sqrt(max(1, columns / rows))",
        "sqrt(max(1, outputs / inputs)), matrices being (inputs, outputs)",
        _OPTAX,
        "max(1, columns / rows) ** 0.5",
    ),
    _shape_factor(
        "scaled by sqrt(max(1, rows / columns))",
        "sqrt(max(1, outputs / inputs)), matrices being (outputs, inputs)",
        _JORDAN,
        "max(1, rows / columns) ** 0.5",
    ),
    _shape_factor(
        "scaled by 0.2 sqrt(max(rows, columns))",
        "0.2 sqrt(max(rows, columns)), which gives entries of AdamW's size",
        "arXiv 2502.16982",
        "0.2 * max(rows, columns) ** 0.5",
    ),
    Convention(
        name="innovation stacked along the columns",
        sentence="The innovation is stacked beside the momentum, not below it.",
        source="layers whose matrices are (outputs, inputs)",
        edits=(Edit(_PRISM, "return (0, 1) if", "return (1, 0) if"),),
    ),
    Convention(
        name="no limit on the direction",
        sentence="Neither the root mean square nor the entries of the direction are limited.",
        source="arXiv 2602.03096",
        options={"grad_clip_max_amps": None},
    ),
)

_STEP = "-learning_rate * (direction + weight_decay * parameter)"
_DECAYED = "_decayed_step(parameter, direction, rate, weight_decay)"
_MOMENTS = 'return {"adam_mu": mu, "adam_nu": nu}, _adam_direction'
_GRADIENT, _AXES = "_scaled(gradients[name], scale)", "\n            axes = _axes(name, parameter"
_RATE = 'learning_rate, state["count"])'

WHOLE = (
    *DIRECTION,
    Convention(
        name="decay without the rate",
        sentence="Weight decay is not multiplied by the learning rate.",
        source="arXiv 1711.05101, Algorithm 2, with a schedule of 1",
        edits=(Edit(_PRISM, _STEP, "-learning_rate * direction - weight_decay * parameter"),),
    ),
    Convention(
        name="decay in the gradient",
        sentence="Weight decay is added to the gradient.",
        source="torch.optim.Adam and torch.optim.SGD, weight_decay",
        edits=(
            Edit(_PRISM, _GRADIENT + _AXES, f"{_GRADIENT} + weight_decay * parameter{_AXES}"),
            Edit(_PRISM, _STEP, "-learning_rate * direction"),
        ),
    ),
    Convention(
        name="decay of matrices alone",
        sentence="Leaves that are not matrices do not decay.",
        source=_OPTAX,
        edits=(Edit(_PRISM, _DECAYED, f"{_DECAYED[:-1]} if axes is not None else 0.0)"),),
    ),
    Convention(
        name="no decay", sentence="There is no weight decay.", options={"weight_decay": 0.0}
    ),
    Convention(
        name="Adam looks ahead",
        sentence="The first moment of the leaves that are not matrices is Nesterov's.",
        source=_OPTAX,
        edits=(
            Edit(
                _PRISM,
                f"{_MOMENTS}(mu, nu, count, options)",
                "ahead = shaping.corrected_nesterov(mu, gradient, options.b1, count)\n"
                "    ahead = ahead * (1 - options.b1**count)\n"
                f"    {_MOMENTS}(ahead, nu, count, options)",
            ),
        ),
    ),
    Convention(
        name="eps inside the root of Adam",
        sentence="The denominator of the leaves that are not matrices is sqrt(v + eps).",
        source="optax.scale_by_adam, eps_root",
        edits=(Edit(_PRISM, "(np.sqrt(nu_hat) + options.eps)", "np.sqrt(nu_hat + options.eps)"),),
    ),
    Convention(
        name="Adam without bias correction",
        sentence="Neither moment of the leaves that are not matrices is corrected for its start.",
        source="AdamW of the released BERT",
        edits=(
            Edit(_PRISM, "mu_hat = mu / (1 - options.b1**count)", "mu_hat = mu"),
            Edit(_PRISM, "nu_hat = nu / (1 - options.b2**count)", "nu_hat = nu"),
        ),
    ),
    *(
        Convention(
            name=f"rate of the step {when}",
            sentence=f"A step uses the learning rate of the step {when}.",
            edits=(Edit(_PRISM, _RATE, f"learning_rate, {index})"),),
        )
        for when, index in (
            ("after", 'state["count"] + 1'),
            ("before", 'max(state["count"] - 1, 0)'),
        )
    ),
    Convention(
        name="opposite sign",
        sentence="Updates are added where the reference subtracts them.",
        edits=(Edit(_PRISM, "return -learning_rate", "return learning_rate"),),
    ),
)
