"""Contracts of the endpoints and tools: pure checks of replies, each with its one normalised line."""

from helpers.checks.contract import Contract, ContractBroken, Facts

__all__ = ["Contract", "ContractBroken", "Facts"]
