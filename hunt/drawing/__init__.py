"""Requests as they are drawn: values, bodies, batches."""
