"""Numbers of 64 bits for a while, whatever the release of JAX calls them."""

import jax

__all__ = ["enable_x64"]

if hasattr(jax, "enable_x64"):
    enable_x64 = jax.enable_x64
else:
    from jax.experimental import enable_x64  # type: ignore[attr-defined, no-redef]
