"""Tensors seen as matrices."""

__all__: list[str] = []
