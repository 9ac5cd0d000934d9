"""Cross-checks of the production kernels and optimizers against the float64 reference."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `verify` when it is asked for: most of this needs neither JAX nor the reference."""
    if name == "verify":
        from verification.conformance import verify

        return verify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
