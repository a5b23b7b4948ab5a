"""The one pure function from recipe, model and parameters to a command, and the forms it is written in."""

from helpers.command.serve import Command, bare_argv, serve_block, serve_command

__all__ = ["Command", "bare_argv", "serve_block", "serve_command"]
