"""XMat under the import path of an earlier package."""

from rollfast.psgd.xmat import scale_by_xmat, xmat

__all__ = ["scale_by_xmat", "xmat"]
