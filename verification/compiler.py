"""How XLA compiles what is checked."""

import os
from importlib import metadata

__all__ = ["add_flags", "compile_quickly"]

# Newer compilers have no other way to emit loops, and refuse to start with this flag.
OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
LAST_WITH_OLD_EMITTERS = (0, 10)
NO_OPTIMIZATION = "--xla_backend_optimization_level=0"
# Parts that are compiled on threads of their own gain nothing where every core has a process.
IN_ONE_PART = "--xla_cpu_parallel_codegen_split_count=1"


def add_flags(*flags: str) -> None:
    """Hand flags to XLA, for this process and its children; none is handed over twice.

    They have an effect until JAX first asks for its devices.

    Args:
        flags: As XLA takes them, such as `--xla_force_host_platform_device_count=8`.
    """
    present = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*present, *(flag for flag in flags if flag not in present)])


def compile_quickly() -> None:
    """Have XLA compile without optimizing, which is faster, where CPUs are all there is.

    That is where `JAX_PLATFORMS` is `cpu`, as the sessions set it. What is checked runs a few
    times, so that slower code costs less than the optimization would. A compiler that optimizes
    must not change what is computed by more than rounding; the long verification, which leaves it
    as users have it, holds it to that.
    """
    if os.environ.get("JAX_PLATFORMS") != "cpu":
        return
    try:
        installed = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        # The tests of the reference run without JAX, whatever the variable says.
        return
    version = tuple(int(part) for part in installed.split(".")[:2])
    older = [OLD_EMITTERS] if version <= LAST_WITH_OLD_EMITTERS else []
    add_flags(NO_OPTIMIZATION, IN_ONE_PART, *older)
