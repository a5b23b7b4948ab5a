"""Where things live in a checkout of the cookbook."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("COOKBOOK_ROOT") or Path(__file__).resolve().parents[1])
RECIPES = ROOT / "recipes"
TARGETS = RECIPES / "targets"
MODELS = RECIPES / "models"
RECORDS = RECIPES / "records"
LOCKS = RECIPES / "locks"
NOTEBOOKS = ROOT / "notebooks"
RUNS = Path(os.environ.get("COOKBOOK_RUNS") or ROOT / "runs")
STACKS = Path(os.environ.get("COOKBOOK_STACKS") or ROOT / ".stacks")
CACHE = Path(os.environ.get("COOKBOOK_CACHE") or ROOT / ".cache")  # built models, leases


def shown(path: Path) -> str:
    """The path as a reader may see it: relative to the checkout where it lies inside it."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
