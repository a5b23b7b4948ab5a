"""Published anchors in one unit, and the figure that sets our points beside them."""

import pytest
from test_bench_record import point

from helpers.errors import CookbookError
from helpers.records.anchors import load_anchors, matching
from helpers.records.record import Point

DRAWN = [
    ("h200", "gpt-oss-20b", (1024, 1024)),
    ("h200", "gpt-oss-120b", (1024, 1024)),
    ("h200", "gpt-oss-120b", (8192, 1024)),
    ("h100", "gpt-oss-120b", (1024, 1024)),
]


def test_anchors_are_read_and_in_output_tokens_per_gpu():
    anchors = load_anchors()
    h200 = matching(anchors, "gpt-oss-120b", "h200", 1024, 1024)
    by_run = {(a.engine, a.tensor_parallel, a.concurrency): a for a in h200}
    assert by_run["vLLM", 2, 64].output_tok_s_per_gpu == pytest.approx(2127, abs=1)
    assert by_run["vLLM", 2, 64].tok_s_per_user == pytest.approx(68, abs=1)
    assert by_run["TensorRT-LLM", 1, None].output_tok_s_per_gpu == 6798
    assert matching(anchors, "gpt-oss-20b", "h200", 1024, 1024)[0].output_tok_s_per_gpu == 13890
    assert all(anchor.source for anchor in anchors)
    # per user x users / GPUs: an anchor in input + output tokens would come out near two
    for anchor in anchors:
        if anchor.concurrency and anchor.input_tokens == anchor.output_tokens:
            ideal = anchor.tok_s_per_user * anchor.concurrency / anchor.tensor_parallel
            assert 0.5 < anchor.output_tok_s_per_gpu / ideal < 1.1, anchor


def test_a_wrong_line_is_named(tmp_path):
    header, first = load_lines()[:2]
    file = tmp_path / "anchors.csv"
    file.write_text(f"{header}\n{first}\n{first.replace('1024', 'many', 1)}\n")
    with pytest.raises(CookbookError, match="line 3"):
        load_anchors(file)


def load_lines() -> list[str]:
    from helpers.records.anchors import FILE

    return FILE.read_text().splitlines()


def measured(users: int, gpus: int = 1) -> Point:
    raw = point(users, tpot=5 + users / 8, tokens=1024)
    raw["output_tok_s_per_gpu"] = raw["output_tok_s"] / gpus
    raw["input_tokens"] = 1024
    return Point.model_validate({**raw, "roofline_tok_s": raw["output_tok_s"] * 4, "roofline_fraction": 0.25})


def test_the_pareto_figure_shows_points_fractions_roofline_and_anchors():
    from helpers.plots.pareto import front, pareto_figure

    points = [measured(users) for users in (1, 16, 64)]
    made = pareto_figure({"TP1": points}, matching(load_anchors(), "gpt-oss-120b", "h200", 1024, 1024), "title")
    axis = made.axes[0]
    assert list(axis.lines[0].get_xdata()) == [p.tok_s_per_user for p in points]
    assert list(axis.lines[0].get_ydata()) == [p.output_tok_s_per_gpu for p in points]
    assert list(axis.lines[1].get_ydata()) == [p.roofline_tok_s for p in points]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert "roofline, TP1" in labels and any("H200 vLLM 0.13.0 TP2" in label for label in labels)
    assert any("25%" in text.get_text() for text in axis.texts)
    assert any("offline 6,798" in text.get_text() for text in axis.texts)
    assert front(points) == points
    assert front([*points, measured(16, gpus=2)]) == points
    with pytest.raises(CookbookError, match="two points"):
        pareto_figure({"TP1": points[:1]})
    with pytest.raises(CookbookError, match="several lengths"):
        pareto_figure({"TP1": points, "short": [Point.model_validate(point(4))]})


@pytest.mark.parametrize(("target", "model", "lengths"), DRAWN)
def test_every_label_of_a_figure_can_be_read(target: str, model: str, lengths: tuple[int, int]):
    """It lies on no other text and on no mark, not even of the curve that stands back."""
    from helpers.plots.recorded import pareto

    made = pareto(target, model, *lengths).figure
    made.draw_without_rendering()
    (axis,) = made.axes
    texts = [text for text in axis.texts if text.get_text().startswith("c")]
    boxes = [text.get_window_extent() for text in axis.texts] + [axis.get_legend().get_window_extent()]
    marks = [mark for line in axis.lines if line.get_marker() != "None" for mark in pixels(line)]
    assert texts and all(sum(text.get_window_extent().overlaps(box) for box in boxes) == 1 for text in texts)
    assert not [text.get_text() for text in texts for mark in marks if text.get_window_extent().contains(*mark)]


def pixels(line) -> list:
    return list(line.get_transform().transform(line.get_xydata()))
