"""The factory of gpt-oss-nano, the test model: its domain, its training, its evaluation."""
