"""What the cookbook's figures share: size, grid, and series that stay apart in grey."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colour-blind safe (Okabe and Ito 2008) and of different lightness; marker and line tell them apart in print.
SERIES = [
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#000000", "marker": "v", "linestyle": "-"},
    {"color": "#56B4E9", "marker": "P", "linestyle": "--"},
    {"color": "#8A6D00", "marker": "X", "linestyle": "-."},
]


class Drawing(Figure):
    """A figure that a notebook shows as a picture though pyplot, which would tell it how, was never loaded.

    `alt` says what it shows, for readers who cannot see it.
    """

    alt = ""

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        picture = io.BytesIO()
        self.savefig(picture, format="png", metadata={"Software": None})
        return picture.getvalue(), {"alt": self.alt}


def figure(columns: int = 1, width: float = 9.0, height: float = 4.2) -> tuple[Drawing, list[Axes]]:
    """An object-oriented figure (no pyplot, so that widget threads may draw) and its axes in a row."""
    made = Drawing(figsize=(width, height), layout="constrained", dpi=110)
    axes = [made.add_subplot(1, columns, index + 1) for index in range(columns)]
    for axis in axes:
        axis.grid(True, which="major", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def series(index: int) -> dict:
    """The look of the n-th series."""
    return dict(SERIES[index % len(SERIES)])
