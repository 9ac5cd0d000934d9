"""Polar factors, exact and by polynomial iteration."""

__all__: list[str] = []
