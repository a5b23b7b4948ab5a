"""gpt-oss-nano without torch: its geometry, its domain, its conversations and its evaluation over HTTP."""
