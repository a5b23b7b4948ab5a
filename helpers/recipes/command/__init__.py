"""The pure function from recipe, model and parameters to a command, and the forms of it."""

from helpers.recipes.command.serve import Command, bare_command, flags_of, serve_command, vllm

__all__ = ["Command", "bare_command", "flags_of", "serve_command", "vllm"]
