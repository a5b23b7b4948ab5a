"""What a campaign measures: servers, loads, levers, and which is wanted most. Data, and the little that reads it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from helpers.bench.sweep import Load, plan
from helpers.recipes import Target
from helpers.records.record import Acceptance
from maintain.deploy.fragments import fragments

CHUNKS = "stream interval 20: itl_ms is the time between chunks of 20 tokens"
DRAFT = "<draft>"  # in a lever's arguments: the folder of the model's draft head
NO_PREFIXES = ["--no-enable-prefix-caching"]  # prompts are random, so that a prefix cache could only cost

# How many tokens of a draft count is a property of the trained head and of the text. Random ones are given the figure
# that was published for the trained head: 2.72 tokens a step of the 4 that 3 drafted tokens can give.
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
# the same flags, a name of its own where the notebook measures the recipe itself
BASE = Lever("base of the levers")
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
    """A decode step of bare `vllm serve` (and `arguments`) taken apart at some batch sizes."""

    done = "steps.json"

    batches: list[int]
    arguments: list[str] = field(default_factory=list)


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
    """Two copies of one model, asked one by one and together, with the router and without, by one client and by two."""

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


USERS = [1, 4, 16, 64]
SWEEP = [*USERS, 128, 256]
LONG_NOTE = "nine tenths of each prompt are the same tokens, and the prefix cache is on"


def hopper(target: Target) -> Plan:
    """Several GPUs of one host: a page's runs where the target has none yet (80 GB cards), levers beside bare vLLM."""
    return pages(target) if target.device.memory_gib < 100 else levers()


def pages(target: Target) -> Plan:
    """What the page of a card shows on which 120b takes two: notebooks, the known limit, two GPUs, then levers."""
    small, large = "gpt-oss-20b", "gpt-oss-120b"
    return [
        Notebook("120b-notebook", large, [1, 16, 64], needs=2, least_s=400),
        Notebook("20b-notebook", small, least_s=400),
        tight(),
        Job("120b-tp2", large, waves(SWEEP), once=waves([16, 64, 1], 8192), needs=2, least_s=300),
        Job("20b-fp8-eagle3", small, waves([*USERS, 128]), FP8 + EAGLE3, repeats=2, least_s=200),
        Job("20b-bare", small, waves([*USERS, 256]), profile="", note="", repeats=2, least_s=250),
        Tools("nano-tools", "gpt-oss-nano", least_s=110),
        Job("20b-fp8", small, waves([*USERS, 256]), FP8, repeats=2, least_s=180),
        Job("120b-tp2-fp8-eagle3", large, waves(USERS), FP8 + EAGLE3, needs=2, once=waves([128]), least_s=200),
        ToolLoad("20b-tool-load", small, waves([64])[0], least_s=200),
        Job("20b-base", small, waves([*USERS, 256]), BASE, repeats=2, least_s=200),
        long_context(2),
        Job("120b-tp1-bare", large, waves([1, 64]), profile="", note="", least_s=200),
        Job("120b-tp2-bare", large, waves([1, 16, 64]), profile="", note="", needs=2, least_s=300),
        eight("20b-tp1"),
        Job("20b-eagle3", small, waves(USERS), EAGLE3, least_s=180),
    ]


def tight() -> Job:
    """120b on one 80 GB card with the recipe's own flags against the known limit, and not one other."""
    loads, long = waves([*USERS, 128]), waves([1, 16], 8192)
    return Job("120b-tp1", "gpt-oss-120b", loads, once=long, arguments=[], exact=True, least_s=300)


def eight(name: str, also: list[int] | None = None) -> Job:
    """20b as the recipe serves it at 8,192 tokens in (and 1,024); after the notebook's server its start is a warm one."""
    loads = [*waves([1, 16, 64], 8192), *(waves(also) if also else [])]
    return Job(name, "gpt-oss-20b", loads, arguments=[], exact=True, least_s=180)


def long_context(gpus: int) -> Job:
    """The published agent's point, and a prompt as long as the model takes."""
    loads = [*shared([8, 16, 32], 64_000, 400), *waves([1], 130_048, 512, 1)]
    return Job("120b-long", "gpt-oss-120b", loads, arguments=[], needs=gpus, note=LONG_NOTE, least_s=250)


def levers() -> Plan:
    """Each lever beside bare `vllm serve` on one host, the gain against acceptance, tools, a long context."""
    small, large = "gpt-oss-20b", "gpt-oss-120b"
    return [
        Job("120b-bare", large, waves(USERS), profile="", note="", once=waves([128]), least_s=300),
        Job("120b-fp8-eagle3", large, waves(USERS), FP8 + EAGLE3, repeats=2, once=waves([128, 256]), least_s=250),
        Job("20b-bare", small, waves([*USERS, 256]), profile="", note="", repeats=2, least_s=250),
        Job("20b-fp8-eagle3", small, waves([*USERS, 128]), FP8 + EAGLE3, repeats=2, once=waves([256]), least_s=200),
        Job("120b-fp8", large, waves(USERS), FP8, once=waves([128]), least_s=250),
        Routing("120b-routing-fp8", large, FP8, least_s=130),
        Job("20b-fp8-eagle3-1.0", small, waves([1, 16, 64]), FP8 + eagle3(1.0), least_s=170),
        Tools("nano-tools", "gpt-oss-nano", least_s=150),
        Job("20b-fp8-eagle3-4.0", small, waves([1, 16, 64]), FP8 + eagle3(4.0), least_s=170),
        Job("20b-throughput", small, waves([*USERS, 256]), BASE, least_s=200),
        Job("20b-latency", small, waves([1, 4, 16]), Lever("latency profile"), profile="latency", least_s=170),
        ToolLoad("20b-tool-load", small, waves([64])[0], least_s=200),
        long_context(1),
        Job("120b-fp8-kv", large, waves([128, 256]), FP8 + FP8_CACHE, least_s=230),
        Job("20b-fp8-eagle3-2.0", small, waves([1, 16, 64]), FP8 + eagle3(2.0), least_s=170),
        Job("20b-eagle3", small, waves(USERS), EAGLE3, least_s=170),
        Job("20b-fp8-kv", small, waves([256, 512]), FP8 + FP8_CACHE, least_s=200),
        Job("20b-fp8-eagle3-kv", small, waves([256, 512]), FP8 + EAGLE3 + FP8_CACHE, least_s=200),
        Job("120b-base", large, waves(USERS), BASE, least_s=280),
    ]


def single(target: Target) -> Plan:
    """One GPU for a quarter of an hour, all that an 80 GB card can tell: its page, the known limit, then levers."""
    small, large = "gpt-oss-20b", "gpt-oss-120b"
    return [
        Notebook("20b-notebook", small, least_s=300),
        Job("120b-tp1-bare", large, waves([1, 64]), profile="", note="", least_s=120),
        tight(),
        eight("20b-tp1"),
        Job("20b-fp8", small, waves([*USERS, 256]), FP8, least_s=170),
        Job("20b-fp8-eagle3", small, waves([*USERS, 128]), FP8 + EAGLE3, least_s=170),
        Job("20b-bare", small, waves([*USERS, 256]), profile="", note="", least_s=220),
    ]


def four(target: Target) -> Plan:
    """Four GPUs of one host: what takes all of them first, then the page anew beside what no card has told yet."""
    small, large = "gpt-oss-20b", "gpt-oss-120b"
    longest = waves([128], 8192)  # 128 at once: the workload that vLLM's own tracking publishes
    tp4 = Job("120b-tp4", large, waves([1, 16, 64, 256]), once=[*waves([300]), *longest], needs=4, least_s=350)
    two = Job("120b-tp2", large, waves(SWEEP), once=waves([64, 16, 1], 8192), needs=2, least_s=300)
    return [
        tp4,
        Notebook("20b-notebook", small, least_s=400),
        Tools("nano-tools", "gpt-oss-nano", least_s=150),
        ToolLoad("20b-tool-load", small, waves([64])[0], least_s=200),
        eight("20b-tp1"),
        long_context(2 if target.device.memory_gib < 100 else 1),
        *([two] if target.device.memory_gib > 100 else []),  # H100's is on record
        *(step for step in levers() if step.name not in ("nano-tools", "20b-tool-load", "120b-long")),
    ]


def two(target: Target) -> Plan:
    """Two GPUs of one host: the page's own model, and beside it what the card lacks."""
    small, large = "gpt-oss-20b", "gpt-oss-120b"
    if target.device.memory_gib < 100:
        return [
            Notebook("20b-notebook", small, least_s=400),
            ToolLoad("20b-tool-load", small, waves([64])[0], least_s=200),
            eight("20b-tp1", also=[128]),
            Job("20b-base", small, waves([*USERS, 256]), BASE, repeats=2, least_s=200),
        ]
    return [
        Notebook("120b-notebook", large, USERS, least_s=550),  # with 256 at once it takes 200 s more
        Job("120b-bare", large, waves(USERS), profile="", note="", least_s=300),
        Job("120b-fp8-eagle3", large, waves(USERS), FP8 + EAGLE3, once=waves([128]), least_s=230),
        eight("20b-tp1"),
    ]


SMALL_CACHE = ["--kv-cache-memory-bytes", str(8 * 2**30)]  # two sessions of 16 x 8,192 tokens of 20b, where six recur
HOST_GIB = 48


def copies(target: Target) -> Plan:
    """Two GPUs of one host: what holds two copies of 20b back, and what KV cache in host memory gives prompts that come back."""
    small, load = "gpt-oss-20b", waves([16], 8192, 64, 1)[0]
    offload = fragments()["kv-offload"].flags(HOST_GIB)
    words = [word for flag, value in offload.items() for word in (flag, *value)]
    lever = Lever(f"KV cache in {HOST_GIB} GiB of host memory", words)
    return [
        Copies("20b-copies", small, waves([64, 256]), needs=2, least_s=450),
        Recurring("20b-recurring-offload", small, load, SMALL_CACHE, lever, least_s=180),
        Recurring("20b-recurring", small, load, SMALL_CACHE, least_s=180),
    ]


def hunt(target: Target) -> Plan:
    """What a card's own kernels make of hostile requests: each profile, then speculation and FP8, alone and together."""
    small = "gpt-oss-20b"
    return [
        Hunt("20b-hunt", small, seconds=500, least_s=250),
        Hunt("20b-hunt-latency", small, profile="latency", seconds=400, least_s=200),
        Hunt("20b-hunt-fp8-eagle3", small, FP8 + EAGLE3, seconds=400, least_s=200),
        Hunt("20b-hunt-eagle3", small, EAGLE3, seconds=300, least_s=200),
        Hunt("20b-hunt-fp8-kv", small, FP8_CACHE, seconds=300, least_s=200),
    ]


def rehearsal(target: Target) -> Plan:
    """Every kind of step with gpt-oss-nano on the CPU stack."""
    nano = "gpt-oss-nano"
    tiny = waves([1, 2], 64, 16)
    cpu = ["--enforce-eager", "--max-model-len", "2048", *NO_PREFIXES]
    few = Lever("64 at once", ["--max-num-seqs", "64"], {"VLLM_CPU_KVCACHE_SPACE": "1"})
    return [
        Job("nano", nano, [*tiny, *waves([1], 128, 16)], repeats=2, weights="nano", arguments=cpu, note=""),
        Job("nano-few", nano, tiny, few, repeats=3, weights="nano", arguments=cpu, note=""),
        Job("nano-large", nano, tiny, weights="nano", arguments=cpu, needs=99),
        Job("nano-broken", nano, tiny, Lever("broken", ["--max-num-seqs", "0"]), weights="nano", arguments=cpu),
        Job("late", nano, tiny, weights="nano", arguments=cpu, least_s=1e9),
        Notebook("nano-notebook", nano, [1, 2], weights="nano"),
        Routing("nano-routing", nano, batches=(1, 4), prompts=8),
        Routing("nano-routing-few", nano, few, batches=(1,), prompts=8),
        Tuning("nano-latency", nano, "latency", [1, 2], 1, [{"max-num-seqs": 2}]),
        Answers("nano-answers", nano, Lever("eager", ["--enforce-eager"])),
        Tools("nano-tools", nano),
        Hunt("nano-hunt", nano, few, seconds=20, weights="nano", arguments=["--enforce-eager"]),
        ToolLoad("nano-tool-load", nano, tiny[1], conversations=4),
        Copies("nano-copies", nano, tiny[1:], arguments=cpu, needs=2),
        Recurring("nano-recurring", nano, waves([2], 640, 16, 1)[0], cpu[:3], sessions=2),
        Job("nano-shared", nano, shared([2], 640, 16), weights="nano", arguments=cpu[:3], note=LONG_NOTE),
    ]


PLANS: dict[str, Callable[[Target], Plan]] = {
    "two": two,
    "four": four,
    "copies": copies,
    "hopper": hopper,
    "single": single,
    "hunt": hunt,
    "rehearsal": rehearsal,
}
