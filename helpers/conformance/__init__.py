"""Whether vLLM still takes what the recipes say: every command through its own parser, every variable looked up."""

from helpers.conformance.combinations import Combination, combinations
from helpers.conformance.parser import Fault, ParserReport, check_commands, check_recipes

__all__ = ["Combination", "Fault", "ParserReport", "check_commands", "check_recipes", "combinations"]
