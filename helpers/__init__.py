"""Helpers of the gpt-oss on vLLM cookbook: what the notebooks and the `cookbook` command call."""
