"""The run record: the one document that every figure and every "verified" in the cookbook comes from."""

import contextlib
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from helpers import redact
from helpers.errors import CookbookError
from helpers.recipes.parameters import Count, Parameters
from helpers.recipes.target import Activation

SCHEMA = 1  # raised when a reader of older records would misread a newer one
SECRET_NAME = re.compile(r"(?i)(key|token|secret|passw|credential|auth)")
SECRET_VALUE = re.compile(r"^(sk-|hf_|ghp_|gho_|github_pat_|Bearer |AKIA)")
SECRET_FLAG = re.compile(r"^--?(api-key|hf-token|token|password)(=|$)")
NOT_SECRET = {"TOKENIZERS_PARALLELISM"}  # named like one, holds none
HIDDEN = "(removed)"
CLOSED_LOOP = (0.3, 1.05)  # requests in flight over concurrency; below 1 where the last ones run out
MEANS_AGREE = 0.05  # e2e = ttft + tpot * (n - 1) holds exactly for means of equal lengths
SAME = 0.01  # two ways of writing one number
FASTEST_USER = 10_000  # tok/s; the fastest hosted gpt-oss is near 2,000: above this, tokens arrived in one burst


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None or moment.utcoffset().total_seconds() != 0:
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

    TITLE: ClassVar[str] = "run record"
    REMEDY: ClassVar[str] = "run the target again"

    def write(self, path: Path) -> Path:
        """Write it atomically."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self.model_dump(mode="json", by_alias=True), indent=1) + "\n")
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise CookbookError(
                f"{path.name} cannot be written",
                error.strerror,
                "free some disk, or name a run_dir that you can write to",
            ) from None
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """A document from disk, checked; a `CookbookError` names the file and the first problem."""
        try:
            return cls.model_validate_json(Path(path).read_text())
        except OSError as error:
            raise CookbookError(
                f"{Path(path).name} cannot be read", str(error.strerror), "run the target first"
            ) from None
        except ValidationError as error:
            raise CookbookError(f"{path} is not a {cls.TITLE}", first_problem(error), cls.REMEDY) from None


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
        means = (self.ttft_ms.mean, self.tpot_ms.mean, self.e2e_ms.mean)
        if None not in means and self.output_tokens > 1:
            ttft, tpot, e2e = means
            if abs((ttft + tpot * (self.output_tokens - 1)) / e2e - 1) > MEANS_AGREE:
                raise ValueError(where + f"TTFT {ttft:.1f} + TPOT {tpot:.2f} ms x tokens is not e2e {e2e:.1f} ms")
        if self.roofline_fraction is not None and self.roofline_tok_s is not None:
            if abs(self.roofline_fraction * self.roofline_tok_s / self.output_tok_s - 1) > SAME:
                raise ValueError(where + "roofline_fraction is not output_tok_s / roofline_tok_s")
            if self.roofline_fraction > 1:
                raise ValueError(
                    where + f"{self.roofline_fraction:.2f} of the roofline: faster than the hardware can be"
                )
        return self


class Contract(Part):
    """One contract check, with the model and weights it ran on."""

    name: str
    group: str
    state: Literal["passed", "failed", "skipped"]
    why: str = ""
    model: str
    weights: str

    @field_validator("why")
    @classmethod
    def why_without_secrets(cls, why: str) -> str:
        return redact.text(why)

    @model_validator(mode="after")
    def explained(self) -> "Contract":
        if self.state != "passed" and not self.why:
            raise ValueError(f"{self.name} is {self.state} without a reason")
        return self


class Machine(Part):
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
    replicas: Count = 1  # copies behind one router
    profile: Annotated[str, Field(min_length=1)]  # of the recipe; `bare` for `vllm serve` without one
    activations: Activation = "bf16"
    variant: str = ""  # what a campaign changed on top, in words; empty for the recipe as it is

    @classmethod
    def of(cls, parameters: Parameters, variant: str = "") -> "Served":
        """What a run's checked parameters ask for."""
        return cls(
            variant=variant, **{name: getattr(parameters, name) for name in cls.model_fields if name != "variant"}
        )


class RunRecord(Document):
    """`record.json` of a run folder."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    target: str
    model: Model
    weights: Weights
    parameters: dict
    argv: list[str]
    env: dict[str, str]
    machine: Machine
    versions: dict[str, str]
    commit: str
    startup_s: dict[str, Annotated[float, Field(ge=0)]]
    memory: dict[str, float] = {}
    backends: dict[str, str] = {}
    replicas: Annotated[int, Field(gt=0)] = 1
    contracts: list[Contract] = []
    state: Literal["passed", "failed", "skipped"]
    why: str = ""
    started: Utc
    finished: Utc
    throughput: list[Point] = []
    notes: list[str] = []

    @field_validator("why")
    @classmethod
    def why_without_secrets(cls, why: str) -> str:
        return redact.text(why)

    @field_validator("env")
    @classmethod
    def without_secrets(cls, env: dict[str, str]) -> dict[str, str]:
        return {name: HIDDEN if is_secret(name, value) else redact.text(value) for name, value in env.items()}

    @field_validator("argv")
    @classmethod
    def argv_without_secrets(cls, argv: list[str]) -> list[str]:
        clean, hide_next = [], False
        for word in argv:
            flag = SECRET_FLAG.match(word)
            clean.append(HIDDEN if hide_next else f"{word.split('=')[0]}={HIDDEN}" if flag and "=" in word else word)
            hide_next = bool(flag) and "=" not in word
        return [word if HIDDEN in word else redact.text(word) for word in clean]

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
        keys = [(point.concurrency, point.input_tokens, point.output_tokens) for point in self.throughput]
        if len(keys) != len(set(keys)):
            raise ValueError("two throughput points have the same settings")
        return self


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable must stay out of a record."""
    return name not in NOT_SECRET and bool(SECRET_NAME.search(name) or SECRET_VALUE.match(value))


def first_problem(error: ValidationError) -> str:
    """The first validation problem in one line."""
    problem = error.errors()[0]
    place = ".".join(str(piece) for piece in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
