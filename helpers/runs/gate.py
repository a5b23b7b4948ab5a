"""The quick gate of a run: whether the kernels that vLLM chose answer with sense, asked where the weights can know."""

from helpers.checks import Contract
from helpers.recipes import Parameters

REAL = ("hub", "path")


def not_asked(weights: str, parameters: Parameters) -> str:
    """Why known answers say nothing about what is served; empty where they do.

    Random weights answer noise on sound kernels too, and gpt-oss-nano knows the answers in part only
    (`cookbook eval cpu --eval quick` measures it by a bar of its own). `weights` is the kind that is served.
    """
    if weights in REAL:
        return ""
    if parameters.rehearse:
        return "a rehearsal serves gpt-oss-nano, the questions are for real weights"
    return f"the questions are for real weights (hub or a path), not for {parameters.weights_kind} ones"


def ask(base_url: str, model: str) -> Contract:
    """Ask the server, print the shares of right answers and what was wrong; the contract of both rounds."""
    from helpers.evals.quick import run_quick

    found = run_quick(base_url + "/v1", model)
    print(found)
    return found.contract()
