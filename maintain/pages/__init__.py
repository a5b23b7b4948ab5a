"""Notebooks and README written from recipes and records: what `cookbook render` and `cookbook publish` do."""
