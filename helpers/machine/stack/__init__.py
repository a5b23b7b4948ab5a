"""Serving environments: `ensure("cpu")` installs one, `interpreter("cpu")` names its Python."""

from helpers.machine.stack.environment import Stack, ensure, interpreter, pinned

__all__ = ["Stack", "ensure", "interpreter", "pinned"]
