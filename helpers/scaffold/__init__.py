"""A new target in one go: its recipe, its notebook and its test, made from an existing one."""

from helpers.scaffold.target import Scaffold, new_target, remove_target

__all__ = ["Scaffold", "new_target", "remove_target"]
