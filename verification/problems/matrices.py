"""Named inputs for kernels: matrices with prescribed spectra, and scalars, vectors and tensors.

A sample depends on the generator's seed and on its own label only, never on which other samples
were asked for, so a failure can be replayed alone.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = ((12, 8), (8, 12), (8, 8), (1, 7), (7, 1))
CHEAP_SHAPES: tuple[Shape, ...] = ((12, 8), (8, 12), (1, 7))
SCALES = (1e-20, 1.0, 1e20)
KINDS = ("gaussian", "graded", "rank-one", "repeated", "near-singular")

SMALLEST_GRADED = 1e-6
NEARLY_ZERO = 1e-10


class Sample(NamedTuple):
    """One input: a label that is unique within its generator, and the array."""

    label: str
    value: np.ndarray


def spectrum(kind: str, size: int) -> np.ndarray:
    """Singular values, in decreasing order, of a sample of this kind before scaling.

    Args:
        kind: One of `KINDS` except "gaussian", whose spectrum is random.
        size: Number of singular values, the shorter side of the matrix.

    Returns:
        Array of shape (size,), largest entry 1.

    Raises:
        ValueError: If the kind has no prescribed spectrum.
    """
    if kind == "graded":
        return np.geomspace(1.0, SMALLEST_GRADED, size)
    if kind == "rank-one":
        return np.eye(1, size)[0]
    if kind == "repeated":
        return np.where(np.arange(size) < (size + 1) // 2, 1.0, 0.5)
    if kind == "near-singular":
        values = np.linspace(1.0, 0.5, size)
        values[-1] = NEARLY_ZERO if size > 1 else 1.0
        return values
    raise ValueError(f"kind is {kind!r}; a prescribed spectrum exists for {KINDS[1:]}")


def matrices(
    rng: np.random.Generator,
    shapes: Sequence[Shape] | None = None,
    complex_values: Sequence[bool] = (False, True),
    cheap: bool = False,
) -> Iterator[Sample]:
    """Matrices U diag(s) V^H of every kind in `KINDS` at every scale in `SCALES`.

    A matrix with one row or column has a single singular value, so for it only the gaussian kind
    is made: the others would repeat it.

    Args:
        rng: Source of one seed; the same seed and label give the same matrix.
        shapes: Shapes (rows, columns); by default `SHAPES`, or `CHEAP_SHAPES` if cheap.
        complex_values: Whether entries are complex, each value in turn.
        cheap: Give each shape only one of `complex_values`, in rotation, so that few pairs of
            shape and dtype (each a compilation) cover all kinds and scales, real and complex.

    Returns:
        Iterator of samples in float64 or complex128.
    """
    if shapes is None:
        shapes = CHEAP_SHAPES if cheap else SHAPES
    return _samples(rng, _layouts(shapes, complex_values, cheap), _matrix_kinds, _matrix)


def tensors(
    rng: np.random.Generator,
    shapes: Sequence[Shape] = ((), (5,), (4, 3), (2, 4, 3), (3, 3, 2, 4)),
    complex_values: Sequence[bool] = (False, True),
    cheap: bool = False,
) -> Iterator[Sample]:
    """Dense tensors, gaussian and graded (moduli spread over 1 to 1e-6), at every scale.

    Args:
        rng: Source of one seed; the same seed and label give the same tensor.
        shapes: Shapes of any rank; () makes a scalar array.
        complex_values: Whether entries are complex, each value in turn.
        cheap: As in `matrices`.

    Returns:
        Iterator of samples in float64 or complex128.
    """
    return _samples(rng, _layouts(shapes, complex_values, cheap), _tensor_kinds, _tensor)


def vectors(
    rng: np.random.Generator,
    lengths: Sequence[int] = (1, 7, 16),
    complex_values: Sequence[bool] = (False, True),
    cheap: bool = False,
) -> Iterator[Sample]:
    """Vectors, gaussian and graded, at every scale; see `tensors`."""
    return tensors(rng, [(length,) for length in lengths], complex_values, cheap)


def scalars(
    rng: np.random.Generator, complex_values: Sequence[bool] = (False, True)
) -> Iterator[Sample]:
    """Arrays of shape () at every scale; see `tensors`."""
    return tensors(rng, [()], complex_values)


def gaussian(rng: np.random.Generator, shape: Shape, is_complex: bool) -> np.ndarray:
    """Standard normal entries; in the complex case real and imaginary parts each are."""
    real = np.asarray(rng.standard_normal(shape))
    return real + 1j * rng.standard_normal(shape) if is_complex else real


def round_to(sample: Sample, dtype: Any) -> Sample | None:
    """The sample rounded to a narrower dtype, or None where that dtype cannot hold it.

    A complex sample becomes the complex type of the same precision. None is returned if there is
    no such type (bfloat16, float16), or if the largest modulus lies outside the dtype's normal
    range: the sample would then test the rounding of inputs and nothing else.

    Args:
        sample: A float64 or complex128 sample.
        dtype: "float64", "float32", "bfloat16", or any real floating dtype.

    Returns:
        A sample with the same label whose array has the new dtype.
    """
    target, limits = _floating_type(dtype)
    if np.iscomplexobj(sample.value):
        if target not in _COMPLEX_TYPES:
            return None
        target = _COMPLEX_TYPES[target]
    largest = np.max(np.abs(sample.value))
    if not float(limits.tiny) <= largest <= float(limits.max):
        return None
    return Sample(sample.label, sample.value.astype(target))


_COMPLEX_TYPES: dict[np.dtype, np.dtype] = {
    np.dtype(np.float32): np.dtype(np.complex64),
    np.dtype(np.float64): np.dtype(np.complex128),
}


def _floating_type(dtype: Any) -> tuple[np.dtype, Any]:
    # NumPy knows bfloat16 neither by name nor in finfo, and its users should not need ml_dtypes.
    if str(dtype) == "bfloat16" or getattr(dtype, "__name__", "") == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16), ml_dtypes.finfo(ml_dtypes.bfloat16)
    return np.dtype(dtype), np.finfo(dtype)


def _layouts(
    shapes: Sequence[Shape], complex_values: Sequence[bool], cheap: bool
) -> list[tuple[Shape, bool]]:
    if not cheap:
        return list(product(shapes, complex_values))
    return [(shape, complex_values[i % len(complex_values)]) for i, shape in enumerate(shapes)]


def _samples(
    rng: np.random.Generator,
    layouts: Sequence[tuple[Shape, bool]],
    kinds: Callable[[Shape], Sequence[str]],
    make: Callable[[np.random.Generator, Shape, str, bool], np.ndarray],
) -> Iterator[Sample]:
    root = int(rng.integers(2**63))

    def generate() -> Iterator[Sample]:
        for shape, is_complex in layouts:
            for kind, scale in product(kinds(shape), SCALES):
                label = _label(shape, kind, scale, is_complex)
                own_rng = np.random.default_rng([root, zlib.crc32(label.encode())])
                yield Sample(label, scale * make(own_rng, shape, kind, is_complex))

    return generate()


def _label(shape: Shape, kind: str, scale: float, is_complex: bool) -> str:
    size = "x".join(map(str, shape)) or "scalar"
    return f"{size} {kind} {scale:.0e} {'complex' if is_complex else 'real'}"


def _matrix_kinds(shape: Shape) -> Sequence[str]:
    return KINDS if min(shape) > 1 else KINDS[:1]


def _tensor_kinds(shape: Shape) -> Sequence[str]:
    return ("gaussian", "graded") if np.prod(shape) > 1 else ("gaussian",)


def _matrix(rng: np.random.Generator, shape: Shape, kind: str, is_complex: bool) -> np.ndarray:
    if kind == "gaussian":
        return gaussian(rng, shape, is_complex)
    rows, columns = shape
    size = min(shape)
    left = np.linalg.qr(gaussian(rng, (rows, size), is_complex))[0]
    right = np.linalg.qr(gaussian(rng, (columns, size), is_complex))[0]
    return (left * spectrum(kind, size)) @ right.conj().T


def _tensor(rng: np.random.Generator, shape: Shape, kind: str, is_complex: bool) -> np.ndarray:
    values = gaussian(rng, shape, is_complex)
    if kind == "gaussian":
        return values
    moduli = rng.permutation(np.geomspace(1.0, SMALLEST_GRADED, values.size)).reshape(shape)
    return values / np.abs(values) * moduli
