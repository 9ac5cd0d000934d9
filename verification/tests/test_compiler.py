import os
from importlib import metadata

import pytest

from verification.compiler import NO_OPTIMIZATION, compile_quickly


@pytest.mark.parametrize(
    ("platforms", "installed", "quickly"),
    [("cpu", True, True), ("cpu", False, False), ("cuda,cpu", True, False)],
)
def test_what_is_compiled_quickly(monkeypatch, platforms, installed, quickly):
    def version(name):
        if not installed:
            raise metadata.PackageNotFoundError(name)
        return "0.10.2"

    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(metadata, "version", version)
    compile_quickly()
    assert (NO_OPTIMIZATION in os.environ["XLA_FLAGS"]) == quickly
