"""Notebooks rendered from recipes, and what a run publishes."""
