"""Load, roofline and steps: how fast it is, and how fast it could be."""
