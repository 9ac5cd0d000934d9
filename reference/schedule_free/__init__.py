"""Schedule-Free learning: the three sequences x, y and z."""

__all__: list[str] = []
