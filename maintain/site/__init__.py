"""`make site`: README, docs, recipes and executed notebooks as a static site. It renders, and never executes a cell.

Sphinx with MyST-NB and Furo, from PyPI: light and dark, its own search, no network while it builds or is read. Jupyter Book 2
(mystmd) fetches its theme from api.mystmd.org at every first build, so that it cannot be built offline.
"""
