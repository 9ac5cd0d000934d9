"""Every check of this repository as a session: `nox -l` lists them, `nox -s NAME` runs one."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parent
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"]
PACKAGE = "packages/rollfast"
PEERS = ("ours", *nox.project.load_toml(ROOT / "verification/peers/environments.toml"))
PYTHONS = ("3.11", "3.12", "3.13")
CONSTRAINTS = ("-c", "constraints.txt")
ON_CPU = {"JAX_PLATFORMS": "cpu"}

# Sessions see what they install and nothing else, and use only interpreters that are here.
# Compiling every file of every dependency takes longer than installing them.
os.environ.pop("PYTHONPATH", None)
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
os.environ["PIP_NO_COMPILE"] = "1"
# Threads of BLAS fight those of XLA and of parallel tests.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def requirements(group: str) -> Iterator[str]:
    """Yield the requirements of a dependency group, those of included groups among them."""
    for entry in GROUPS[group]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from requirements(entry["include-group"])


def on_every_python(function: Callable[[nox.Session], None]) -> Callable[[nox.Session], None]:
    """Register a session for the running interpreter, and by name for each supported one."""
    for version in PYTHONS:
        name = f"{function.__name__}-{version}"
        nox.session(function, python=version, name=name, default=False)
    return nox.session(function)


def run_tests(session: nox.Session, *options: str, env: dict[str, str]) -> None:
    """Run the tests of the package, the harness and the repository, or those that are named."""
    folders = ["packages/rollfast/tests", "verification/tests", "tests"]
    if any((ROOT / argument.split("::")[0]).exists() for argument in session.posargs):
        folders = []
    parallel = ("-n", "2", "--dist", "worksteal")
    session.run("pytest", *parallel, *options, *session.posargs, *folders, env=env)


def on_accelerator(session: nox.Session, requirement: str, platform: str) -> None:
    """Run tests and verification with the accelerator's JAX on one platform."""
    session.install(*CONSTRAINTS, *requirements("tests"), requirement, "-e", PACKAGE)
    env = {"JAX_PLATFORMS": f"{platform},cpu"}
    session.run("python", "-c", f"import jax; print(jax.devices({platform!r}))", env=env)
    run_tests(session, "-n", "0", env=env)
    session.run("python", "-m", "verification", "run", env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint, formatting, the citation file, and generated files being up to date."""
    session.install(*CONSTRAINTS, *requirements("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("cffconvert", "--validate")
    session.run("python", "-m", "papers.index", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the package, the reference and the harness."""
    session.install(*CONSTRAINTS, *requirements("types"), "-e", PACKAGE)
    session.run("mypy", *session.posargs)


@nox.session
def reference(session: nox.Session) -> None:
    """Tests of the reference, where JAX is not installed."""
    session.install(*CONSTRAINTS, *requirements("reference"))
    absent = "import importlib.util as u; assert u.find_spec('jax') is None, 'JAX is installed'"
    session.run("python", "-c", absent)
    session.run("pytest", "reference/tests", *session.posargs)


@on_every_python
def tests(session: nox.Session) -> None:
    """Tests of the package, the harness and the repository; arguments go to pytest."""
    session.install(*CONSTRAINTS, *requirements("tests"), "-e", PACKAGE)
    run_tests(session, env=ON_CPU)


@on_every_python
def verify(session: nox.Session) -> None:
    """Production against reference, with the fidelity report; arguments go to `run`."""
    session.install(*CONSTRAINTS, *requirements("verify"), "-e", PACKAGE)
    session.run("python", "-m", "verification", "run", *session.posargs, env=ON_CPU)


@nox.session
def package(session: nox.Session) -> None:
    """Build the distributions, and install the wheel alone in a new environment."""
    session.install(*CONSTRAINTS, *requirements("package"))
    built = Path(session.create_tmp()).resolve()
    shutil.rmtree(built)
    session.run("python", "-m", "build", "--outdir", str(built), PACKAGE)
    distributions = sorted(map(str, built.iterdir()))
    session.run("twine", "check", "--strict", *distributions)
    wheel = next(name for name in distributions if name.endswith(".whl"))
    alone = built / "alone"
    session.run("python", "-m", "virtualenv", "--quiet", str(alone))
    python = shutil.which("python", path=f"{alone / 'bin'}{os.pathsep}{alone / 'Scripts'}")
    session.run(python, "-m", "pip", "install", "-q", *CONSTRAINTS, wheel, external=True)
    session.run(python, "-I", "tests/check_installed_package.py", wheel, external=True)


@nox.session(default=False, python=PYTHONS[0])
def minimums(session: nox.Session) -> None:
    """Tests on the oldest Python, JAX and Optax that the package allows."""
    project = nox.project.load_toml(f"{PACKAGE}/pyproject.toml")["project"]
    lowest = [requirement.replace(">=", "==") for requirement in project["dependencies"]]
    session.install(*lowest, *requirements("tests"), "-e", PACKAGE)
    run_tests(session, env=ON_CPU)


@nox.session(default=False)
def verify_long(session: nox.Session) -> None:
    """The verification with its long trajectories."""
    session.install(*CONSTRAINTS, *requirements("verify"), "-e", PACKAGE)
    session.run("python", "-m", "verification", "run", "--long", *session.posargs, env=ON_CPU)


@nox.session(default=False)
@nox.parametrize("peer", PEERS)
def verify_peers(session: nox.Session, peer: str) -> None:
    """A package of others, or ours, under probes that know none of them."""
    session.install(*CONSTRAINTS, *requirements("verify"), "-e", PACKAGE)
    where = ("--environments", f"{session.create_tmp()}/peers", *session.posargs)
    session.run("python", "-m", "verification.peers", peer, *where, env=ON_CPU)


@nox.session(default=False)
def reproduce(session: nox.Session) -> None:
    """Results of papers measured again, for the fidelity report; this takes long."""
    session.install(*CONSTRAINTS, *requirements("verify"), "-e", PACKAGE)
    session.run("python", "-m", "verification", "reproduce", *session.posargs, env=ON_CPU)


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Random small changes of the package, and how many of them the verification catches."""
    session.install(*CONSTRAINTS, *requirements("verify"), "-e", PACKAGE)
    session.run("python", "-m", "verification.mutation", *session.posargs, env=ON_CPU)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run times and compile times on the leaf shapes of real models, kept as JSON."""
    session.install(*CONSTRAINTS, *requirements("bench"), "-e", PACKAGE)
    where = session.posargs or ["benchmarks"]
    session.run("pytest", "--benchmark-json=benchmarks/results/latest.json", *where)


@nox.session(default=False)
def bench_peers(session: nox.Session) -> None:
    """Ours beside other packages, which get environments of their own; `-- --help` for options."""
    session.install(*CONSTRAINTS, *requirements("bench"), "-e", PACKAGE)
    where = ("--environments", f"{session.create_tmp()}/peers", "--output", "benchmarks/results")
    session.run("python", "-m", "benchmarks.peers", *where, *session.posargs)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Tests and verification on an NVIDIA GPU; skipped where there is none."""
    listing = shutil.which("nvidia-smi")
    if listing is None or subprocess.run([listing, "-L"], capture_output=True).returncode:
        session.skip("no NVIDIA GPU found: `nvidia-smi -L` lists none")
    on_accelerator(session, "jax[cuda12]", "cuda")


@nox.session(default=False)
def tpu(session: nox.Session) -> None:
    """Tests and verification on a TPU; skipped where there is none."""
    if not any(Path("/dev").glob("accel*")) and not any(Path("/dev").glob("vfio/[0-9]*")):
        session.skip("no TPU found: neither /dev/accel* nor /dev/vfio/* exists")
    on_accelerator(session, "jax[tpu]", "tpu")
