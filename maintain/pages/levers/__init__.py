"""The study of levers: what each gave beside the recipe and beside bare vLLM."""
