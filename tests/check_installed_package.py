"""Check the installed package by itself: its metadata, and that importing it starts no backend.

The session `package` runs this file where the wheel and its dependencies are all there is.
"""

import importlib.metadata
import importlib.resources
import os
import re
import sys
import zipfile

# JAX cannot start this platform, so an import that starts a backend fails.
os.environ["JAX_PLATFORMS"] = "no_such_platform"


def check_metadata() -> None:
    """Check the name and version, and that JAX and Optax are the only dependencies."""
    import rollfast

    requirements = importlib.metadata.requires("rollfast") or []
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}
    assert names == {"jax", "optax"}, f"dependencies are {sorted(names)}, not jax and optax"
    version = importlib.metadata.version("rollfast")
    assert rollfast.__version__ == version, f"{rollfast.__version__=} but the wheel has {version}"
    assert importlib.resources.files("rollfast").joinpath("py.typed").is_file(), "no py.typed"


def check_no_backend() -> None:
    """Check that no backend was needed so far: the platform cannot be started even now."""
    import jax

    try:
        jax.devices()
    except RuntimeError:
        return
    raise AssertionError("JAX started although its platform does not exist: this check is void")


def check_contents(wheel: str) -> None:
    """Check that a wheel holds the package and its metadata, and no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    strays = [name for name in names if not re.match(r"rollfast(-[\d.]+\.dist-info)?/", name)]
    strays += [name for name in names if "test" in name]
    assert not strays, f"the wheel holds files that are not the package's: {strays}"
    assert any(name.endswith("licenses/LICENSE") for name in names), "the wheel has no licence"


if __name__ == "__main__":
    check_metadata()
    check_no_backend()
    check_contents(sys.argv[1])
    print("the wheel installs alone: jax and optax only, typed, and no backend starts on import")
