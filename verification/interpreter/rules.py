"""The primitives of JAX in NumPy.

A rule takes the parameters of the equation and its arguments, and returns its result, or None to
leave the equation to JAX. What is missing here is left to JAX as well.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

__all__ = ["RULES"]

Params = dict[str, Any]


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *given: function(*given)


def _over_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(params: Params, array: Any) -> Any:
        return function(array, axis=tuple(map(int, params["axes"])), dtype=array.dtype)

    return rule


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(params: Params, array: Any) -> Any:
        if not array.size or np.iscomplexobj(array):
            return None
        return function(array, axis=tuple(map(int, params["axes"])))

    return rule


def _is_whole(array: Any) -> bool:
    return array.dtype.kind in "iu"


def _div(params: Params, a: Any, b: Any) -> Any:
    return None if _is_whole(a) else np.divide(a, b)


def _pow(params: Params, a: Any, b: Any) -> Any:
    return None if _is_whole(a) else np.power(a, b)


def _integer_pow(params: Params, array: Any) -> Any:
    """Multiply as the compiler does, by repeated squaring."""
    left, result, square = abs(params["y"]), None, array
    while left:
        if left & 1:
            result = square if result is None else result * square
        left >>= 1
        square = square * square
    if result is None:
        return np.ones_like(array)
    return 1 / result if params["y"] < 0 else result


def _convert(params: Params, array: Any) -> Any:
    new = np.dtype(params["new_dtype"])
    if new.kind in "iu" and array.dtype.kind not in "iub":
        return None
    if new.kind != "c" and array.dtype.kind == "c":
        array = array.real
    return array.astype(new)


def _bitcast(params: Params, array: Any) -> Any:
    new = np.dtype(params["new_dtype"])
    return array.view(new) if new.itemsize == array.dtype.itemsize else None


def _broadcast(params: Params, array: Any, *dynamic: Any) -> Any:
    shape, kept = params["shape"], params["broadcast_dimensions"]
    between = [1] * len(shape)
    for size, axis in zip(np.shape(array), kept, strict=True):
        between[axis] = size
    return np.broadcast_to(np.reshape(array, between), shape)


def _reshape(params: Params, array: Any, *dynamic: Any) -> Any:
    return np.reshape(array, params["new_sizes"])


def _transpose(params: Params, array: Any) -> Any:
    return np.transpose(array, params["permutation"])


def _squeeze(params: Params, array: Any) -> Any:
    return np.squeeze(array, axis=tuple(map(int, params["dimensions"])))


def _concatenate(params: Params, *arrays: Any) -> Any:
    return np.concatenate(arrays, axis=params["dimension"])


def _stack(params: Params, *arrays: Any) -> Any:
    return np.stack(arrays, axis=params["axis"])


def _slice(params: Params, array: Any) -> Any:
    strides = params["strides"] or (1,) * array.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return array[tuple(slice(int(a), int(b), int(c)) for a, b, c in bounds)]


def _clamped(sizes: Any, shape: Any, starts: Any) -> tuple[slice, ...]:
    begins = [
        min(max(int(start), 0), whole - size)
        for start, whole, size in zip(starts, shape, sizes, strict=True)
    ]
    return tuple(slice(a, a + size) for a, size in zip(begins, sizes, strict=True))


def _dynamic_slice(params: Params, array: Any, *starts: Any) -> Any:
    return array[_clamped(params["slice_sizes"], array.shape, starts)]


def _dynamic_update(params: Params, array: Any, update: Any, *starts: Any) -> Any:
    changed = np.array(array)
    changed[_clamped(update.shape, array.shape, starts)] = update
    return changed


def _pad(params: Params, array: Any, filling: Any) -> Any:
    widths = params["padding_config"]
    if any(low < 0 or high < 0 or inside for low, high, inside in widths):
        return None
    outside = [(low, high) for low, high, _ in widths]
    return np.pad(array, outside, constant_values=np.asarray(filling)[()])


def _split(params: Params, array: Any) -> Any:
    ends = np.cumsum(params["sizes"])[:-1]
    return np.split(array, ends, axis=params["axis"])


def _rev(params: Params, array: Any) -> Any:
    return np.flip(array, tuple(map(int, params["dimensions"])))


def _iota(params: Params, *dynamic: Any) -> Any:
    shape, axis = params["shape"], params["dimension"]
    between = [1] * len(shape)
    between[axis] = shape[axis]
    numbers = np.arange(shape[axis], dtype=params["dtype"]).reshape(between)
    return np.broadcast_to(numbers, shape)


def _select(params: Params, which: Any, *cases: Any) -> Any:
    if which.dtype == bool and len(cases) == 2:
        return np.where(which, cases[1], cases[0])
    return np.choose(which, cases)


def _argument(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(params: Params, array: Any) -> Any:
        return function(array, axis=int(params["axes"][0])).astype(params["index_dtype"])

    return rule


def _cumsum(params: Params, array: Any) -> Any:
    axis = params["axis"]
    if params["reverse"]:
        return np.flip(np.cumsum(np.flip(array, axis), axis, dtype=array.dtype), axis)
    return np.cumsum(array, axis, dtype=array.dtype)


def _dot(params: Params, a: Any, b: Any) -> Any:
    (a_sum, b_sum), (a_batch, b_batch) = params["dimension_numbers"]
    a_free = [axis for axis in range(a.ndim) if axis not in (*a_sum, *a_batch)]
    b_free = [axis for axis in range(b.ndim) if axis not in (*b_sum, *b_batch)]
    batch, rows = [a.shape[i] for i in a_batch], [a.shape[i] for i in a_free]
    columns = [b.shape[i] for i in b_free]
    length = int(np.prod([a.shape[i] for i in a_sum]))
    dtype = params["preferred_element_type"] or a.dtype
    left = a.transpose([*a_batch, *a_free, *a_sum]).reshape(*batch, _size(rows), length)
    right = b.transpose([*b_batch, *b_sum, *b_free]).reshape(*batch, length, _size(columns))
    found = np.matmul(left.astype(dtype, copy=False), right.astype(dtype, copy=False))
    return found.reshape((*batch, *rows, *columns))


def _size(shape: list[int]) -> int:
    return functools.reduce(lambda x, y: x * y, shape, 1)


def _triangular_solve(params: Params, a: Any, b: Any) -> Any:
    transposes, conjugates = params["transpose_a"], params["conjugate_a"]
    lower = params["lower"]
    # From the right: X op(A) = B is op(A)^T X^T = B^T.
    from_left = params["left_side"]
    factor = a.conj() if conjugates else a
    if transposes == from_left:
        factor, lower = np.swapaxes(factor, -1, -2), not lower
    side = b if from_left else np.swapaxes(b, -1, -2)
    shape = side.shape
    flat = zip(factor.reshape(-1, *factor.shape[-2:]), side.reshape(-1, *shape[-2:]), strict=True)
    solve = functools.partial(
        scipy.linalg.solve_triangular,
        lower=lower,
        unit_diagonal=params["unit_diagonal"],
        check_finite=False,
    )
    try:
        found = np.stack([solve(one, other) for one, other in flat]).reshape(shape)
    except np.linalg.LinAlgError:
        return None
    return found if from_left else np.swapaxes(found, -1, -2)


def _platform(params: Params) -> Any:
    rows = params["platforms"]
    found = [index for index, row in enumerate(rows) if row is None or "cpu" in row]
    return np.int32(found[0])


def _shift(params: Params, a: Any, b: Any) -> Any:
    return None if a.dtype.kind != "u" else np.right_shift(a, b)


def _same(params: Params, value: Any) -> Any:
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "and": np.bitwise_and,
    "complex": lambda real, imag: real + 1j * imag,
    "conj": np.conj,
    "eq": np.equal,
    "exp": np.exp,
    "ge": np.greater_equal,
    "gt": np.greater,
    "imag": np.imag,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "real": np.real,
    "rem": np.fmod,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "xor": np.bitwise_xor,
}
RULES: dict[str, Callable[..., Any]] = {
    **{name: _elementwise(function) for name, function in FUNCTIONS.items()},
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "bitcast_convert_type": _bitcast,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "cumsum": _cumsum,
    "div": _div,
    "dot_general": _dot,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "integer_pow": _integer_pow,
    "iota": _iota,
    "optimization_barrier": lambda params, *given: list(given),
    "pad": _pad,
    "platform_index": _platform,
    "pow": _pow,
    "reduce_and": _over_axes(np.logical_and.reduce),
    "reduce_max": _extreme(np.max),
    "reduce_min": _extreme(np.min),
    "reduce_or": _over_axes(np.logical_or.reduce),
    "reduce_prod": _over_axes(np.prod),
    "reduce_sum": _over_axes(np.sum),
    "reshape": _reshape,
    "rev": _rev,
    "select_n": _select,
    "shift_right_logical": _shift,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "stop_gradient": _same,
    "transpose": _transpose,
    "triangular_solve": _triangular_solve,
}
