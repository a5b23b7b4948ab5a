"""What the H200 campaign measures: servers, loads and the order they take the GPUs in."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from helpers.bench.sweep import Load, plan

CONCURRENCY = [1, 4, 16, 64, 128, 256, 512]
LONG = [1, 16, 64]  # at 8,192 input tokens
COMPARED = [1, 16, 64, 256]  # where two configurations are held against each other
# Laid over the recipe's throughput profile. Of its 83 graphs only the measured batch sizes are captured, which saves
# every start a minute; prompts are random, so that prefix caching could only cost.
EXTRA = [
    "--no-enable-prefix-caching",
    "--cudagraph-capture-sizes", "1", "2", "4", "8", "16", "32", "64", "128", "256", "512",
]  # fmt: skip
BARE = ["--no-enable-prefix-caching"]  # `vllm serve MODEL` as it comes
CHUNKS = "stream interval 20: itl_ms is the time between chunks of 20 tokens"


def visible(gpus: tuple[int, ...]) -> dict[str, str]:
    """The variable that shows a process these GPUs only; none where it uses none."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}


@dataclass(frozen=True)
class Step:
    """One thing to measure on some GPUs. `latest_s`: not worth starting after this campaign second."""

    done: ClassVar[str]  # the file in the step's folder that says that it is through

    name: str
    model: str
    gpus: tuple[int, ...]
    latest_s: float = field(default=float("inf"), kw_only=True)


@dataclass(frozen=True)
class Job(Step):
    """One server and the sweeps against it."""

    done = "record.json"

    loads: list[Load]
    weights: str = "synthetic"
    recipe: bool = True  # the target's throughput profile with `arguments` added; else only `arguments`
    arguments: list[str] = field(default_factory=lambda: list(EXTRA))
    note: str = CHUNKS
    variant: str = ""  # what sets it apart from the recipe: such a record is no curve of its own
    replicas: int = 1  # servers behind one address, each on its share of `gpus`

    @property
    def size(self) -> int:
        """The tensor-parallel size."""
        return max(len(self.gpus) // self.replicas, 1)


@dataclass(frozen=True)
class Routing(Step):
    """Routing balance of a checkpoint and of dummy weights, both at once on one GPU."""

    done = "routing-dummy.json"


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
class Answers(Step):
    """gpt-oss-nano under bare `vllm serve` and `arguments`, asked what it knows: a wrong kernel answers noise."""

    done = "answers.json"

    arguments: list[str]


Plan = list[list[list[Step]]]  # stages, one after the other, of lanes that run side by side


def short(concurrency: list[int]) -> list[Load]:
    """The 1,024/1,024 points."""
    return plan(concurrency, 1024, 1024)


def long() -> list[Load]:
    """The 8,192/1,024 points."""
    return plan(LONG, 8192, 1024)


def two_gpus() -> Plan:
    """20b and 120b side by side, then 120b on both, then what else fits."""
    small: list[Step] = [
        Job("20b-tp1", "gpt-oss-20b", (0,), short(CONCURRENCY) + long()),
        Routing("20b-routing", "gpt-oss-20b", (0,)),
        Job("20b-async-off", "gpt-oss-20b", (0,), short(COMPARED), latest_s=600,
            arguments=[*EXTRA, "--no-async-scheduling"], variant="async scheduling off"),
    ]  # fmt: skip
    large: list[Step] = [Job("120b-tp1", "gpt-oss-120b", (1,), short(CONCURRENCY) + long())]
    both: list[Step] = [Job("120b-tp2", "gpt-oss-120b", (0, 1), short(CONCURRENCY) + long())]
    bare = Job(
        "20b-bare",
        "gpt-oss-20b",
        (0,),
        short([1, 64, 256, 512]),
        recipe=False,
        arguments=BARE,
        note="",
        variant="bare vllm serve",
        latest_s=1500,
    )
    dummy = Job(
        "20b-dummy", "gpt-oss-20b", (1,), short(COMPARED), weights="dummy", latest_s=1560,
        note="--load-format dummy: its routing is not balanced, so its speed is not the model's",
    )  # fmt: skip
    return [[small, large], [both], [[bare], [dummy]]]


def one_gpu() -> Plan:
    """The same on one GPU, most wanted first."""
    (small, _), _, ((bare,), (dummy,)) = two_gpus()
    large = Job("120b-tp1", "gpt-oss-120b", (0,), short(CONCURRENCY) + long())
    return [[[*small[:2], large, small[2], bare, replace(dummy, gpus=(0,))]]]


def tuned() -> Plan:
    """What half an hour on two GPUs gives: 120b on both, then 20b tuned for throughput and for latency side by side."""
    both: list[Step] = [Job("120b-tp2", "gpt-oss-120b", (0, 1), short([1, 16, 64, 256]))]
    throughput: list[Step] = [Tuning("20b-throughput", "gpt-oss-20b", (0,), "throughput", [256, 512], 3)]
    latency: list[Step] = [
        Routing("20b-routing", "gpt-oss-20b", (1,)),
        Tuning("20b-latency", "gpt-oss-20b", (1,), "latency", [1, 4, 16], 3),
        Steps("20b-steps", "gpt-oss-20b", (1,), [1, 64, 256], latest_s=1150),
        replace(two_gpus()[2][1][0], loads=short([1, 16, 64]), latest_s=1300),
        Job("20b-async-off", "gpt-oss-20b", (1,), short([1, 4, 16]), recipe=False, arguments=["--no-async-scheduling"],
            note="", variant="bare vllm serve, async scheduling off", latest_s=1450),
    ]  # fmt: skip
    return [[both], [throughput, latency]]


def four_gpus() -> Plan:
    """What half an hour on four GPUs gives: four copies of 20b, 120b on all four, then four lanes side by side."""
    everywhere = (0, 1, 2, 3)
    copies = Job("20b-4xtp1", "gpt-oss-20b", everywhere, short([64, 256, 1024, 16]), replicas=4)
    large = Job("120b-tp4", "gpt-oss-120b", everywhere, short([1, 16, 64, 256]) + long() + short([512]))
    fp8 = {"stream-interval": 20, "moe-backend": "humming", "kv-cache-dtype": "fp8"}
    marlin = ["--moe-backend", "marlin"]
    lanes: list[list[Step]] = [
        [Tuning("120b-throughput", "gpt-oss-120b", (0,), "throughput", [1, 256], 2,
                [{"stream-interval": 20, "moe-backend": name} for name in ("marlin", "humming")])],
        [Job("120b-tp1", "gpt-oss-120b", (1,), short([512]) + long()),
         Answers("nano-answers-marlin", "gpt-oss-nano", (1,), marlin),
         Answers("nano-answers-humming", "gpt-oss-nano", (1,), ["--moe-backend", "humming"])],
        [Tuning("20b-throughput", "gpt-oss-20b", (2,), "throughput", [256, 512], 2,
                [fp8, fp8 | {"max-num-batched-tokens": 16384}])],
        [Steps("120b-steps", "gpt-oss-120b", (3,), [1, 64, 256]),
         Job("20b-tp1", "gpt-oss-20b", (3,), long()),
         Steps("120b-steps-marlin", "gpt-oss-120b", (3,), [1, 64, 256], marlin),
         Routing("120b-routing", "gpt-oss-120b", (3,))],
    ]  # fmt: skip
    return [[[copies]], [[large]], lanes]


def rehearsal() -> Plan:
    """Every kind of step with gpt-oss-nano on the CPU stack."""
    tiny = plan([1, 2], 64, 16)
    cpu = ["--enforce-eager", "--max-model-len", "2048", "--no-enable-prefix-caching"]
    nano = Job("nano", "gpt-oss-nano", (), tiny + plan([1], 128, 16), weights="nano", arguments=cpu, note="")
    late = replace(nano, name="late", latest_s=0)
    dummy = replace(nano, name="nano-dummy", weights="dummy", loads=tiny)
    tuning = Tuning("nano-latency", "gpt-oss-nano", (), "latency", [1, 2], 1, [{"max-num-seqs": 2}])
    answers = Answers("nano-answers", "gpt-oss-nano", (), ["--enforce-eager"])
    copies = replace(nano, name="nano-copies", replicas=2, loads=tiny)
    probes: list[Step] = [dummy, Routing("nano-routing", "gpt-oss-nano", ()), tuning, answers]
    return [[[nano, late]], [[copies]], [probes]]


PLANS = {"four": four_gpus, "two": two_gpus, "one": one_gpu, "tuned": tuned, "rehearsal": rehearsal}
