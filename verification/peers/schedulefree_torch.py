"""The authors' PyTorch package, distribution `schedulefree`."""

import importlib
from typing import Any

import numpy as np

from verification.peers.checks import Check, Peer
from verification.peers.parties import both
from verification.peers.trajectories import Leaves, Sequences, Start

# No option has its default, so that each must reach its place in every party.
COMMON = {"weight_decay": 0.05, "warmup_steps": 20}
SGD = {"learning_rate": 0.5, "b1": 0.85, **COMMON}
ADAMW = {"learning_rate": 0.004, "b1": 0.95, "b2": 0.99, "eps": 1e-6, **COMMON}
AVERAGING_POWERS = (0.0, 1.5)


class TorchRunner:
    """An optimizer of the package on float64 tensors on the CPU.

    Args:
        method: Name of the class in the package.
        options: Its arguments.
        parameters: Initial parameters.
    """

    def __init__(self, method: str, options: dict[str, Any], parameters: Leaves):
        self._torch = importlib.import_module("torch")
        self._parameters = {
            leaf: self._torch.nn.Parameter(self._tensor(value))
            for leaf, value in parameters.items()
        }
        factory = getattr(importlib.import_module("schedulefree"), method)
        self._optimizer = factory(list(self._parameters.values()), **options)
        self._optimizer.train()

    def _tensor(self, value: np.ndarray) -> Any:
        return self._torch.tensor(value, dtype=self._torch.float64)

    def step(self, gradients: Leaves) -> None:
        """Take one step with gradients at y; the package overwrites the copies it is given."""
        for leaf, parameter in self._parameters.items():
            parameter.grad = self._tensor(gradients[leaf])
        self._optimizer.step()

    def sequences(self) -> Sequences:
        """Copies of where the optimizer is, x as the package's own eval mode has it."""
        y = self._arrays(self._parameters)
        state = self._optimizer.state
        z = self._arrays({leaf: state[p]["z"] for leaf, p in self._parameters.items()})
        self._optimizer.eval()
        x = self._arrays(self._parameters)
        self._optimizer.train()
        # Going to x and back rounds y; the run must not depend on how often it is looked at.
        with self._torch.no_grad():
            for leaf, parameter in self._parameters.items():
                parameter.copy_(self._tensor(y[leaf]))
        return Sequences(y, z, x)

    def _arrays(self, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
        return {leaf: tensor.detach().numpy().copy() for leaf, tensor in tensors.items()}


def checks() -> list[Check]:
    """Each method, with and without polynomial averaging, in both of the package's loops."""
    variants = [(power, foreach) for power in AVERAGING_POWERS for foreach in (False, True)]
    return [
        *(_sgd(power, foreach) for power, foreach in variants),
        *(_adamw("AdamWScheduleFree", "denominator", *variant) for variant in variants),
        *(_adamw("AdamWScheduleFreePaper", "learning_rate", *variant) for variant in variants),
    ]


def _sgd(averaging_power: float, foreach: bool) -> Check:
    options = {**SGD, "averaging_power": averaging_power}
    theirs = {"momentum": SGD["b1"], **_shared(options, foreach)}
    return Check(
        method="SGDScheduleFree",
        options=_text(options, foreach),
        peer=_peer("SGDScheduleFree", theirs),
        ours=both("schedule_free_sgd", options),
    )


def _adamw(method: str, bias_correction: str, averaging_power: float, foreach: bool) -> Check:
    options = {**ADAMW, "averaging_power": averaging_power}
    theirs = {"betas": (ADAMW["b1"], ADAMW["b2"]), "eps": ADAMW["eps"]}
    return Check(
        method=method,
        options=_text(options, foreach),
        peer=_peer(method, {**theirs, **_shared(options, foreach)}),
        ours=both("schedule_free_adamw", {**options, "bias_correction": bias_correction}),
    )


def _shared(options: dict[str, Any], foreach: bool) -> dict[str, Any]:
    return {
        "lr": options["learning_rate"],
        "weight_decay": options["weight_decay"],
        "warmup_steps": options["warmup_steps"],
        "r": options["averaging_power"],
        "weight_lr_power": 2.0,
        "foreach": foreach,
    }


def _peer(method: str, options: dict[str, Any]) -> Start:
    return lambda parameters: TorchRunner(method, options, parameters)


def _text(options: dict[str, Any], foreach: bool) -> str:
    loop = "foreach" if foreach else "one by one"
    return (
        f"warmup {options['warmup_steps']}, decay {options['weight_decay']}, "
        f"r {options['averaging_power']}, {loop}"
    )


PEER = Peer("schedulefree", ("schedulefree", "torch"), checks)
