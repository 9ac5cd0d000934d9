"""Fixtures of all tests of the package."""

from collections.abc import Iterator

import jax
import pytest

from .helpers import OPTIMIZERS, Optimizer


@pytest.fixture(params=OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    """Every public optimizer in turn."""
    return request.param


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
