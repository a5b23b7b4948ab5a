"""A run: the steps that a target notebook calls, and the papermill execution around it."""
