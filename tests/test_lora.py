"""LoRA adapters: the memory of their slots by hand, and the page."""

import pytest

from helpers.recipes import load_model
from maintain.sizing import adapters


def test_the_memory_of_a_slot_is_what_its_matrices_hold() -> None:
    """gpt-oss-20b, rank 16, by hand: q, k, v from 2880 to 4096 and twice 512, o back; 24 layers of 32 experts."""
    model = load_model("gpt-oss-20b")
    attention = 24 * 16 * (3 * 2880 + 4096 + 2 * 512 + 4096 + 2880)
    experts = 24 * 32 * 16 * (2880 + 5760 + 2880 + 2880)
    assert adapters.adapter_gib(model, 16) == pytest.approx(2 * attention / 2**30)
    assert adapters.adapter_gib(model, 16, experts=True, slots=3) == pytest.approx(6 * (attention + experts) / 2**30)
    assert adapters.adapter_gib(model, 16, tensor_parallel_size=2) < adapters.adapter_gib(model, 16)


def test_the_page_is_what_its_data_say() -> None:
    assert adapters.PAGE.read_text(encoding="utf-8") == adapters.page(), "run `python -m maintain.sizing.adapters`"
