"""The campaigns by name: which steps, most wanted first, and when each would run.

`takes_s` is what a step took on such a card, from the events of the campaigns so far (`recipes/records/*/evidence/`), else the
sum of a start and its points at the tok/s on record. `timetable` lays a plan out by them, as the driver would take it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from benchmarks.campaign.plan import (
    BASE,
    EAGLE3,
    FP8,
    FP8_CACHE,
    LATENCY,
    NO_PREFIXES,
    Answers,
    Copies,
    Hunt,
    Job,
    Lever,
    Notebook,
    Plan,
    Recurring,
    Routing,
    Step,
    Steps,
    ToolLoad,
    Tools,
    Tuning,
    eagle3,
    shared,
    waves,
)
from helpers.bench.sweep import Load
from helpers.recipes import Target
from maintain.deploy.fragments import fragments

SMALL, LARGE, NANO = "gpt-oss-20b", "gpt-oss-120b", "gpt-oss-nano"
USERS = [1, 4, 16, 64]
LONG_NOTE = "nine tenths of each prompt are the same tokens, and the prefix cache is on"
SMALL_CACHE = ["--kv-cache-memory-bytes", str(8 * 2**30)]  # two sessions of 16 x 8,192 tokens of 20b, where six recur
HOST_GIB = 48
WRITES_S = {SMALL: 20, LARGE: 60}  # a checkpoint, once on a host


def narrow(target: Target) -> bool:
    """Whether the card holds 80 GB: 120b takes two of them, so that its page is one of 20b."""
    return target.device.memory_gib < 100


def single(target: Target) -> Plan:
    """One GPU: its page, long prompts, what tools cost, requests that might end a server; on 141 GB levers of 120b."""
    if narrow(target):
        return [page20(), eight(), tools20(), hunt20()]
    return [page120(), bare(LARGE, 1), fp8_eagle3(LARGE, 1), routing120()]


def two(target: Target) -> Plan:
    """Two GPUs of one host: the page beside the base of the levers, then what takes both."""
    if narrow(target):
        levers = [fp8_eagle3(SMALL), bare(SMALL)]
        return [page20(), *levers, tools20(), eight(), base(SMALL), *distances(SMALL), *offload()]
    return [page120(), bare(LARGE), fp8_eagle3(LARGE), routing120(), tp2(), fp8(LARGE), warm(LARGE)]


def four(target: Target) -> Plan:
    """Four GPUs of one host: 20b's levers beside `vllm serve`, what tools cost, then the page and what the card lacks most."""
    levers = [base(SMALL), fp8(SMALL, also=[256]), fp8_eagle3(SMALL)]
    first = [bare(SMALL, also=[256]), eagle3_alone(SMALL)]
    if narrow(target):
        then = [two_copies(), latency(SMALL), page20(), *taken_apart(), *offload(), warm(SMALL), eight(), tools20()]
        rest = [hunt20(FP8 + EAGLE3), fp8_kv(SMALL), *distances(SMALL), acceptance(1.0), acceptance(4.0)]
        return [*first, *levers, *then, *rest]
    then = [
        latency(SMALL),
        bare(LARGE),
        base(LARGE),
        *taken_apart(),
        warm(LARGE),
        pauses(),
        fp8_kv(SMALL),
        two_copies(),
    ]
    rest = [most120(), eight(LARGE), tools20(), *distances(SMALL), *distances(LARGE), *offload(), hunt20(FP8 + EAGLE3)]
    last = [tp2(), fp8_eagle3(LARGE), fp8(LARGE), eagle3_alone(LARGE), fp8_kv(LARGE)]
    return [page120(), *first, eight(), *levers, *then, *rest, *last]


def wide(target: Target) -> Plan:
    """Four GPUs of one host, for what takes all or many of them: tensor-parallel 4, an agent's and the longest prompts."""
    longest = waves([128], 8192)  # 128 at once: the workload that vLLM's own tracking publishes
    once, graphs = [*waves([300]), *longest], waves([1, 16, 64, 256])
    tp4 = Job("120b-tp4", LARGE, graphs, once=once, needs=4, least_s=350, takes_s=500)
    gpus = 2 if narrow(target) else 1
    loads = [*shared([8, 16, 32], 64_000, 400), *waves([1], 130_048, 512, 1)]
    flags = {"arguments": [], "note": LONG_NOTE}
    long = Job("120b-long", LARGE, loads, needs=gpus, least_s=250, takes_s=420, **flags)
    copied = replace(two_copies(), needs=4)
    rest = [step for step in four(target) if step.name != copied.name]
    return [tp4, copied, long, Tools("nano-tools", NANO, least_s=110, takes_s=130), *rest]


def copies(target: Target) -> Plan:
    """Two GPUs of one host: what holds two copies of 20b back, and KV cache in host memory for prompts that come back."""
    return [two_copies(), *offload()]


def hunt(target: Target) -> Plan:
    """What a card's own kernels make of hostile requests: two profiles, then FP8 + EAGLE3, EAGLE3 and an FP8 cache."""
    latency = Hunt("20b-hunt-latency", SMALL, profile="latency", seconds=400, least_s=200, takes_s=560)
    return [hunt20(), latency, hunt20(FP8 + EAGLE3), hunt20(EAGLE3), hunt20(FP8_CACHE)]


def page20() -> Notebook:
    """The page of an 80 GB card, with its own sweep."""
    return Notebook("20b-notebook", SMALL, least_s=400, takes_s=615)


def page120() -> Notebook:
    """The page of a 141 GB card, with its own sweep."""
    return Notebook("120b-notebook", LARGE, least_s=550, takes_s=840)


def tools20() -> ToolLoad:
    """What 50 conversations that call python cost 64 users."""
    return ToolLoad("20b-tool-load", SMALL, waves([64])[0], least_s=250, takes_s=340)


def eight(model: str = SMALL) -> Job:
    """A model on one GPU as the recipe serves it, at 8,192 tokens in."""
    name, least, takes = ("120b-tp1-8192", 260, 420) if model == LARGE else ("20b-tp1", 180, 280)
    return Job(name, model, waves([1, 16, 64], 8192), arguments=[], exact=True, least_s=least, takes_s=takes)


def distances(model: str) -> Plan:
    """How far next-token distributions lie from the recipe's under FP8 activations and under an FP8 cache; how tokens spread."""
    name, takes = ("120b", 190) if model == LARGE else ("20b", 130)
    levers = {"base": Lever(""), "fp8": FP8, "fp8-kv": FP8_CACHE}
    times = {"least_s": takes, "takes_s": takes}
    return [Routing(f"{name}-routing-{word}", model, lever, prompts=1000, **times) for word, lever in levers.items()]


def tp2() -> Job:
    """120b on two GPUs."""
    loads, long = waves([2, 8, 32, 128, 256]), waves([64, 16], 8192)  # for each GPU as many as one was asked
    return Job("120b-tp2", LARGE, loads, once=long, needs=2, least_s=260, takes_s=440)


def taken_apart() -> Plan:
    """A decode step of 20b as bare `vllm serve` takes it, and with FP8 activations."""
    levers = {"20b-steps-triton": Lever(""), "20b-steps-fp8": FP8}
    return [Steps(name, SMALL, [1, 64, 256], lever, least_s=250, takes_s=300) for name, lever in levers.items()]


def pauses() -> Job:
    """Do the pauses of the throughput profile at 64 coincide with kernels that are compiled? Few graphs, as where it paused."""
    lever = Lever("each compilation logged", ["--jit-monitor-verbose"])
    return lever_job(SMALL, "pauses", lever, [64], (125, 30, 22))


def warm(model: str) -> Job:
    """A second start of the recipe's own server: compiled code and kernels are there."""
    name, cold, takes = ("120b", 230, 350) if model == LARGE else ("20b", 140, 230)
    return Job(f"{name}-warm", model, waves([1]), arguments=[], exact=True, starts=2, least_s=cold + 60, takes_s=takes)


def routing120() -> Routing:
    """Do tokens still spread over the experts of 120b under FP8 activations?"""
    return Routing("120b-routing-fp8", LARGE, FP8, least_s=120, takes_s=160)


def two_copies(users: list[int] | None = None, takes_s: float = 620) -> Copies:
    """Two copies of 20b alone, together and through the router."""
    return Copies("20b-copies", SMALL, waves(users or [64, 256]), needs=2, least_s=390, takes_s=takes_s)


def offload() -> Plan:
    """Prompts that come back to a cache too small for them, with the fragment `kv-offload` and without."""
    flags = fragments()["kv-offload"].flags(HOST_GIB)
    words = [word for flag, value in flags.items() for word in (flag, *value)]
    lever, load = Lever(f"KV cache in {HOST_GIB} GiB of host memory", words), waves([16], 8192, 64, 1)[0]
    times = {"least_s": 180, "takes_s": 240}
    return [
        Recurring("20b-recurring-offload", SMALL, load, SMALL_CACHE, lever, **times),
        Recurring("20b-recurring", SMALL, load, SMALL_CACHE, **times),
    ]


def hunt20(lever: Lever | None = None) -> Hunt:
    """Hostile requests by the throughput profile, and with a lever."""
    if lever is None:
        return Hunt("20b-hunt", SMALL, seconds=500, least_s=250, takes_s=670)
    word = {FP8.variant: "-fp8", EAGLE3.variant: "-eagle3", FP8_CACHE.variant: "-fp8-kv"}
    name = "".join(short for variant, short in word.items() if variant in lever.variant)
    return Hunt(f"20b-hunt{name}", SMALL, lever, seconds=400, least_s=200, takes_s=550)


def lever_job(model: str, name: str, lever: Lever, users: list[int], seconds: tuple[int, int, int], **more) -> Job:
    """A lever three times over; `seconds`: of the start, of the first take of its points, of a later one."""
    start, first, later = seconds
    repeats, once = more.pop("repeats", 3), more.pop("once", [])
    step = f"{'20b' if model == SMALL else '120b'}-{name}"
    lasting = {"least_s": start + first, "takes_s": start + first + (repeats - 1) * later + more.pop("once_s", 0)}
    return Job(step, model, waves(users), lever, repeats=repeats, once=waves(once) if once else [], **lasting, **more)


def bare(model: str, repeats: int = 3, also: list[int] | None = None, once: list[int] | None = None) -> Job:
    """`vllm serve MODEL`, which every lever is held against."""
    seconds = (250, 155, 130) if model == LARGE else (150, 72 + 54 * bool(also), 52 + 47 * bool(also))
    more = {"profile": "", "note": "", "repeats": repeats, "once": once or [], "once_s": 105 * bool(once)}
    return lever_job(model, "bare", Lever(""), [*USERS, *(also or [])], seconds, **more)


def base(model: str) -> Job:
    """The recipe's own profile as it stands, as one of the levers: with few graphs two of three runs at 64 paused for seconds."""
    seconds = (250, 140, 112) if model == LARGE else (200, 110, 93)
    return lever_job(model, "base", BASE, USERS if model == LARGE else [*USERS, 256], seconds, exact=True)


def fp8_eagle3(model: str, repeats: int = 3) -> Job:
    """FP8 activations and speculation together."""
    if model == LARGE:
        more = {"repeats": repeats, "once": [128], "once_s": 37}
        return lever_job(model, "fp8-eagle3", FP8 + EAGLE3, USERS, (160, 60, 50), **more)
    more = {"repeats": repeats, "once": [256], "once_s": 45}
    return lever_job(model, "fp8-eagle3", FP8 + EAGLE3, [*USERS, 128], (200, 53, 43), exact=True, **more)


def latency(model: str) -> Job:
    """The profile for few users, as it stands."""
    seconds = (155, 140, 112) if model == LARGE else (130, 60, 50)
    return lever_job(model, "latency", LATENCY, USERS, seconds, profile="latency", note="", exact=True)


def most120() -> Job:
    """What FP8 and EAGLE3 give at 256 at once, an absolute figure: bare `vllm serve` does not run beside it."""
    return lever_job(LARGE, "most", FP8 + EAGLE3, [256], (160, 65, 55))


def fp8(model: str, also: list[int] | None = None) -> Job:
    """FP8 activations alone."""
    if model == LARGE:
        return lever_job(model, "fp8", FP8, USERS, (165, 100, 82), once=[128], once_s=62)
    return lever_job(model, "fp8", FP8, [*USERS, *(also or [])], (175, 95, 82), exact=True)


def eagle3_alone(model: str) -> Job:
    """Speculation on the recipe's own kernels."""
    return lever_job(
        model, "eagle3", EAGLE3, USERS, (155, 115, 95) if model == LARGE else (200, 58, 47), exact=model == SMALL
    )


def fp8_kv(model: str) -> Job:
    """FP8 activations and an FP8 cache, where many are served at once."""
    users, seconds = ([128, 256], (165, 145, 127)) if model == LARGE else ([256, 512], (115, 100, 80))
    return lever_job(model, "fp8-kv", FP8 + FP8_CACHE, users, seconds)


def acceptance(tokens: float) -> Job:
    """The gain of speculation where another text is drafted."""
    lever = FP8 + eagle3(tokens)
    return lever_job(SMALL, f"fp8-eagle3-{tokens}", lever, [1, 16, 64], (120, 50, 0), repeats=1)


def rehearsal(target: Target) -> Plan:
    """Every kind of step with gpt-oss-nano on the CPU stack."""
    tiny = waves([1, 2], 64, 16)
    cpu = ["--enforce-eager", "--max-model-len", "2048", *NO_PREFIXES]
    few = Lever("64 at once", ["--max-num-seqs", "64"], {"VLLM_CPU_KVCACHE_SPACE": "1"})
    return [
        Job("nano", NANO, [*tiny, *waves([1], 128, 16)], repeats=2, weights="nano", arguments=cpu, note=""),
        Job("nano-warm", NANO, tiny[:1], weights="nano", arguments=cpu, note="", starts=2),
        Job("nano-few", NANO, tiny, few, repeats=3, weights="nano", arguments=cpu, note=""),
        Job("nano-large", NANO, tiny, weights="nano", arguments=cpu, needs=99),
        Job("nano-broken", NANO, tiny, Lever("broken", ["--max-num-seqs", "0"]), weights="nano", arguments=cpu),
        Job("late", NANO, tiny, weights="nano", arguments=cpu, least_s=1e9),
        Notebook("nano-notebook", NANO, [1, 2], weights="nano"),
        Routing("nano-routing", NANO, batches=(1, 4), prompts=8),
        Routing("nano-routing-few", NANO, few, batches=(1,), prompts=8),
        Tuning("nano-latency", NANO, "latency", [1, 2], 1, [{"max-num-seqs": 2}]),
        Answers("nano-answers", NANO, Lever("eager", ["--enforce-eager"])),
        Tools("nano-tools", NANO),
        Hunt("nano-hunt", NANO, few, seconds=20, weights="nano", arguments=["--enforce-eager"]),
        ToolLoad("nano-tool-load", NANO, tiny[1], conversations=4),
        Copies("nano-copies", NANO, tiny[1:], arguments=cpu, needs=2),
        Recurring("nano-recurring", NANO, waves([2], 640, 16, 1)[0], cpu[:3], sessions=2),
        Job("nano-shared", NANO, shared([2], 640, 16), weights="nano", arguments=cpu[:3], note=LONG_NOTE),
    ]


PLANS: dict[str, Callable[[Target], Plan]] = {
    "single": single,
    "two": two,
    "four": four,
    "wide": wide,
    "copies": copies,
    "hunt": hunt,
    "rehearsal": rehearsal,
}


def rehearsed(step: Step) -> Step:
    """The same step small, with gpt-oss-nano and none of its lever's flags; one of two GPUs runs as two copies."""
    cpu, lever = ["--enforce-eager", "--max-model-len", "2048"], getattr(step, "lever", Lever(""))
    room = {"VLLM_CPU_KVCACHE_SPACE": "1"}  # of itself a server takes most of the memory
    words = {"lever": Lever(lever.variant, env=room)} if hasattr(step, "lever") else {}
    step = replace(step, model=NANO, least_s=0, takes_s=0, **words)
    match step:
        case Job():
            loads, once = small(step.loads), small(step.once)
            arguments = [*cpu, *step.arguments]
            return replace(step, loads=loads, once=once, weights="nano", arguments=arguments, replicas=step.needs)
        case Notebook():
            return replace(step, needs=1, concurrency=[1, 2], weights="nano")
        case Routing():
            return replace(step, batches=(1, 4))
        case Hunt():
            return replace(step, seconds=20, weights="nano", arguments=cpu[:1])
        case ToolLoad():
            return replace(step, load=waves([2], 64, 16)[0], conversations=4)
        case Copies():
            return replace(step, loads=waves([2, 3], 64, 16), arguments=[*cpu, *step.arguments])
        case Recurring():
            load = waves([2], 640, 48, 1)[0]  # several chunks of 20 tokens
            return replace(step, load=load, arguments=cpu, sessions=2)
    return step


def small(loads: list[Load]) -> list[Load]:
    """At most two points, of one user and of two, where there are any."""
    lengths = {load.input_tokens for load in loads}
    return [load for size in sorted(lengths)[:1] for load in waves([1, 2][: len(loads)], min(size, 64), 16)]


@dataclass(frozen=True)
class Taken:
    """A row of a timetable: a step, its GPUs, the seconds of its begin and end; `cut` where the time is over before."""

    step: Step
    gpus: tuple[int, ...]
    begin: float
    end: float
    cut: bool


def timetable(plan: Plan, slots: int, limit_s: float) -> Iterator[Taken]:
    """When each step of a plan would run on a host of `slots` GPUs, as the driver takes them; those left out are missing."""
    clock, free, running, written = 0.0, set(range(slots)), [], {}
    waiting = [step for step in plan if step.needs <= slots]
    while waiting := [step for step in waiting if limit_s - clock >= step.least_s and clock < limit_s]:
        step = waiting[0]
        if step.needs <= len(free):
            gpus = tuple(sorted(free)[: step.needs])
            at_hand = written.setdefault(step.model, clock + WRITES_S.get(step.model, 0))
            end = max(clock, at_hand) + step.takes_s
            taken = Taken(step, gpus, clock, min(end, limit_s), end > limit_s)
            free -= set(gpus)
            running.append(taken)
            waiting.remove(step)
            yield taken
        else:
            done = min(running, key=lambda one: one.end)
            running.remove(done)
            clock, free = done.end, free | set(done.gpus)
