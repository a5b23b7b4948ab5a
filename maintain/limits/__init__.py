"""Which known limits of the recipes an installed vLLM still has; `rewind` and `probes` run with a stack's interpreter."""
