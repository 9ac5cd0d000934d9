"""State and random numbers of a preconditioner of one vector, carried from side to side."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reference.psgd.state import Layout, Structure
from verification import registry
from verification.interpreter import interprets
from verification.preconditioners import CHUNK, SEED, Draws, Preconditioned, quickly
from verification.problems import problem
from verification.problems.matrices import gaussian
from verification.problems.tensor_quadratic import hessian_product
from verification.states import counters, stored
from verification.trajectory import Field, Trajectory, updated_params

__all__ = [
    "DENSE",
    "LRA",
    "XMAT",
    "AffinePreconditioned",
    "Method",
    "VectorDraws",
    "annealed",
    "every_third",
    "first_two_zero",
    "hessian_pair",
    "side_of",
    "spoiled",
    "trajectory",
]


def side_of(function: Callable[..., Any]) -> Callable[[str], Any]:
    """Return what finds a dotted name on the side that a function is of."""
    return registry.reference if "reference" in function.__module__ else registry.production


def annealed(count: Any) -> Any:
    """Return a rate that falls."""
    return 0.3 / (1.0 + 0.02 * count)


def hessian_pair(params: dict[str, Any], step: int) -> dict[str, Any]:
    """Return a vector and its product with the Hessian of the quadratic over tensors."""
    rng = np.random.default_rng([3, step])
    vector = {
        leaf: gaussian(rng, np.shape(value), np.iscomplexobj(value))
        for leaf, value in sorted(params.items())
    }
    return {"vector": vector, "Hvp": hessian_product(0, vector)}


def every_third(params: dict[str, Any], step: int) -> dict[str, Any]:
    """Ask for a fit in one of three steps."""
    del params
    return {"update_preconditioner": step % 3 == 1}


def spoiled(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make one step's gradient a spike and another's not a number."""
    factor = {6: 1e6, 9: np.nan}.get(step, 1.0)
    return {name: gradient * factor for name, gradient in gradients.items()}


def first_two_zero(gradients: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Make the first gradients zero."""
    return {name: gradient * (step > 1) for name, gradient in gradients.items()}


class VectorDraws:
    """The numbers that production draws for one vector in a step, for the reference."""

    def __init__(self, size: int, rotates: bool):
        """Keep what there is to draw.

        Args:
            size: Entries of the vector.
            rotates: Whether the geometry takes probes.
        """
        self._kind = (size, rotates)

    def __call__(self, count: int) -> Any:
        """Return the draws of a step."""
        wide = bool(jax.config.read("jax_enable_x64"))
        draw = registry.production("psgd.draws.draw_flat_step")
        chunk = _drawn(draw, *self._kind, wide, interprets(), count // CHUNK)
        return jax.tree.map(lambda array: array[count % CHUNK], chunk)


@cache
def _drawn(
    draw: Callable[..., Any], size: int, rotates: bool, wide: bool, interprets: bool, chunk: int
) -> Any:
    counts = jnp.arange(chunk * CHUNK, (chunk + 1) * CHUNK)
    key = jax.random.PRNGKey(SEED)
    dtype = jnp.dtype("float64" if wide else "float32")
    together = jax.vmap(lambda count: draw(key, count, size, dtype, rotates))
    return jax.tree.map(np.asarray, quickly(together, interprets)(counts))


class Method(NamedTuple):
    """A method whose preconditioner is that of one vector.

    Attributes:
        scale: Dotted name of the transformation.
        alias: Dotted name of the whole optimizer.
        fields: From the condition of the factor to the fields of the preconditioner.
        starts: Whether the factor starts at random.
    """

    scale: str
    alias: str
    fields: Callable[[float], tuple[Field, ...]]
    starts: bool = False


def _both_sides(method: Method, task: str, options: dict[str, Any]) -> Callable[..., Any]:
    """Return what builds either side of a method, see `Trajectory`."""
    params = problem(task, 0).initial_parameters()
    size = sum(leaf.size * (2 if np.iscomplexobj(leaf) else 1) for leaf in params.values())
    mode = options.get("preconditioner_mode", "Q0.5EQ1.5")

    def build(factory: Callable[..., Any], is_production: bool) -> Any:
        if is_production:
            return factory(**options, seed=SEED)
        rotates = bool(registry.production("psgd.geometry.geometry")(mode).rotates)
        more: dict[str, Any] = {"draws": VectorDraws(size, "dense" in method.scale and rotates)}
        if method.starts:
            arrays = {name: jnp.asarray(leaf) for name, leaf in params.items()}
            name = method.scale if "learning_rate" not in options else method.alias
            state = registry.production(name)(**options, seed=SEED).init(arrays)
            more["start"] = _sides(optax.tree.get(state, "rows"))
        return factory(**options, **more)

    return build


def trajectory(
    method: Method,
    label: str,
    task: str = "few_tensors",
    *,
    budget: float = 16.0,
    reason: str = "products with P and a fit, whose condition numbers are some tens",
    condition: float = 1.0,
    run: Mapping[str, Any] | None = None,
    **options: Any,
) -> Trajectory:
    """Return a trajectory of a method, of the whole optimizer where a learning rate is given.

    Args:
        method: Of one vector.
        label: See `Trajectory`.
        task: Name of the problem.
        budget: See `Trajectory`.
        reason: See `Trajectory`.
        condition: Of the factor.
        run: Further fields of the trajectory; `leave` names fields that are not compared.
        **options: Of both sides.
    """
    further = {"dtypes": ("float64",), "steps": 30, "free": False, **(run or {})}
    left = further.pop("leave", ())
    whole = "learning_rate" in options
    fields = [Field("updates", lambda state, params, updates: updates)]
    if whole:
        fields.insert(0, Field("params", updated_params))
    if options.get("b1", 0.9):
        fields.append(stored("mu"))
    if options.get("precond_init_scale") is None:
        fields.append(_flag("needs_scale_init"))
    kept = [item for item in method.fields(condition) if item.name not in left]
    return Trajectory(
        name=method.alias if whole else method.scale,
        label=label,
        problem=task,
        build=_both_sides(method, task, options),
        fields=(*fields, *kept, counters("count", "count")),
        budget=budget,
        reason=reason,
        **further,
    )


def _flag(name: str) -> Field:
    def read(state: Any, params: Any, updates: Any) -> Any:
        del params, updates
        return float(optax.tree.get(state, name))

    def write(state: Any, value: Any) -> Any:
        return optax.tree.set(state, **{name: jnp.asarray(bool(value))})

    return Field(name, read, write)


def _conditioned(*names: str) -> Callable[[float], tuple[Field, ...]]:
    """Return fields that both sides keep alike, L last."""

    def fields(condition: float) -> tuple[Field, ...]:
        return tuple(stored(name, condition=lambda leaf: condition) for name in names)

    return fields


def _sides(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (U, V) of the rows that production keeps."""
    array = np.asarray(rows)
    rank = len(array) // 2
    return array[:rank].T, array[rank:].T


def _low_rank_fields(condition: float) -> tuple[Field, ...]:
    return (*(_side(name, condition) for name in "UV"), *_conditioned("d", "L")(condition))


def _side(name: str, condition: float) -> Field:
    """Return U or V, half of the rows of production, beside which their Gram matrix is kept."""
    number = "UV".index(name)

    def read(state: Any, params: Any, updates: Any) -> Any:
        del params, updates
        return _sides(optax.tree.get(state, "rows"))[number]

    def write(state: Any, value: Any) -> Any:
        old = optax.tree.get(state, "rows")
        both = list(_sides(old))
        both[number] = np.asarray(value)
        rows = np.concatenate([side.T for side in both])
        return optax.tree.set(
            state, rows=jnp.asarray(rows, old.dtype), gram=jnp.asarray(rows @ rows.T, old.dtype)
        )

    return Field(name, read, write, lambda leaf: condition)


XMAT = Method("psgd.xmat.scale_by_xmat", "psgd.xmat.xmat", _conditioned("a", "b", "L"))
LRA = Method(
    "psgd.lra.scale_by_lra", "psgd.lra.low_rank_approximation", _low_rank_fields, starts=True
)
DENSE = Method(
    "psgd.dense.scale_by_dense_newton", "psgd.dense.dense_newton", _conditioned("Q", "L")
)


class AffinePreconditioned(Preconditioned):
    """Triangular Kronecker factors, under the names that the method gives its options."""

    def __init__(self, params: Mapping[str, Any], **options: Any):
        """Keep the options.

        Args:
            params: Of the problem.
            options: Of both sides.
        """
        super().__init__(
            params,
            preconditioner_mode="EQ",
            preconditioner_init_scale=options.get("precond_init_scale"),
            track_lipschitz=options.get("step_normalizer_order", "tracked") == "tracked",
        )
        self._given = options
        structure = Structure(
            options.get("max_size_triangular", 4096),
            options.get("max_skew_triangular", 128),
            1,
            None,
            frozenset(),
            None,
            None,
            options.get("matricize", False),
        )
        self._layout = Layout(dict(params), structure)

    def build(self, factory: Callable[..., Any], is_production: bool) -> Any:
        """Return the optimizer of one side, see `Trajectory`."""
        if is_production:
            return factory(**self._given, seed=SEED)
        slices = tuple(
            (block.shape, block.dense, bool(np.issubdtype(dtype, np.complexfloating)))
            for block, dtype in self._layout.blocks()
        )
        noisy = self._given.get("damping", 1e-9) is not None
        return factory(**self._given, draws=Draws(slices, "EQ", noisy))
