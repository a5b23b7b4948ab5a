"""gpt-oss-nano's training: the step that a CPU takes, and going on from weights that exist."""

import hashlib

import pytest
from test_nano import COMPACT, in_stack

from nano.domain.generator import MIX, emphasised


@pytest.mark.full
def test_a_cpu_computes_what_the_dense_twin_computes(interpreter):
    found = in_stack(interpreter, "spans")
    assert found["spans"] == [[0, 0, 170], [0, 170, 400], [1, 0, 400]]
    assert found["logits"] < 1e-3 and found["gradients"] < 1e-3 * found["steepest"]


@pytest.mark.full
def test_a_later_stage_goes_on_from_weights_and_names_the_earlier_one(interpreter, tmp_path):
    found = in_stack(interpreter, "later_stage", str(COMPACT), str(tmp_path / "later.safetensors"))
    assert found["same_shapes"] and found["same_vocabulary"] and found["learned"]
    assert found["settings"]["steps"] == 2 and found["settings"]["emphasis"] == "question=0.9"
    digest = hashlib.sha256(COMPACT.read_bytes()).hexdigest()
    assert found["stages"] == [found["first"] | {"sha256": digest}]


def test_an_emphasis_sets_shares_and_leaves_the_others_in_proportion():
    usual = {name: share for name, (share, _) in MIX.items()}
    assert emphasised("") == usual
    mix = emphasised("browser=0.5")
    assert mix["browser"] == 0.5 and sum(mix.values()) == pytest.approx(1)
    assert mix["functions"] / mix["memory"] == pytest.approx(usual["functions"] / usual["memory"])
    with pytest.raises(ValueError, match="nothing"):
        emphasised("nothing=0.5")
