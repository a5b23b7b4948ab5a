"""Serving environments: `ensure("cpu")` installs one, `interpreter("cpu")` names its Python."""

from helpers.machine.stack.environment import ServingStack, ensure, interpreter, pinned

__all__ = ["ServingStack", "ensure", "interpreter", "pinned"]
