"""The run record: the one document that every figure and every "verified" in the cookbook comes from."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from helpers import redact
from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.paths import RECORDS, shown
from helpers.recipes.parameters import Count, Parameters, layout
from helpers.recipes.target import Activation

MIGRATION = RECORDS / "migrate.py"  # goes when no file of an older schema is left
CLOSED_LOOP = (0.3, 1.05)  # requests in flight over concurrency; below 1 where the last ones run out
MEANS_AGREE = 0.05  # e2e = ttft + tpot * (n - 1) holds exactly for means of equal lengths
SAME = 0.01  # two ways of writing one number
FASTEST_USER = 10_000  # tok/s; the fastest hosted gpt-oss is near 2,000: above this, tokens arrived in one burst


def _in_utc(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("times are UTC, written with +00:00 or Z")
    return moment


Positive = Annotated[float, Field(gt=0)]
Utc = Annotated[datetime, AfterValidator(_in_utc)]
Model = Literal["gpt-oss-20b", "gpt-oss-120b", "gpt-oss-nano"]
Weights = Literal["hub", "synthetic", "nano", "path"]


class Part(BaseModel):
    """A piece of a record: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Document(Part):
    """A part that is a file of its own: written whole or not at all, checked when it is read."""

    TITLE: ClassVar[str]
    REMEDY: ClassVar[str]  # what to do where a file is damaged
    SCHEMA: ClassVar[int] = 1  # raised when a reader of older files would misread a newer one

    def write(self, path: Path) -> Path:
        """Write it whole or not at all. Raises `CookbookError` where it cannot be written."""
        try:
            return write_whole(path, json.dumps(self.model_dump(mode="json", by_alias=True), indent=1) + "\n")
        except OSError as error:
            raise CookbookError(
                f"{path.name} cannot be written",
                error.strerror or "",
                "free some disk, or name a run_dir that you can write to",
            ) from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """A document from disk, checked. Raises `CookbookError` with the file and the first problem."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CookbookError(f"{path} cannot be read", error.strerror or "", "check the path") from None
        except ValidationError as error:
            first = error.errors()[0]
            if first["loc"] == ("schema",) and first["input"] in range(1, cls.SCHEMA):
                raise CookbookError(
                    f"{path} is a {cls.TITLE} of schema {first['input']}",
                    f"schema {cls.SCHEMA} is read",
                    f"run `.venv/bin/python {shown(MIGRATION)} {path}`",
                ) from None
            raise CookbookError(f"{path} is not a {cls.TITLE}", first_problem(error), cls.REMEDY) from None


Text = Annotated[str, AfterValidator(redact.text)]  # secrets masked
Argv = Annotated[list[str], AfterValidator(redact.argv)]
Environment = Annotated[dict[str, str], AfterValidator(redact.environment)]


class Percentiles(Part):
    """Milliseconds over the requests of a point."""

    p50: Annotated[float, Field(ge=0)]
    p90: Annotated[float, Field(ge=0)]
    p99: Annotated[float, Field(ge=0)]
    mean: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def ordered(self) -> "Percentiles":
        if not self.p50 <= self.p90 <= self.p99:
            raise ValueError(f"percentiles are out of order: p50 {self.p50}, p90 {self.p90}, p99 {self.p99}")
        return self


class Point(Part):
    """Throughput and latency at one concurrency.

    `tok_s_per_user` is 1000 / TPOT p50 (the decode speed one user sees), `output_tok_s_per_gpu` counts
    generated tokens only. TPOT leaves the first token out.
    """

    concurrency: Annotated[int, Field(gt=0)]
    input_tokens: Annotated[int, Field(gt=0)]
    output_tokens: Annotated[int, Field(gt=0)]
    prompts: Annotated[int, Field(gt=0)]
    duration_s: Positive
    output_tok_s: Positive
    output_tok_s_per_gpu: Positive
    tok_s_per_user: Positive
    ttft_ms: Percentiles
    tpot_ms: Percentiles
    itl_ms: Percentiles
    e2e_ms: Percentiles
    roofline_tok_s: Positive | None = None
    roofline_fraction: Positive | None = None

    @model_validator(mode="after")
    def consistent(self) -> "Point":
        """The numbers must be able to come from one measurement."""
        where = f"concurrency {self.concurrency}: "
        if self.output_tokens > 1:
            if self.tpot_ms.p50 <= 0:
                raise ValueError(where + "TPOT must be positive")
            if abs(self.tok_s_per_user * self.tpot_ms.p50 / 1e3 - 1) > SAME:
                raise ValueError(where + f"tok_s_per_user {self.tok_s_per_user} is not 1000 / TPOT p50")
            if self.tok_s_per_user > FASTEST_USER:
                raise ValueError(where + f"a TPOT of {self.tpot_ms.p50:.4f} ms: the tokens arrived in bursts")
        if self.output_tok_s_per_gpu > self.output_tok_s * (1 + SAME):
            raise ValueError(where + "output tok/s per GPU is above the total")
        if abs(self.prompts * self.output_tokens / self.duration_s / self.output_tok_s - 1) > SAME:
            raise ValueError(where + "output tok/s is not prompts * output tokens / duration")
        if self.e2e_ms.mean is not None:
            inside = (
                self.output_tok_s / self.output_tokens * self.e2e_ms.mean / 1e3 / min(self.concurrency, self.prompts)
            )
            if not CLOSED_LOOP[0] <= inside <= CLOSED_LOOP[1]:
                raise ValueError(where + f"throughput times latency gives {inside:.2f} of the requests in flight")
        ttft, tpot, e2e = self.ttft_ms.mean, self.tpot_ms.mean, self.e2e_ms.mean
        if ttft is not None and tpot is not None and e2e is not None and self.output_tokens > 1:
            parts = (ttft + tpot * (self.output_tokens - 1)) / e2e
            if abs(parts - 1) > MEANS_AGREE:
                raise ValueError(where + f"TTFT {ttft:.1f} + TPOT {tpot:.2f} ms x tokens is not e2e {e2e:.1f} ms")
        if self.roofline_fraction is not None and self.roofline_tok_s is not None:
            if abs(self.roofline_fraction * self.roofline_tok_s / self.output_tok_s - 1) > SAME:
                raise ValueError(where + "roofline_fraction is not output_tok_s / roofline_tok_s")
            if self.roofline_fraction > 1:
                raise ValueError(
                    where + f"{self.roofline_fraction:.2f} of the roofline: faster than the hardware can be"
                )
        return self


class ContractResult(Part):
    """One contract check, with the model and weights it ran on."""

    name: str
    group: str
    state: Literal["passed", "failed", "skipped"]
    why: Text = ""
    model: str
    weights: str

    @model_validator(mode="after")
    def explained(self) -> "ContractResult":
        if self.state != "passed" and not self.why:
            raise ValueError(f"{self.name} is {self.state} without a reason")
        return self


class MachineRecord(Part):
    """What the run ran on."""

    gpus: list[str] = []
    driver: str | None = None
    gpu_memory_gib: float | None = None
    cpu: str
    cores: int
    memory_gib: float


class Served(Part):
    """How the measured server was split, copied and configured."""

    tensor_parallel_size: Count  # GPUs (or CPU ranks) of one copy
    replicas: Count  # copies behind one router
    profile: Annotated[str, Field(min_length=1)]  # of the recipe; `bare` for `vllm serve` without one
    activations: Activation  # the parameter; FP8 through humming is a profile's, or named in the variant
    variant: str = ""  # what a campaign changed on top, in words; empty for the recipe as it is

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """What a run's checked parameters ask for."""
        return cls(
            tensor_parallel_size=parameters.tensor_parallel_size,
            replicas=parameters.replicas,
            profile=parameters.profile,
            activations=parameters.activations,
        )

    @property
    def label(self) -> str:
        """The configuration in a figure: parallelism, replicas, variant, as in `4 x TP1`."""
        return f"{layout(self.tensor_parallel_size, self.replicas)} {self.variant}".rstrip()


class Launched(Part):
    """One process of several behind one address, as it was started."""

    argv: Argv
    env: Environment = {}


class Acceptance(Part):
    """How many tokens a verification step of speculative decoding gives, the model's own one included."""

    kind: Literal["measured", "synthetic"]
    tokens_per_step: Annotated[float, Field(ge=1)]
    source: str = ""  # where the figure of a synthetic one comes from

    @model_validator(mode="after")
    def sourced(self) -> Self:
        if self.kind == "synthetic" and not self.source:
            raise ValueError("a synthetic acceptance names its source")
        return self


class RunRecord(Document):
    """`record.json` of a run folder."""

    TITLE = "run record"
    REMEDY = "run the target again"
    SCHEMA = 2  # 1 had no `serving`

    schema_: Literal[2] = Field(2, alias="schema")
    target: str
    model: Model
    weights: Weights
    serving: Served
    parameters: dict[str, Any]  # as the run was asked
    argv: Argv
    env: Environment
    # With replicas: each of them, the first again, and the router last. None: a record of before they were kept.
    servers: list[Launched] | None = []
    machine: MachineRecord
    versions: dict[str, str]
    commit: str
    startup_s: dict[str, Annotated[float, Field(ge=0)]]  # seconds by phase, and `total`
    memory: dict[str, float] = {}
    backends: dict[str, str] = {}
    acceptance: Acceptance | None = None  # where the server speculates
    contracts: list[ContractResult] = []
    state: Literal["passed", "failed", "skipped"]
    why: Text = ""
    started: Utc
    finished: Utc
    throughput: list[Point] = []
    notes: list[str] = []

    @model_validator(mode="after")
    def coherent(self) -> "RunRecord":
        if self.finished < self.started:
            raise ValueError("finished lies before started")
        if self.state != "passed" and not self.why:
            raise ValueError(f"a run that {self.state} says why")
        failed = [contract.name for contract in self.contracts if contract.state == "failed"]
        if self.state == "passed" and failed:
            raise ValueError(f"passed with failed contracts: {', '.join(failed)}")
        if "vllm" not in self.versions and self.state == "passed":
            raise ValueError("versions name no vllm")
        size = dict(zip(self.argv, self.argv[1:], strict=False)).get("--tensor-parallel-size", "1")
        if self.argv and size != str(self.serving.tensor_parallel_size):
            raise ValueError(f"serving says tensor_parallel_size {self.serving.tensor_parallel_size}, argv {size}")
        if self.serving.replicas > 1 and self.argv and self.servers == []:
            raise ValueError(f"{self.serving.replicas} replicas and the command of one")
        keys = [(point.concurrency, point.input_tokens, point.output_tokens) for point in self.throughput]
        if len(keys) != len(set(keys)):
            raise ValueError("two throughput points have the same settings")
        return self

    @property
    def release(self) -> str:
        """The release of vLLM that ran, without what names its build: 0.32.0 of 0.32.0+cpu."""
        return self.versions["vllm"].split("+")[0]


def first_problem(error: ValidationError) -> str:
    """The first validation problem in one line."""
    problem = error.errors()[0]
    place = ".".join(str(piece) for piece in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
