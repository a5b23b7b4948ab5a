"""Proof kept alive: what is old, others' runs filed, runs repeated."""
