"""Runs of optimizers of the PyTorch kind, on the CPU."""

import importlib
from typing import Any

import numpy as np

from verification.peers.side.run import Record, Run, one_line, wide
from verification.peers.side.values import decoded, named

__all__ = ["record"]


def record(run: Run, _: object = None) -> Record:
    """Take the steps of a run, up to where something is raised."""
    found = Record()
    try:
        _take(run, found)
    except Exception as error:
        found.raised = one_line(error)
    return found


def array(tensor: Any) -> np.ndarray:
    """Return a copy of a tensor; NumPy has no bfloat16, so that one is widened first."""
    torch = importlib.import_module("torch")
    values = tensor.detach()
    return wide((values if values.is_complex() else values.to(torch.float64)).numpy().copy())


def described(optimizer: Any, parameters: dict[str, Any]) -> dict[str, str]:
    """Place in a state -> dtype and shape, of what is a tensor."""
    found = {}
    for leaf, parameter in parameters.items():
        for name, value in optimizer.state.get(parameter, {}).items():
            for place, tensor in enumerate(value if isinstance(value, list | tuple) else [value]):
                if hasattr(tensor, "dtype"):
                    found[f"{leaf}.{name}.{place}"] = f"{tensor.dtype}{list(tensor.shape)}"
    return found


def _take(run: Run, found: Record) -> None:
    found.stage = "import"
    torch = importlib.import_module("torch")
    factory = named(run.factory)
    found.stage = "build"
    torch.manual_seed(0)
    parameters = {
        leaf: torch.nn.Parameter(torch.tensor(values).to(getattr(torch, run.dtypes[leaf])))
        for leaf, values in run.parameters.items()
    }
    optimizer = factory(list(parameters.values()), *decoded(run.arguments), **decoded(run.options))
    averages = run.evaluation is not None
    if averages:
        optimizer.train()
    points = [{leaf: array(p) for leaf, p in parameters.items()}]
    evaluated: list[dict[str, np.ndarray]] = []
    first: dict[str, str] = {}
    try:
        for index in range(run.steps):
            found.stage = f"step {index + 1}"
            for leaf, parameter in parameters.items():
                gradient = torch.tensor(run.gradients[leaf][index])
                parameter.grad = gradient.to(parameter.dtype)
            optimizer.step()
            points.append({leaf: array(p) for leaf, p in parameters.items()})
            # The state is there after the first step.
            first = first or described(optimizer, parameters)
            if averages and (run.evaluate == "all" or index + 1 == run.steps):
                evaluated.append(_evaluated(torch, optimizer, parameters))
        found.stage = ""
    finally:
        found.parameters = {leaf: np.stack([p[leaf] for p in points]) for leaf in points[0]}
        found.updates = {leaf: np.diff(p, axis=0) for leaf, p in found.parameters.items()}
        found.update_dtypes = {leaf: str(p.dtype)[6:] for leaf, p in parameters.items()}
        if evaluated:
            found.evaluation = {leaf: np.stack([x[leaf] for x in evaluated]) for leaf in points[0]}
        then = described(optimizer, parameters)
        found.state = {place: (first[place], then.get(place, "absent")) for place in sorted(first)}


def _evaluated(torch: Any, optimizer: Any, parameters: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the parameters of the optimizer's own evaluation mode, and leave it as it was."""
    kept = {leaf: parameter.detach().clone() for leaf, parameter in parameters.items()}
    optimizer.eval()
    found = {leaf: array(parameter) for leaf, parameter in parameters.items()}
    optimizer.train()
    # Going there and back rounds; a run must not depend on how often it is looked at.
    with torch.no_grad():
        for leaf, parameter in parameters.items():
            parameter.copy_(kept[leaf])
    return found
