"""What a campaign can measure: kinds of steps, levers over a recipe, loads. Data, and the little that reads it."""

import json
from dataclasses import dataclass, field
from typing import ClassVar

from helpers.bench.sweep import Load, plan
from helpers.records.record import Acceptance

CHUNKS = "stream interval 20: itl_ms is the time between chunks of 20 tokens"
DRAFT = "<draft>"  # in a lever's arguments: the folder of the model's draft head
NO_PREFIXES = ["--no-enable-prefix-caching"]  # prompts are random, so that a prefix cache could only cost

# How many tokens of a draft count is a property of the trained head and of the text. Random ones are given what NVIDIA's own
# synthetic benchmark of gpt-oss-120b sets: 2.72 tokens a step of the 4 that 3 drafted tokens can give.
ACCEPTANCE = 2.72
ACCEPTANCE_SOURCE = "NVIDIA Dynamo's recipe of gpt-oss-120b on H200 with gpt-oss-120b-Eagle3-v3, 3 drafted tokens"
ACCEPTANCE_SET = "set, to show the gain against acceptance: a user's own text and head decide where they stand"
DRAFTED = 3


@dataclass(frozen=True)
class Lever:
    """Flags and variables over the recipe's profile, and what a record calls them."""

    variant: str
    arguments: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    acceptance: Acceptance | None = None  # where it speculates

    def __add__(self, other: "Lever") -> "Lever":
        return Lever(
            f"{self.variant}, {other.variant}",
            [*self.arguments, *other.arguments],
            self.env | other.env,
            self.acceptance or other.acceptance,
        )

    @property
    def speculates(self) -> bool:
        """Whether a draft proposes tokens."""
        return self.acceptance is not None

    def laid(self, draft: str) -> list[str]:
        """The arguments with the draft head's folder in place."""
        return [word.replace(DRAFT, draft) for word in self.arguments]


def eagle3(acceptance: float) -> Lever:
    """EAGLE3 with a random head and an acceptance length that is set."""
    settings = {
        "method": "eagle3",
        "model": DRAFT,
        "num_speculative_tokens": DRAFTED,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_length": acceptance,
    }
    return Lever(
        f"EAGLE3 (acceptance {acceptance})",
        ["--speculative-config", json.dumps(settings)],
        acceptance=Acceptance(
            kind="synthetic",
            tokens_per_step=acceptance,
            source=ACCEPTANCE_SOURCE if acceptance == ACCEPTANCE else ACCEPTANCE_SET,
        ),
    )


NONE = Lever("")
BASE = Lever(
    "base of the levers"
)  # the recipe's own flags, a name of its own where a page's notebook measures them too
LATENCY = Lever("latency profile")
HUMMING = Lever("humming experts", ["--moe-backend", "humming"])
FP8 = Lever(
    "FP8 activations (humming)", HUMMING.arguments, {"VLLM_HUMMING_INPUT_QUANT_CONFIG": '{"a_dtype": "float8e4m3"}'}
)
EAGLE3 = eagle3(ACCEPTANCE)
FP8_CACHE = Lever(
    "FP8 KV cache (full attention)", ["--kv-cache-dtype", "fp8", "--kv-cache-dtype-skip-layers", "sliding_window"]
)


@dataclass(frozen=True)
class Step:
    """One thing to measure. `needs` is how many GPUs it takes, `gpus` are those that it was given."""

    done: ClassVar[str]  # the file in the step's folder that says that it is through

    name: str
    model: str
    needs: int = field(default=1, kw_only=True)
    gpus: tuple[int, ...] = field(default=(), kw_only=True)
    least_s: float = field(default=0, kw_only=True)  # with less time left it is not begun
    takes_s: float = field(
        default=0, kw_only=True
    )  # as long as it took on such a card, its checkpoint written: for timetables


@dataclass(frozen=True)
class Notebook(Step):
    """The target's notebook through papermill, as `cookbook run` executes it; its own sweep unless one is given."""

    done = "record.json"

    concurrency: list[int] | None = None
    weights: str = "synthetic"


@dataclass(frozen=True)
class Job(Step):
    """One server and the sweep against it, `repeats` times over; a record holds each point's median.

    `profile` is the recipe's; "" stands for `vllm serve` as it comes.
    """

    done = "record.json"

    loads: list[Load]
    lever: Lever = NONE
    repeats: int = 1
    starts: int = 1  # the last one is measured; the others fill the caches of compiled code
    once: list[Load] = field(default_factory=list)  # after the repeated ones: too long to take often
    profile: str = "throughput"
    arguments: list[str] = field(default_factory=lambda: list(NO_PREFIXES))
    weights: str = "synthetic"
    note: str = CHUNKS
    replicas: int = 1  # servers behind one address, each on its share of the GPUs
    graphs: int = 0  # the largest batch of tokens that is captured; 0: what the loads need
    # the recipe's own graphs: a start takes a minute more, and the flags are those of the recipe
    exact: bool = False

    @property
    def size(self) -> int:
        """The tensor-parallel size."""
        return max(self.needs // self.replicas, 1)

    @property
    def variant(self) -> str:
        """What sets it apart from the recipe: such a record is no curve of its own."""
        return ", ".join(filter(None, ["" if self.profile else "bare vllm serve", self.lever.variant]))

    def captured(self, most: int = 0) -> list[int]:
        """Batch sizes to capture: powers of two up to what the loads need, or to `most`.

        gpt-oss captures 83 otherwise, which takes a minute of every start.
        """
        drafted = 1 + DRAFTED if self.lever.speculates else 1
        wanted = self.graphs or max(load.concurrency for load in [*self.loads, *self.once]) * drafted
        largest = min(wanted, most) if most else wanted
        sizes = [1]
        while sizes[-1] < largest:
            sizes.append(sizes[-1] * 2)
        return sizes


@dataclass(frozen=True)
class Routing(Step):
    """How evenly tokens spread over the experts under a lever; optionally what each prompt's next token would be."""

    done = "routing.json"

    lever: Lever = NONE
    batches: tuple[int, ...] = (1, 16, 64)
    load_format: str = "auto"
    # of as many, the distribution of the next token is compared with that of the recipe as it is
    prompts: int = 0


@dataclass(frozen=True)
class Tuning(Step):
    """`cookbook tune` with one objective: bare `vllm serve` and the first `trials` configurations of the space."""

    done = "study.json"

    objective: str
    concurrency: list[int]
    trials: int
    first: list[dict] = field(default_factory=list)  # what to begin with, else what recipes/tuning.yaml names


@dataclass(frozen=True)
class Steps(Step):
    """A decode step of bare `vllm serve`, or of it with a lever, taken apart at some batch sizes."""

    done = "steps.json"

    batches: list[int]
    lever: Lever = NONE


@dataclass(frozen=True)
class Tools(Step):
    """The python and browser tools through gpt-oss-nano: each contract of the page about them."""

    done = "tools.json"


@dataclass(frozen=True)
class ToolLoad(Step):
    """A sweep alone, and beside conversations that call the python tool: what tools cost the throughput."""

    done = "tool-load.json"

    load: Load
    conversations: int = 50


@dataclass(frozen=True)
class Hunt(Step):
    """`python -m hunt` against the target's server by a profile and a lever: does any request end it?"""

    done = "hunt.json"

    lever: Lever = NONE
    profile: str = "throughput"
    seconds: float = 300
    requests: int = 10_000
    weights: str = "synthetic"
    arguments: list[str] = field(default_factory=list)
    exact: ClassVar[bool] = True  # the recipe's own graphs

    @property
    def size(self) -> int:
        """The tensor-parallel size."""
        return self.needs


@dataclass(frozen=True)
class Copies(Step):
    """A copy of one model on each GPU, asked alone and together, with the router and without, by one client and by as many."""

    done = "copies.json"

    loads: list[Load]  # of one copy
    arguments: list[str] = field(default_factory=lambda: list(NO_PREFIXES))


@dataclass(frozen=True)
class Recurring(Step):
    """`sessions` sets of prompts in turn, `turns` times over, against a KV cache that holds fewer of them."""

    done = "recurring.json"

    load: Load
    arguments: list[str]  # what makes the cache so small
    lever: Lever = NONE
    sessions: int = 6
    turns: int = 2


@dataclass(frozen=True)
class Answers(Step):
    """gpt-oss-nano under bare `vllm serve` and a lever, asked what it knows: a wrong kernel answers noise."""

    done = "answers.json"

    lever: Lever


Plan = list[Step]  # most wanted first; a step begins as soon as as many GPUs are free as it needs


def waves(concurrency: list[int], input_tokens: int = 1024, output_tokens: int = 1024, number: int = 2) -> list[Load]:
    """Points of `number` prompts per user, the first take of each warmed up at its own batch size."""
    return [
        load.model_copy(update={"prompts": load.concurrency * number})
        for load in plan(concurrency, input_tokens, output_tokens)
    ]


def shared(concurrency: list[int], input_tokens: int, output_tokens: int) -> list[Load]:
    """Points whose prompts begin alike, nine tenths of them: an agent's turns over one long document."""
    tenth = input_tokens // 10
    loads = waves(concurrency, input_tokens, output_tokens, 3)
    return [load.model_copy(update={"shared_tokens": input_tokens - tenth, "warmup_prompts": 1}) for load in loads]
