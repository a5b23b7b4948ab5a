"""The one pure function from recipe, model and parameters to a command, and the forms it is written in."""

from helpers.command.serve import Command, serve_block, serve_command

__all__ = ["Command", "serve_block", "serve_command"]
