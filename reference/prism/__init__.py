"""PRISM: spectral shaping of the momentum by the innovation."""

__all__: list[str] = []
