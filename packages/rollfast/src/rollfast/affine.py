"""Affine under the import path of an earlier package."""

from rollfast.psgd.affine import affine, scale_by_affine

__all__ = ["affine", "scale_by_affine"]
