import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import reference
from reference.guards import clip_by_global_rms, clip_by_tensor_rms, global_norm
from reference.linalg.newton_schulz import coefficients, newton_schulz, polar
from reference.prism import shaping
from reference.prism.prism import prism, scale_by_prism
from reference.schedule_free import sequences
from reference.schedule_free.methods import (
    schedule_free_adamw,
    schedule_free_prism,
    schedule_free_sgd,
)

ROOT = Path(reference.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "tests" not in path.parts)
MODULES = [
    ".".join(("reference", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in FILES
]


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_exactly_the_public_functions(name):
    module = importlib.import_module(name)
    assert module.__doc__
    public = {
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == name and not key.startswith("_")
    }
    assert public <= set(module.__all__)
    if name != "reference.optimizer":
        assert public == set(module.__all__)
        for key in public:
            assert "Source:" in inspect.getdoc(getattr(module, key)), key


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_numpy_scipy_the_standard_library_or_reference(path):
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            roots.add(node.module.split(".")[0])
    assert roots - set(sys.stdlib_module_names) <= {"numpy", "scipy", "reference"}


def test_importing_everything_imports_no_jax():
    lines = [f"import {name}" for name in MODULES]
    program = "; ".join(
        [
            "import sys",
            f"sys.path.insert(0, {str(ROOT.parent)!r})",
            *lines,
            "sys.exit('jax' in sys.modules or 'rollfast' in sys.modules)",
        ]
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


DTYPES = ["float64", "float32", "complex64", "complex128", "bfloat16"]


def resolve(dtype):
    return pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)


OPTIMIZERS = {
    "scale_by_prism": scale_by_prism(raw_global_grad_clip=1.0),
    "prism": prism(0.1, grad_clip_max_amps=(0.1, 0.2)),
    "prism other options": prism(0.1, shape_nesterov=False, bias_correction=True),
    "sgd": schedule_free_sgd(0.1, warmup_steps=2, weight_decay=0.1),
    "adamw": schedule_free_adamw(0.1, weight_decay=0.1),
    "adamw paper": schedule_free_adamw(0.1, bias_correction="learning_rate"),
    "schedule_free_prism": schedule_free_prism(0.1, 4),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_keep_dtypes_and_shapes_and_steps_change_no_argument(name, dtype):
    dtype = resolve(dtype)
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(3), "s": np.ones(())}
    params = {key: value.astype(dtype) for key, value in params.items()}
    copies = {key: value.copy() for key, value in params.items()}
    optimizer = OPTIMIZERS[name]
    state = optimizer.init(params)
    for _ in range(3):
        before = {field: value for field, value in state.items() if field != "updates"}
        state = optimizer.step(state, params)
        assert before.keys() <= state.keys()
        for field, leaves in state.items():
            for key, leaf in leaves.items() if isinstance(leaves, dict) else ():
                real = field.endswith("nu")
                assert leaf.dtype == (np.abs(params[key]).dtype if real else params[key].dtype)
                assert leaf.shape == params[key].shape
                assert np.all(np.isfinite(leaf))
    for key, value in params.items():
        np.testing.assert_array_equal(value, copies[key])


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_keep_dtypes(dtype):
    dtype = resolve(dtype)
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(dtype)
    rows = coefficients("jordan")
    results = [
        clip_by_tensor_rms(a, 0.1, 0.1),
        *clip_by_global_rms([a, b], 0.1, 0.1),
        newton_schulz(a, rows, 5, 1e-8),
        shaping.momentum(a, b, 0.9),
        shaping.innovation(a, b),
        shaping.nesterov(a, b, 0.9),
        shaping.corrected_momentum(a, 0.9, 2),
        shaping.corrected_nesterov(a, b, 0.9, 2),
        shaping.augment(a, b, 0.7),
        shaping.shape(a, b, 0.7, rows, 5, 1e-8),
        sequences.interpolate(a, b, 0.9),
        sequences.average(a, b, 0.1),
        sequences.evaluation_point(a, b, 0.9),
        sequences.iterate_update(a, b, a, 0.9, 0.1),
    ]
    if np.dtype(dtype).itemsize > 2:
        results += [polar(a), shaping.shape_exact(a, b, 0.7)]
    assert all(result.dtype == dtype for result in results)


def test_bfloat16_norm_does_not_stagnate():
    # A bfloat16 sum of ones stops at 256. The root of 10000 is exact.
    assert global_norm([np.ones(10000, pytest.importorskip("ml_dtypes").bfloat16)]) == 100


def test_bfloat16_results_are_float32_results_rounded_once():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(bfloat16)
    wide = shaping.momentum(a.astype(np.float32), b.astype(np.float32), 0.9)
    np.testing.assert_array_equal(shaping.momentum(a, b, 0.9), wide.astype(bfloat16))
