"""vLLM's router as a process: `python -m helpers.server.router` takes the words of `vllm-router`, the key from VLLM_API_KEY.

The program of vllm-router 0.1.17 passes a client's key to chat completions and completions only; its `--api-key` would open
the other paths to everybody. Its core can ask an address whether a key is good, and no option of the program says so.
"""

import os
import sys


def main() -> None:
    """Run the router: with a key, a replica is asked about each key that comes, and every path needs a good one."""
    from vllm_router.launch_router import launch_router, parse_router_args

    words = parse_router_args(sys.argv[1:])
    if key := os.environ.get("VLLM_API_KEY"):
        words.api_key = key  # what the router itself says to a replica
        words.api_key_validation_urls = [f"{url}/v1/models" for url in words.worker_urls]
    launch_router(words)


if __name__ == "__main__":
    main()
