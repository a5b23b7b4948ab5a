"""The figure that warns of dummy weights."""

import pytest

from helpers.errors import CookbookError
from maintain.studies.routing import routing_figure


def result(weights: str, share: float, experts: int = 32) -> dict:
    rows = [
        {
            "batch": size,
            "steps": 40,
            "expected_share": expected,
            "mean_share": share,
            "ratio": share / expected,
            "share_by_layer": [share] * 4,
        }
        for size, expected in ((1, 0.125), (16, 0.88), (64, 1.0))
    ]
    return {"weights": weights, "layers": 4, "experts": experts, "experts_per_token": 4, "batches": rows}


def test_the_routing_figure_sets_dummy_beside_balanced_weights():
    made = routing_figure([result("synthetic", 0.86), result("dummy", 0.3)])
    assert [axis.get_title() for axis in made.axes] == ["16 tokens per step", "64 tokens per step"]
    synthetic, dummy, uniform = made.axes[0].lines
    assert list(synthetic.get_ydata()) == [0.86] * 4 and list(dummy.get_ydata()) == [0.3] * 4
    assert uniform.get_ydata()[0] == 0.88
    with pytest.raises(CookbookError, match="2 models"):
        routing_figure([result("synthetic", 0.86), result("dummy", 0.3, experts=128)])
