"""A stack on another release of vLLM, tried in a copy of the checkout."""
