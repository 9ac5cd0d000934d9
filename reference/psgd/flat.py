"""What the methods share that take all parameters for one vector: flattening, and a whole step.

What sets a method apart is a `Family`: its factor Q, how Q is fitted, and P x. Momentum, the
probability of a fit, the initial scale and the limits are conventions of the released codes, each
a field of `Options`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from reference.guards import clip_by_global_norm, clip_by_global_rms, global_norm, spike_scale
from reference.optimizer import (
    Leaves,
    Optimizer,
    State,
    all_finite,
    keeps_dtype,
    map_leaves,
    value_at,
    zeros_like,
)
from reference.psgd.factor import lipschitz
from reference.psgd.fitting import damped, newton_scale, second_moment_scale, whitening_scale

__all__: list[str] = []

Number = float | Callable[[int], float]
Array = np.ndarray

ORDERS = ("tracked", "2nd", "1st")
# The number of vectors with which psgd_torch bounds a norm.
_PROBES = 32


class StepRule(NamedTuple):
    """How long a step of a fit is.

    Attributes:
        learning_rate: the step in relation to 1 / L.
        beta: the decay of L.
        order: "tracked", L is the running estimate of the smoothness ell; "2nd", L = ell alone;
            "1st", ell is the size of the gradient instead, and L = ell.
    """

    learning_rate: float
    beta: float = 0.9
    order: str = "tracked"

    def advance(self, previous: Array, ell: Array) -> tuple[Array, Array]:
        """Return L after `previous` and mu = learning_rate / L, which is 0 where L is."""
        if self.order == "tracked":
            ell = lipschitz(previous, ell, self.beta)
        rate = self.learning_rate / ell if ell > 0 else 0.0
        return np.asarray(ell, previous.dtype), np.asarray(rate, previous.dtype)


class FlatDraws(NamedTuple):
    """The random numbers of one step.

    Attributes:
        decision: uniform in [0, 1); the preconditioner is fitted below the probability.
        probe: v of a whitening fit, which is its noise too; zero mean, unit variance, shape (n,).
        noise: of the fits that need no probe, or are given v; the same kind, shape (n,).
        rotation_probes: standard normal rows, shape (k, n), for the norm of a rotation; with None
            the norm is exact.
        side: uniform in [0, 1); which of two factors moves.
        balance: uniform in [0, 1); whether they are balanced.
    """

    decision: float
    probe: Array
    noise: Array
    rotation_probes: Array | None
    side: float
    balance: float


class Flat:
    """The one real vector of a tree.

    The leaves by sorted name, each in C order; of a complex leaf all real parts, then all imaginary
    parts. Its dtype is float32, or float64 if a leaf has that precision.
    """

    def __init__(self, leaves: Leaves):
        self.leaves = dict(sorted(leaves.items()))
        self.size = sum((1 + np.iscomplexobj(leaf)) * leaf.size for leaf in leaves.values())
        self.dtype = np.dtype(np.float32)
        for leaf in leaves.values():
            self.dtype = np.promote_types(self.dtype, np.abs(np.zeros((), leaf.dtype)).dtype)

    def join(self, tree: Leaves) -> Array:
        """Return the vector of a tree."""
        pieces = [np.zeros(0, self.dtype)]
        for name, like in self.leaves.items():
            leaf = tree[name].ravel()
            pieces += [leaf.real, leaf.imag] if np.iscomplexobj(like) else [leaf]
        return np.concatenate([piece.astype(self.dtype) for piece in pieces])

    def split(self, vector: Array) -> Leaves:
        """Return the tree of a vector, in the dtypes of the leaves."""
        tree, start = {}, 0
        for name, leaf in self.leaves.items():
            stop = start + leaf.size
            piece = vector[start:stop]
            if np.iscomplexobj(leaf):
                start, stop = stop, stop + leaf.size
                piece = piece + 1j * vector[start:stop]
            tree[name] = piece.reshape(leaf.shape).astype(leaf.dtype)
            start = stop
        return tree


class Family(NamedTuple):
    """One method: what its Q is, and what is done with it.

    Attributes:
        fields: the names of its arrays in the state, those of Q and L.
        start: (n, dtype) -> the fields before the first fit, with L = 0.
        powers: for each field that the initial scale s of Q multiplies, the power of s that does.
        fitted: (fields, h, v, draws, rule) -> the fields after one step of the fit.
        apply: (fields, x) -> P x.
        probes: whether a whitening fit draws v; if not, v is integrated out and given as None.
        rotates: whether a fit uses the probes of a rotation.
    """

    fields: tuple[str, ...]
    start: Callable[[int, np.dtype], State]
    powers: Mapping[str, int]
    fitted: Callable[[State, Array, Any, FlatDraws, StepRule], State]
    apply: Callable[[State, Array], Array]
    probes: bool = True
    rotates: bool = False

    def rescaled(self, fields: State, scale: Array) -> State:
        """Return the fields with s Q for Q."""
        scaled = {name: _scaled(fields[name], scale**power) for name, power in self.powers.items()}
        return {**fields, **scaled}


class Options(NamedTuple):
    """The options of `scale_by_xmat`, `scale_by_lra` and `scale_by_dense_newton`; t is from 0.

    Attributes:
        preconditioner_update_probability: the probability of a fit, a number or a function of t.
        b1: the largest decay of the momentum; with 0, m_t = g_t.
        nesterov: whether the direction is of x_t = beta_{t+1} m_t + (1 - beta_{t+1}) g_t.
        precond_lr: the step of the fit, a number or a function of t.
        precond_init_scale: s of Q = s I; None takes it from the first gradient, or the first pair,
            that is not zero. The step that does is fitted in any case, unless
            `update_preconditioner` says otherwise. Until then Q stays.
        precond_init_moment: which moment such a scale is of: "4th" for `fitting.whitening_scale`
            and `newton_scale`, "2nd" for `fitting.second_moment_scale`.
        update_global_norm_clip: the largest norm of the direction; None is no limit.
        step_normalizer_order: one of `ORDERS`, see `StepRule`.
        beta_lipschitz: the decay of L.
        damping: see `fitting.damped`; None adds no noise.
        whiten_grad: whether Q is fitted to g, or to m.
        update_preconditioner_first: whether the direction uses the Q of this step's fit.
        preconditioner_update_interval: fit when t is a multiple; None decides by probability.
        grad_clip_max_amps: limits (root mean square, modulus of an entry) on the direction, of
            the one vector; one number r is (r, 10); None is no limit.
        raw_global_grad_clip: the largest norm of the whole gradient; None is no limit.
        permissive_spike_protection: whether a gradient over that limit is shortened instead of
            skipped.
        draws: a function of t that returns `FlatDraws`; None draws from `seed`.
        seed: of the numbers drawn here.
    """

    preconditioner_update_probability: Number = 1.0
    b1: float = 0.9
    nesterov: bool = False
    precond_lr: Number = 0.1
    precond_init_scale: float | None = None
    precond_init_moment: str = "4th"
    update_global_norm_clip: float | None = None
    step_normalizer_order: str = "tracked"
    beta_lipschitz: float = 0.9
    damping: float | None = 1e-9
    whiten_grad: bool = True
    update_preconditioner_first: bool = True
    preconditioner_update_interval: int | None = None
    grad_clip_max_amps: float | tuple[float, float] | None = None
    raw_global_grad_clip: float | None = None
    permissive_spike_protection: bool = True
    draws: Callable[[int], FlatDraws] | None = None
    seed: int = 0


class Direction(NamedTuple):
    """The preconditioned direction P x of all leaves; the parameters do not move.

    m_t = beta_t m_{t-1} + (1 - beta_t) g_t,  beta_t = min(t / (1 + t), b1),  x_t = m_t;
    Q moves in the steps that are decided;  u_t = clip(P x_t).

    The step of the optimizer also takes `vector` and `Hvp`, trees like the gradients, which make
    the fit a Newton fit (a pair that is not finite is not fitted), and `update_preconditioner`,
    which overrides the decision. State: "params", "mu", the fields of the family,
    "needs_scale_init", "count", and after a step "updates", the direction with positive sign and
    without learning rate. A step whose gradient is not finite, or is skipped, gives zero updates
    and changes nothing else.

    Attributes:
        family: the method.
        options: of the step.
    """

    family: Family
    options: Options

    def optimizer(self) -> Optimizer:
        """Return the optimizer; a ValueError if an option has no such name."""
        _allowed("step_normalizer_order", self.options.step_normalizer_order, ORDERS)
        _allowed("precond_init_moment", self.options.precond_init_moment, tuple(_SCALES))
        return Optimizer(self.init, self.step)

    def init(self, params: Leaves) -> State:
        """Return the state before the first step."""
        flat, scale = Flat(params), self.options.precond_init_scale
        fields = self.family.start(flat.size, flat.dtype)
        if scale is not None:
            fields = self.family.rescaled(fields, np.asarray(scale, flat.dtype))
        new = {"params": params, "mu": zeros_like(params), "count": 0, "skipped": False}
        return {**new, **fields, "needs_scale_init": scale is None}

    def step(
        self,
        state: State,
        gradients: Leaves,
        vector: Leaves | None = None,
        Hvp: Leaves | None = None,
        update_preconditioner: bool | None = None,
    ) -> State:
        """Return the state after one step."""
        if (vector is None) != (Hvp is None):
            raise ValueError("vector and Hvp are a pair; one of them is missing")
        pair = None if vector is None or Hvp is None else (vector, Hvp)
        options, count, total = self.options, state["count"], global_norm(list(gradients.values()))
        limit, permissive = options.raw_global_grad_clip, options.permissive_spike_protection
        scale = spike_scale(total, limit, permissive)
        if scale == 0:
            return {**state, "updates": zeros_like(gradients), "skipped": True}
        flat = Flat(gradients)
        if flat.size == 0:
            return {**state, "count": count + 1, "updates": gradients, "skipped": False}
        gradients = map_leaves(lambda g: _scaled(g, scale), gradients)
        decay, next_decay = (min(t / (1 + t), options.b1) for t in (count, count + 1))
        mu = map_leaves(lambda m, g: _mean(m, g, decay), state["mu"], gradients)
        ahead = mu
        if options.nesterov:
            ahead = map_leaves(lambda m, g: _mean(m, g, next_decay), mu, gradients)

        fitted = gradients if options.whiten_grad else mu
        drawn = options.draws(count) if options.draws else self._draw(count, flat)
        decided = self._decided(state, drawn.decision, update_preconditioner)
        before, after, pending = self._advanced(state, flat, fitted, pair, decided, drawn)
        used = after if options.update_preconditioner_first else before
        updates = flat.split(_clipped(self.family.apply(used, flat.join(ahead)), options))
        new = {"mu": mu, "count": count + 1, "updates": updates, "skipped": False}
        return {**state, **after, "needs_scale_init": pending, **new}

    def _advanced(
        self,
        state: State,
        flat: Flat,
        fitted: Leaves,
        pair: tuple[Leaves, Leaves] | None,
        decided: bool,
        drawn: FlatDraws,
    ) -> tuple[State, State, bool]:
        """Scale Q at the first chance, then fit it if that is decided.

        Returns:
            The fields of the family before the fit and after it, and whether the scale is pending.
        """
        options, family = self.options, self.family
        if pair is not None:
            decided = decided and all(map(all_finite, pair))
            v, h = map(flat.join, pair)
            ready = decided and bool(np.any(v != 0) and np.any(h != 0))
        else:
            v, h = None, flat.join(fitted)
            ready = decided and bool(np.any(h != 0))
        fields = {name: state[name] for name in family.fields}
        pending = state["needs_scale_init"]
        if pending and ready:
            scale = _SCALES[options.precond_init_moment](v, h, options.damping)
            fields, pending = family.rescaled(fields, scale), False
        if pending or not decided:
            return fields, fields, pending
        noise = drawn.noise
        if pair is None and family.probes:
            # The probe is its own noise.
            v = noise = drawn.probe.astype(h.dtype)
        if options.damping is not None:
            h = damped(h, noise.astype(h.dtype), options.damping)
        rate = value_at(options.precond_lr, state["count"])
        rule = StepRule(rate, options.beta_lipschitz, options.step_normalizer_order)
        return fields, family.fitted(fields, h, v, drawn, rule), pending

    def _decided(self, state: State, uniform: float, override: bool | None) -> bool:
        count, interval = state["count"], self.options.preconditioner_update_interval
        if override is not None:
            return bool(override)
        if state["needs_scale_init"]:
            return True
        if interval is not None:
            return count % interval == 0
        return bool(uniform < value_at(self.options.preconditioner_update_probability, count))

    def _draw(self, count: int, flat: Flat) -> FlatDraws:
        generator = np.random.default_rng([self.options.seed, count])
        decision, side, balance = generator.random(3)
        probe, noise = generator.standard_normal((2, flat.size))
        rows = generator.standard_normal((_PROBES, flat.size)) if self.family.rotates else None
        rotation = None if rows is None else rows.astype(flat.dtype)
        return FlatDraws(decision, probe, noise, rotation, side, balance)


class Descent(NamedTuple):
    """A step along a direction: W <- W - lr (u_t + weight_decay W).

    "updates" of the state is the change of the parameters. A step whose gradient is not finite, or
    is skipped, changes nothing, and its updates are zero: no decay either.

    Attributes:
        direction: the optimizer whose updates are u.
        learning_rate: lr, a number or a function of the step from 0.
        weight_decay: the decoupled decay.
        mask: whether a leaf decays, by name, or a function of the parameters that says so; with
            None all do.
    """

    direction: Optimizer
    learning_rate: Number
    weight_decay: float
    mask: Mapping[str, bool] | Callable[[Leaves], Mapping[str, bool]] | None

    def optimizer(self) -> Optimizer:
        """Return the optimizer."""
        return Optimizer(self.direction.init, self.step)

    def step(self, state: State, gradients: Leaves, *arguments, **options) -> State:
        """Return the state after one step; arguments as those of `Direction.step`."""
        take: Callable[..., State] = self.direction.step
        new = take(state, gradients, *arguments, **options)
        if new["skipped"]:
            return new
        params = state["params"]
        rate = value_at(self.learning_rate, state["count"])
        chosen = self.mask(params) if callable(self.mask) else self.mask
        updates = {}
        for name, parameter in params.items():
            decay = self.weight_decay if chosen is None or chosen[name] else 0.0
            updates[name] = _decayed_step(parameter, new["updates"][name], rate, decay)
        return {**new, "params": map_leaves(np.add, params, updates), "updates": updates}


def _allowed(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        names = ", ".join(repr(known) for known in allowed)
        raise ValueError(f"{name} is {value!r}; allowed are {names}")


# By the name of the moment, (v or None, h, damping) -> s.
_SCALES: dict[str, Callable[..., Array]] = {
    "4th": lambda v, h, damping: (
        whitening_scale([h], damping) if v is None else newton_scale([v], [h], damping)
    ),
    "2nd": lambda v, h, damping: second_moment_scale(None if v is None else [v], [h]),
}


@keeps_dtype
def _scaled(array: Array, scale: float) -> Array:
    return array * scale


@keeps_dtype
def _mean(mean: Array, gradient: Array, decay: float) -> Array:
    return decay * mean + (1 - decay) * gradient


@keeps_dtype
def _decayed_step(parameter: Array, direction: Array, rate: float, weight_decay: float) -> Array:
    return -rate * (direction + weight_decay * parameter)


def _clipped(vector: Array, options: Options) -> Array:
    """Limit root mean square and entries, then the norm, of the one vector."""
    both = options.grad_clip_max_amps
    if both is not None:
        (vector,) = clip_by_global_rms(
            [vector], *(both if isinstance(both, tuple) else (both, 10.0))
        )
    (vector,) = clip_by_global_norm([vector], options.update_global_norm_clip)
    return vector
