"""Steps about more than one server's speed: what copies cost each other, and what host memory gives prompts that come back."""

import importlib.util
import json
import os
import re
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from operator import itemgetter
from pathlib import Path

import httpx

from benchmarks.campaign.measure import command, replicas
from benchmarks.campaign.plan import Copies, Job, Recurring
from benchmarks.campaign.probes import seen
from helpers.bench.sweep import Load, sampling, sweep
from helpers.bench.worker import LoadWorker
from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.processes import cpu_seconds
from helpers.records.record import Point
from helpers.server.replicas import Replicas
from helpers.server.serving import public

# a line that vLLM logs every ten seconds (v1/metrics/loggers.py), in the host's own time and without a year
RUNNING = re.compile(r"INFO (\d\d-\d\d \d\d:\d\d:\d\d) .* Engine \d+: .* Running: (\d+) reqs")
COUNTED = ("prefix_cache_queries", "prefix_cache_hits", "external_prefix_cache_hits")  # tokens, vllm 0.32.0 v1/metrics


def ways(copies: int) -> tuple[tuple[str, int, bool, int], ...]:
    """(name, clients, whether they ask through the router, the copies in use): the first again at the end, as hosts drift."""
    number = {2: "two", 4: "four"}.get(copies, str(copies))
    return (
        ("one copy", 1, False, 1),
        (f"{number} copies, a client each", copies, False, copies),
        ("router, one client", 1, True, copies),
        (f"router, {number} clients", copies, True, copies),
        ("one copy again", 1, False, 1),
    )


def copies(campaign, step: Copies, folder: Path) -> None:
    """A copy on each GPU; one asked alone, all asked directly, all through the router, by one client and by as many.

    Every client has the load's requests in flight for each copy that it asks, so that a copy always has as many.
    """
    if importlib.util.find_spec("vllm_router") is None:
        raise CookbookError(
            "there is no router", "vllm_router is not on PYTHONPATH", "carry its wheel: the README here"
        )
    weights, log, rows = campaign.checkpoint(step), folder / "server.log", []
    job = Job(
        step.name,
        step.model,
        step.loads,
        needs=step.needs,
        gpus=step.gpus,
        replicas=step.needs,
        arguments=step.arguments,
        exact=True,  # a copy may get more than its share, and meets no end of its graphs
    )
    commands = replicas(campaign, job, command(campaign, job, str(weights), campaign.port(step)))
    with ExitStack() as stack:
        clients = [
            stack.enter_context(LoadWorker(campaign.interpreter, folder / "bench" / f"load-{number}.log"))
            for number in range(step.needs)
        ]
        server = campaign.launch(step, commands, campaign.port(step), log)
        try:
            every = [one.base_url for one in server.servers]
            warm = step.loads[0].model_copy(update={"warmup_prompts": 0})
            place = folder / "warm"  # the first time of a client takes longer
            measured(campaign, step, every, clients, warm, str(weights), place, {})
            for load in step.loads:
                for name, count, routed, asking in ways(step.needs):
                    addresses = [server.base_url if routed else one.base_url for one in server.servers][:count]
                    asked = times(load, asking // count)
                    place = folder / f"{name.replace(',', '').replace(' ', '-')}-{load.concurrency}"
                    groups = {f"copy {number}": one.members() for number, one in enumerate(server.servers)}
                    groups |= {"router": server.router.members()}
                    groups |= {f"client {number}": [one.process.pid] for number, one in enumerate(clients[:count])}
                    began = datetime.now()
                    points, cores, common = measured(
                        campaign, step, addresses, clients, asked, str(weights), place, groups
                    )
                    logs = [one.log for one in server.servers[: step.needs if routed else count]]
                    total = sum(point.output_tok_s for point in points)
                    rows.append(
                        {
                            "asked": name,
                            "clients": count,
                            "copies": asking,
                            "users_per_copy": load.concurrency,
                            "output_tok_s": total,
                            "output_tok_s_per_copy": total / asking,
                            "cores": cores,
                            "time_in_common": common,
                            "in_flight": [in_flight(one, began, datetime.now()) for one in logs],
                            "points": [point.model_dump(mode="json") for point in points],
                        }
                    )
                    said = ", ".join(f"{group} {share:.1f}" for group, share in cores.items())
                    campaign.say(step.name, f"{name:26} {total:9,.0f} tok/s  {common:.0%} in common  cores: {said}")
                    write(campaign, step, folder, len(rows) == len(ways(step.needs)) * len(step.loads), rows, server)
        finally:
            campaign.say(step.name, " ".join(server.stop().split("\n")))


def in_flight(log: Path, since: datetime, until: datetime) -> list[int]:
    """How many requests a server had in flight, by its log's lines between two times of the host."""
    lines = RUNNING.findall(log.read_text(errors="replace"))
    return [
        int(number)
        for at, number in lines
        if since <= datetime.strptime(f"{since.year}-{at}", "%Y-%m-%d %H:%M:%S") <= until
    ]


def times(load: Load, number: int) -> Load:
    """The load of so many copies."""
    return load.model_copy(update={name: getattr(load, name) * number for name in ("concurrency", "prompts")})


def measured(campaign, step, addresses, clients, load, weights, place, groups):
    """Clients that ask at the same time: their points, the cores in use by group and free ones, the share of time in common."""
    first: dict[int, tuple[float, dict[str, float]]] = {}  # at a client's first finished request

    def ask(number: int) -> tuple[Point, float]:
        def noted(event: dict) -> None:
            if event["event"] == "progress":  # not the client's own start, nor its warm-up
                first.setdefault(number, (time.monotonic(), used(groups)))

        (point,) = sweep(
            addresses[number],
            step.model,
            weights,
            campaign.interpreter,
            [load],
            place / str(number),
            worker=clients[number],
            progress=noted,
            timeout_s=campaign.left_s(),
            **sampling("nano" if step.model == "gpt-oss-nano" else "synthetic"),
        )
        return point, time.monotonic()

    shutil.rmtree(place, ignore_errors=True)  # a step that is taken again is measured again
    with ThreadPoolExecutor(len(addresses)) as pool:
        points, ends = zip(*pool.map(ask, range(len(addresses))), strict=True)
    begins, (began, before), after = (
        [at for at, _ in first.values()],
        min(first.values(), key=itemgetter(0)),
        used(groups),
    )
    took = time.monotonic() - began
    common = max(min(ends) - max(begins), 0) / (max(ends) - min(begins))
    return points, {group: round((after[group] - before[group]) / took, 2) for group in after}, round(common, 2)


def used(groups: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds so far of each group of processes; `free`: those that the whole host's cores had nothing to do."""
    found = {group: cpu_seconds(pids) for group, pids in groups.items()}
    idle, waiting = Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]
    return found | {"free": (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")}


def recurring(campaign, step: Recurring, folder: Path) -> None:
    """The same prompts in turn, more of them than the GPU's cache holds, twice: what is known the second time?"""
    weights, port, log, rows = campaign.checkpoint(step), campaign.port(step), folder / "server.log", []
    job = Job(step.name, step.model, [step.load], step.lever, arguments=step.arguments, gpus=step.gpus)
    with LoadWorker(campaign.interpreter, folder / "bench" / "load.log") as worker:
        server = campaign.launch(step, [command(campaign, job, str(weights), port)], port, log)
        try:
            for turn in range(step.turns):
                before, points = counted(server.base_url), []
                for session in range(step.sessions):
                    place = folder / f"turn-{turn}-session-{session}"
                    shutil.rmtree(place, ignore_errors=True)  # a kept point would have asked nothing
                    (point,) = sweep(
                        server.base_url,
                        step.model,
                        weights,
                        campaign.interpreter,
                        [step.load.model_copy(update={"warmup_prompts": 0})],
                        place,
                        worker=worker,
                        progress=lambda event: None,
                        timeout_s=campaign.left_s(),
                        temperature=0.0,
                        seed=100 + session,  # the same prompts in every turn
                    )
                    points.append(point)
                asked, known, fetched = (
                    late - early for early, late in zip(before, counted(server.base_url), strict=True)
                )
                took = sum(point.duration_s for point in points)
                rows.append(
                    {
                        "turn": turn,
                        "seconds": took,
                        "output_tok_s": sum(point.prompts * point.output_tokens for point in points) / took,
                        "ttft_p50_ms": statistics.median(point.ttft_ms.p50 for point in points),
                        "prompt_tokens": asked,
                        "known_in_gpu": known,
                        "known_in_host": fetched,
                    }
                )
                campaign.say(
                    step.name, f"turn {turn}: {took:.1f} s, TTFT {rows[-1]['ttft_p50_ms']:,.0f} ms, {rows[-1]}"
                )
                write(campaign, step, folder, len(rows) == step.turns, rows, server)
        finally:
            campaign.say(step.name, server.stop())


def counted(base_url: str) -> list[float]:
    """Prompt tokens so far: looked up, found on the GPU, found elsewhere."""
    page = httpx.get(f"{base_url}/metrics", timeout=60).text
    return [
        sum(float(one) for one in re.findall(rf"^vllm:{name}_total\{{.*\}} (\S+)$", page, re.M)) for name in COUNTED
    ]


def write(campaign, step, folder: Path, whole: bool, rows: list[dict], server) -> None:
    """What was measured so far, and on what."""
    value = {
        "state": "passed" if whole else "failed",
        "model": step.model,
        "weights": "nano" if step.model == "gpt-oss-nano" else "synthetic",
        "variant": step.lever.variant if isinstance(step, Recurring) else "",
        "host_cores": os.cpu_count(),
        "cores": len(os.sched_getaffinity(0)),  # what servers, router and clients share
        "rows": rows,
        **seen(campaign, server.commands[0], folder / "server.log"),
        **({"router": ["python", *public(server.router.lease.argv[1:])]} if isinstance(server, Replicas) else {}),
    }
    write_whole(folder / step.done, json.dumps(value, indent=1) + "\n")
