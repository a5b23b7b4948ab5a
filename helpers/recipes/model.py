"""A model: its geometry, its weights, where they come from and which scores it is expected to reach."""

# ruff: noqa: RUF012 (pydantic copies mutable defaults)

from typing import Annotated, Literal

from pydantic import Field, model_validator

from helpers.recipes.settings import Block, Strict, Text

Count = Annotated[int, Field(gt=0)]
Effort = Literal["low", "medium", "high"]


class Geometry(Strict):
    """The numbers of the checkpoint's config.json that memory and speed follow from."""

    layers: Count
    hidden_size: Count
    intermediate_size: Count
    attention_heads: Count
    kv_heads: Count
    head_dim: Count
    experts: Count
    experts_per_token: Count
    sliding_window: Count  # tokens
    sliding_layers: Annotated[int, Field(ge=0)]  # the layers that see only the window
    vocab_size: Count
    max_position: Count  # tokens

    @property
    def full_layers(self) -> int:
        """Layers whose KV cache grows with the whole context."""
        return self.layers - self.sliding_layers


class Weights(Strict):
    """What the checkpoint weighs: `bytes` is what vLLM loads, on disk and (nearly) in GPU memory."""

    precision: Literal["mxfp4", "bf16"]
    bytes: Count
    parameters: Count
    active_parameters: Count
    source: Text


class Download(Strict):
    """What to fetch from the hub: `original/` and `metal/` are further copies of the weights."""

    bytes: Count  # what is fetched
    repository_bytes: Count  # what a download without `exclude` would fetch
    exclude: list[str]
    source: Text


class Draft(Strict):
    """A trained head that drafts tokens for the model, and what a verification step then gives where that is published."""

    hub_id: str
    tokens_per_step: Annotated[float, Field(ge=1)]  # the model's own one included
    source: Text


class Scores(Strict):
    """Expected accuracy in percent by reasoning effort, and the spread that runs show."""

    gpqa: dict[Effort, float]
    aime25: dict[Effort, float]
    tolerance_points: float
    source: Text


class Model(Strict):
    """One file of recipes/models/."""

    model: str
    title: str
    hub_id: str | None  # None: not on a hub, built locally
    geometry: Geometry
    weights: Weights
    kv_bytes_per_token: Annotated[int, Field(ge=0)]  # BF16, all layers, a token inside the window of the sliding ones
    runner: Literal["generate", "pooling"] = "generate"  # pooling: one pass labels every token; no chat and no KV cache
    serve: Block = Block()  # the flags of a model that no target offers
    download: Download | None = None
    evals: Scores | None = None
    draft: Draft | None = None  # of the profiles that speculate
    notes: list[Text] = []

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        geometry, faults = self.geometry, []
        expected = 2 * 2 * geometry.kv_heads * geometry.head_dim * geometry.layers  # K and V, 2 bytes each
        expected *= self.runner == "generate"
        if self.kv_bytes_per_token != expected:
            faults.append(f"kv_bytes_per_token is {self.kv_bytes_per_token}, the geometry gives {expected}")
        if geometry.sliding_layers > geometry.layers:
            faults.append(f"geometry.sliding_layers {geometry.sliding_layers} > layers {geometry.layers}")
        if geometry.experts_per_token > geometry.experts:
            faults.append("geometry.experts_per_token is more than geometry.experts")
        if (self.hub_id is None) != (self.download is None):
            faults.append("hub_id and download belong together: set both or neither")
        if faults:
            raise ValueError("; ".join(faults))
        return self
