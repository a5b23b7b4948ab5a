"""The Muon optimiser for stacks of matrices: momentum whose direction is made orthogonal."""

import torch

# Coefficients of the quintic Newton-Schulz iteration published with Muon (K. Jordan, 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Nearly orthogonal matrices with the singular vectors of `matrices` (..., rows, columns)."""
    a, b, c = _QUINTIC
    x = matrices.bfloat16()
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum; a parameter (..., rows, columns) counts as a stack of matrices."""

    def __init__(self, parameters, lr: float = 0.02, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        """One update; parameters of equal shape are made orthogonal together."""
        for group in self.param_groups:
            shapes: dict[tuple, list] = {}
            for parameter in group["params"]:
                shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    memory = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    memory.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(memory, group["momentum"]))
                directions = orthogonal(torch.stack(updates)).float()
                scale = max(1.0, shape[-2] / shape[-1]) ** 0.5
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction, alpha=-group["lr"] * scale)
