"""Notebooks, README and pages written from recipes and records, and what a run publishes."""
