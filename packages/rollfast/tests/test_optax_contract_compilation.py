"""The Optax contract: compilation, buffers and devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax import export

from .helpers import (
    COMPILATIONS,
    assert_close,
    assert_identical,
    gradients,
    parameters,
    train,
    warmed,
)


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def test_second_step_is_not_compiled_again(optimizer):
    """The state that a step returns is, to the compiler, the one that `init` made."""
    warmed(optimizer, 3)
    assert optimizer.traced
    assert len(set(optimizer.traced)) == len(optimizer.traced)


def test_jitted_is_eager(optimizer):
    params, state = warmed(optimizer)
    eager = optimizer.transformation.update(gradients(5), state, params)
    assert_close(optimizer.update(gradients(5), state, params), eager, COMPILATIONS)


def test_init_is_abstract(optimizer):
    """`init` sees shapes and dtypes only, and gives the state that it gives for arrays."""
    state = optimizer.transformation.init(parameters())
    got = jax.eval_shape(optimizer.transformation.init, abstract(parameters()))
    assert got == abstract(state)


def test_parameters_and_state_can_be_donated(optimizer):
    """Every buffer is given away at every step, so none may be shared or used again."""

    def step(params, state, grads):
        updates, state = optimizer.transformation.update(grads, state, params)
        return jax.tree.map(jax.numpy.add, params, updates), state

    params = parameters()
    state = optimizer.transformation.init(params)
    first = params, state
    donating = jax.jit(step, donate_argnums=(0, 1))
    for count in range(3):
        params, state = donating(params, state, gradients(count))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert_close((params, state), warmed(optimizer, 3), COMPILATIONS)


def test_lowers_for_accelerators(optimizer):
    params = parameters()
    state = optimizer.transformation.init(params)
    exported = export.export(jax.jit(optimizer.transformation.update), platforms=("cuda", "tpu"))(
        *abstract((params, state, params))
    )
    assert exported.platforms == ("cuda", "tpu")


def on_eight_devices(way: str) -> dict[str, dict[str, float]]:
    """Run optimizers on eight devices in one of the ways of a program of its own."""
    if way != "auto" and not hasattr(jax, "set_mesh"):
        pytest.skip("JAX has no explicit axes that become automatic")
    program = Path(__file__).with_name("sharded_steps.py")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, str(program), way],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["auto", "explicit"])
def sharded_errors(request) -> dict[str, dict[str, float]]:
    return on_eight_devices(request.param)


def test_sharded_is_single_device(optimizer, sharded_errors):
    """Shardings of the state stay as `init` made them, and results are those of one device."""
    found = sharded_errors[optimizer.name]
    assert found["resharded"] == []
    assert found["error_in_eps"] <= COMPILATIONS


def test_sharded_steps_need_not_be_compiled():
    found = on_eight_devices("eager")
    assert set(found) == {"kron", "xmat", "schedule_free_adamw"}
    for one in found.values():
        assert one["resharded"] == []
        assert one["error_in_eps"] <= COMPILATIONS


def test_restored_state_goes_on_as_if_never_saved(optimizer, tmp_path):
    """Saved and restored by Orbax bit for bit; resumed training is uninterrupted training."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    saved = warmed(optimizer)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", saved)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "step", abstract(saved))
    assert_identical(restored, saved)
    resumed = train(optimizer.update, *restored, range(2, 4))
    assert_identical(resumed, warmed(optimizer, 4))
