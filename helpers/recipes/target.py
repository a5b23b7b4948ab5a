"""A hardware target: how to recognise it, its stack, its flags, its sizes, its limits."""

# ruff: noqa: RUF012 (pydantic copies mutable defaults)

from typing import Annotated, Literal

from pydantic import Field, model_validator

from helpers.recipes.settings import Block, FlagName, Setting, Strict, Text, VariableName

# evals: where a target has its own deployment for them; the last two give up exact numbers for speed, so they are opt-in.
Profile = Literal["latency", "throughput", "evals", "reference", "throughput-fp8", "latency-speculative"]
RISKY: tuple[Profile, ...] = ("throughput-fp8", "latency-speculative")
Activation = Literal["bf16", "mxfp8"]
Size = Annotated[int, Field(gt=0)]


class Match(Strict):
    """What a detected machine must show to be this target; keys left out do not matter."""

    vendor: Literal["nvidia", "amd", "intel", "cpu"]
    compute_capability: str | None = None  # NVIDIA, e.g. "9.0"
    gfx: str | None = None  # AMD, e.g. gfx942
    name: str | None = None  # regular expression on the device's name, case ignored
    memory_gib: float | None = None  # memory of one device as the driver reports it, within 10 %


class Device(Strict):
    """What one accelerator (or the host, for cpu) offers to the model."""

    memory_gib: float | None  # as the driver reports it; None: the host's own memory
    bandwidth_gb_s: float | None = None  # memory bandwidth, 10^9 bytes per second
    bf16_tflops: float | None = None  # dense
    per_host: Size = 1  # the usual number of devices in one machine
    unified_memory: bool = False  # shared with the operating system
    source: Text


class Stack(Strict):
    """The serving environment: which vLLM, how it is installed, which image holds it."""

    vllm: str
    min_vllm: str
    install: Literal["cpu", "cuda", "rocm", "xpu"]
    image: str
    architecture: Literal["x86_64", "aarch64"] = "x86_64"  # of the host's CPU
    image_source: Text
    driver: str | None = None
    disk_gib: float  # the installed environment, without weights
    notes: list[Text] = []


class Expectation(Strict):
    """Backends that vLLM's log must name on this target, `A|B` for one of two; None: no such line."""

    attention: str | None = None
    moe: str | None = None
    source: Text

    @staticmethod
    def named(wanted: str | None, found: str | None) -> bool:
        """Whether the backend that the log names is (one of) the expected; an absent expectation holds."""
        return wanted is None or found in wanted.split("|")


class ModelSizes(Strict):
    """The tensor-parallel sizes that are offered for a model and the recommended one."""

    tensor_parallel_size: Annotated[list[Size], Field(min_length=1)]
    default: Size
    why: Text
    max_model_len: Size | None = None  # tokens; None: the model's own limit

    @model_validator(mode="after")
    def _offered(self) -> "ModelSizes":
        if self.default not in self.tensor_parallel_size:
            raise ValueError(f"default {self.default} is not one of {self.tensor_parallel_size}")
        return self


class ModelServe(Block):
    """What only one model needs: always, at one tensor-parallel size, or in one profile (where it was tuned)."""

    per_tp: dict[Size, Block] = {}
    profiles: dict[Profile, Block] = {}


class ProfileBlock(Block):
    """Flags and variables for one kind of use; what a user risks with them stands first."""

    risk: Text | None = None
    moe: str | None = None  # the experts' backend that the log then names, where it is not the target's


class ActivationChoice(Block):
    """One of the exclusive choices of MoE activations, with its risk and the backend the log then names."""

    risk: Text
    moe: str


class Serve(Block):
    """Flags and variables, from the general to the special."""

    args: dict[FlagName, Setting]  # needed even when empty, so that a misspelt `args` cannot pass unseen
    env: dict[VariableName, Setting]

    profiles: dict[Profile, ProfileBlock]
    per_model: dict[str, ModelServe] = {}
    per_tp: dict[Size, Block] = {}
    activations: dict[Activation, ActivationChoice] = {}  # Blackwell's choice of MoE activations


class Condition(Strict):
    """When a limit bites; an empty list means always."""

    models: list[str] = []
    tensor_parallel_size: list[Size] = []
    profiles: list[Profile] = []
    min_replicas: Size = 1

    def holds(self, model: str, tensor_parallel_size: int, profile: str, replicas: int = 1) -> bool:
        """Whether the limit applies to this combination."""
        return (
            (not self.models or model in self.models)
            and (not self.tensor_parallel_size or tensor_parallel_size in self.tensor_parallel_size)
            and (not self.profiles or profile in self.profiles)
            and replicas >= self.min_replicas
        )


class Seen(Strict):
    """Where a limit was met."""

    vllm: Text
    hardware: Text


class Limit(Strict):
    """A known limit and the flags that avoid it, laid over everything else where it applies."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    what: Text
    when: Condition = Condition()
    avoid: Block = Block()
    advice: Text
    source: Text
    upstream: list[Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?#[0-9]+$")]] = []  # issues, e.g. vllm#44003
    seen: Seen | None = None
    # a module that the stack's interpreter runs, which says whether the installed vLLM still has the limit
    probe: Annotated[str, Field(pattern=r"^maintain\.limits\.[a-z_]+$")] | None = None


class Defaults(Strict):
    """The values that the target's notebook starts with."""

    model: str
    weights: Literal["hub", "nano"]
    profile: Profile
    concurrency: list[Size]
    input_tokens: Size
    output_tokens: Size


class Target(Strict):
    """One file of recipes/targets/."""

    target: str
    title: str
    summary: Text
    match: Match
    device: Device
    stack: Stack
    expect: Expectation
    models: Annotated[dict[str, ModelSizes], Field(min_length=1)]
    defaults: Defaults
    serve: Serve
    known_limits: list[Limit] = []
    checked: Text  # what the flags were checked against, where nothing ran here
    sources: list[Text]

    @model_validator(mode="after")
    def _consistent(self) -> "Target":
        faults = []
        if self.defaults.model not in self.models:
            faults.append(f"defaults.model {self.defaults.model!r} is not in models")
        named = [(f"serve.per_model.{name}", name) for name in self.serve.per_model]
        named += [
            (f"known_limits.{limit.id}.when.models", name) for limit in self.known_limits for name in limit.when.models
        ]
        faults += [f"{where}: {name!r} is not in models" for where, name in named if name not in self.models]
        sizes = {size for model in self.models.values() for size in model.tensor_parallel_size}
        sized = [("serve.per_tp", size) for size in self.serve.per_tp]
        sized += [
            (f"serve.per_model.{name}.per_tp", size)
            for name, block in self.serve.per_model.items()
            for size in block.per_tp
        ]
        sized += [
            (f"known_limits.{limit.id}.when.tensor_parallel_size", size)
            for limit in self.known_limits
            for size in limit.when.tensor_parallel_size
        ]
        faults += [f"{where}: no model is offered at {size}" for where, size in sized if size not in sizes]
        faults += [
            f"serve.per_model.{name}.profiles: {profile!r} is not in serve.profiles"
            for name, block in self.serve.per_model.items()
            for profile in block.profiles
            if profile not in self.serve.profiles
        ]
        if not {"latency", "throughput"} <= set(self.serve.profiles):
            faults.append("serve.profiles: both latency and throughput are needed")
        for name in RISKY:
            if name in self.serve.profiles and not self.serve.profiles[name].risk:
                faults.append(f"serve.profiles.{name}: its risk is needed")
            if self.defaults.profile == name:
                faults.append(f"defaults.profile: {name} has a risk that a user has to choose")
        if self.serve.activations and set(self.serve.activations) != {"bf16", "mxfp8"}:
            faults.append("serve.activations: both bf16 and mxfp8 are needed")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def expected_backends(
        self, activations: Activation = "bf16", profile: Profile | None = None
    ) -> dict[str, str | None]:
        """The backends that the log must name; a profile and the choice of MoE activations change the experts' kernels."""
        choice, own = self.serve.activations.get(activations), profile and self.serve.profiles.get(profile)
        moe = choice.moe if choice else (own.moe if own else None) or self.expect.moe
        return {"attention": self.expect.attention, "moe": moe}

    def limits(self, model: str, size: int, profile: str, replicas: int = 1) -> list[Limit]:
        """The known limits that apply to this combination; `size` is the tensor-parallel size."""
        return [limit for limit in self.known_limits if limit.when.holds(model, size, profile, replicas)]
