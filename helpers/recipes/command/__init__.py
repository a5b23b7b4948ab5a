"""The pure function from recipe, model and parameters to a command, its forms, and vLLM's own parser on it."""

from helpers.recipes.command.serve import Command, bare_command, flags_of, serve_command, vllm

__all__ = ["Command", "bare_command", "flags_of", "serve_command", "vllm"]
