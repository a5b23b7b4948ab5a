"""Does this vLLM still end over a seeded request of whose prompt only a part fitted into a step? Asked of its own code.

    STACK_PYTHON -m maintain.limits.rewind

prints {"vllm": ..., "state": ..., "said": ...}. `ends`: the model runner sets a CPU generator back and that raises;
`goes on`: it does not; `unknown`: its code is another, only a server can tell. vLLM's own method is run, on a batch of one
request in the middle of its prompt, with stand-ins for everything that it does not touch there.
"""

import json
import sys
from unittest.mock import MagicMock

ENDS, GOES_ON, UNKNOWN = "ends", "goes on", "unknown"
OFFSET = "does not use offset"  # torch's words for a CPU generator


def batch_of_one():
    """(the model runner, its arguments): one request with a generator whose sampled token is to be discarded."""
    import numpy
    import torch

    runner = MagicMock()
    runner.use_async_scheduling = False
    runner.max_model_len = 16
    runner.discard_request_mask.np = numpy.array([True])
    runner.input_batch.num_reqs = 1
    runner.input_batch.req_ids = ["one"]
    runner.input_batch.req_id_to_index = {"one": 0}
    runner.input_batch.generators = {0: torch.Generator("cpu").manual_seed(3)}
    runner._to_list = lambda tokens: tokens.tolist()
    sampled = MagicMock(sampled_token_ids=torch.zeros(1, 1, dtype=torch.int32), logprobs_tensors=None)
    return runner, (MagicMock(), sampled, None, torch.zeros(1, 4), 1)


def state() -> tuple[str, str]:
    """(one of the three states, what was seen)."""
    try:
        from vllm.v1.worker.cpu_model_runner import CPUModelRunner

        method = CPUModelRunner._bookkeeping_sync
    except (ImportError, AttributeError) as error:
        return UNKNOWN, f"{type(error).__name__}: {error}"
    runner, arguments = batch_of_one()
    try:
        method(runner, *arguments)
    except RuntimeError as error:
        return (ENDS if OFFSET in str(error) else UNKNOWN), f"RuntimeError: {error}"
    except Exception as error:  # another signature, another attribute: not the code that this knows
        return UNKNOWN, f"{type(error).__name__}: {error}"
    return GOES_ON, "the generator was left alone, or set back in another way"


def main() -> None:
    import vllm

    found, said = state()
    json.dump({"vllm": vllm.__version__, "state": found, "said": said}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
