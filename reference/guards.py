"""Limits on the size of gradients and of updates.

None of these comes from a paper: they are conventions of the released optimizers, written out.
"""

import math

import numpy as np

from reference.optimizer import keeps_dtype

__all__ = [
    "clip_by_global_norm",
    "clip_by_global_rms",
    "clip_by_tensor_rms",
    "global_norm",
    "spike_scale",
]


def _magnitude(array: np.ndarray) -> np.ndarray:
    """Return |array|, in float32 at least: a sum kept in bfloat16 stops growing at 256."""
    magnitude = np.abs(array)
    return magnitude.astype(np.promote_types(magnitude.dtype, np.float32))


def _root_mean_square(arrays: list[np.ndarray]) -> float:
    size = sum(np.size(array) for array in arrays)
    return float(global_norm(arrays)) / math.sqrt(size) if size else 0.0


@keeps_dtype
def _clip(update: np.ndarray, rms: float, max_rms: float | None, max_abs: float | None):
    if max_rms is not None and rms != 0:
        update = update * min(1.0, max_rms / rms)
    if max_abs is not None:
        magnitude = np.abs(update)
        too_large = magnitude > max_abs
        # Dividing first makes the sign exact for real entries, so that the bound holds exactly.
        sign = update / np.where(too_large, magnitude, 1.0)
        update = np.where(too_large, max_abs * sign, update)
    return update


def clip_by_tensor_rms(
    update: np.ndarray, max_rms: float | None, max_abs: float | None
) -> np.ndarray:
    """Limit the root mean square of one tensor, then the modulus of each of its entries.

    v = u min(1, max_rms / rms(u)),  rms(u) = sqrt(mean |u_i|^2);
    w_i = v_i min(1, max_abs / |v_i|).

    Args:
        update: u, any shape, real or complex.
        max_rms: the largest root mean square; None is no limit.
        max_abs: the largest modulus of an entry; None is no limit.

    Returns:
        w, of the shape and dtype of `update`. A zero update stays zero.

    Source: psgd_torch, clipping of the preconditioned gradient (limits 2 and 10); no paper.
    """
    return _clip(update, _root_mean_square([update]), max_rms, max_abs)


def clip_by_global_rms(
    updates: list[np.ndarray], max_rms: float | None, max_abs: float | None
) -> list[np.ndarray]:
    """Limit the root mean square over all entries of all tensors, then each entry's modulus.

    As `clip_by_tensor_rms` of the concatenation of all tensors.

    Args:
        updates: tensors of any shapes.
        max_rms: the largest root mean square; None is no limit.
        max_abs: the largest modulus of an entry; None is no limit.

    Returns:
        The limited tensors, shapes and dtypes unchanged.

    Source: psgd_torch, where all parameters form one vector; no paper.
    """
    rms = _root_mean_square(updates)
    return [_clip(update, rms, max_rms, max_abs) for update in updates]


def global_norm(gradients: list[np.ndarray]) -> float:
    """Return the Euclidean norm of all entries of all tensors together.

    sqrt(sum |g_i|^2), summed as p sqrt(sum |g_i / p|^2) with p = max |g_i|, so that the squares
    neither overflow nor vanish.

    Args:
        gradients: tensors of any shapes, real or complex.

    Returns:
        The norm, a real scalar; 0 without any entry; not finite if any entry is not.

    Source: the definition.
    """
    magnitudes = [_magnitude(gradient) for gradient in gradients if np.size(gradient)]
    if not magnitudes:
        return 0.0
    peak = np.max([np.max(magnitude) for magnitude in magnitudes])
    if peak == 0 or not np.isfinite(peak):
        return peak
    return peak * np.sqrt(sum(np.sum((magnitude / peak) ** 2) for magnitude in magnitudes))


@keeps_dtype
def _scaled(update: np.ndarray, scale: float) -> np.ndarray:
    return update * scale


def clip_by_global_norm(updates: list[np.ndarray], max_norm: float | None) -> list[np.ndarray]:
    """Limit the Euclidean norm of all entries of all tensors together.

    v = u min(1, max_norm / |u|),  |u| as `global_norm` has it.

    Args:
        updates: u, tensors of any shapes, real or complex.
        max_norm: the largest norm; None is no limit.

    Returns:
        v, shapes and dtypes unchanged. Zero updates stay zero.

    Source: psgd_torch, `grad_clip_max_norm`, which shortens the learning rate instead; no paper.
    """
    norm = float(global_norm(updates))
    if max_norm is None or norm <= max_norm:
        return list(updates)
    return [_scaled(update, max_norm / norm) for update in updates]


def spike_scale(norm: float, max_norm: float | None, permissive: bool) -> float:
    """Return the factor for a gradient whose norm may be too large or not finite.

    1 if norm <= max_norm; otherwise max_norm / norm if permissive, and 0 (skip the step) if not.

    Args:
        norm: the global norm of the gradient.
        max_norm: the limit; None is no limit.
        permissive: whether a too large gradient is shortened instead of skipped.

    Returns:
        A factor in [0, 1]; 0 whenever `norm` is not finite.

    Source: rollfast 0.1.0, `raw_global_grad_clip`; no paper.
    """
    if not np.isfinite(norm):
        return 0.0
    if max_norm is None or norm <= max_norm:
        return 1.0
    return float(max_norm / norm) if permissive else 0.0
