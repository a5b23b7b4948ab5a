"""The recipes as typed data: hardware targets, models, and the parameters of a target notebook."""

from helpers.recipes.files import RecipeError, load_common, load_model, load_target, model_names, target_names
from helpers.recipes.model import Model
from helpers.recipes.parameters import NANO, Parameters, check_parameters
from helpers.recipes.settings import Block, Setting, Strict
from helpers.recipes.target import Target

__all__ = [
    "NANO",
    "Block",
    "Model",
    "Parameters",
    "RecipeError",
    "Setting",
    "Strict",
    "Target",
    "check_parameters",
    "load_common",
    "load_model",
    "load_target",
    "model_names",
    "target_names",
]
