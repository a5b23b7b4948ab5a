"""gpt-oss-nano measured over HTTP on held-out cases, and the data sets drawn from its domain."""
