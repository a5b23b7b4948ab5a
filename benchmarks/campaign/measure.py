"""A job of the campaign: one server or some copies of it, the sweeps against it, its record."""

import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.campaign.plan import ACCEPTANCE_SOURCE, Job
from helpers.bench.record import Point, RunRecord
from helpers.bench.roofline import roofline
from helpers.bench.sweep import Load, line_of, sweep
from helpers.bench.worker import LoadWorker
from helpers.command.replicas import router_words, with_port
from helpers.command.serve import bare_argv, serve_command
from helpers.recipes import check_parameters, load_model
from helpers.server import Replicas, Server, free_port, launch_replicas
from helpers.server.logfacts import backends, memory


def measure(campaign, job: Job, folder: Path) -> None:
    """Serve, sweep as often as asked, record after every point, stop."""
    started, model, takes = datetime.now(UTC), load_model(job.model), [[] for _ in range(job.repeats)]
    # The load client imports beside the server.
    with LoadWorker(campaign.interpreter, folder / "bench" / "load.log") as worker:
        weights, port, log = campaign.checkpoint(job), campaign.port(job), folder / "server.log"
        draft = str(campaign.draft(job)) if job.lever.speculates else ""
        serve, env = command(campaign, job, str(weights), port, draft)
        shown = [word.replace(str(weights), "<checkpoint>") for word in serve]
        shown = [word.replace(draft, "<draft>") if draft else word for word in shown]

        def save(startup_s: dict, failure: str = "") -> None:
            record(campaign, job, folder, shown, env, startup_s, takes, started, failure)

        try:
            server = start(campaign, job, serve, env, port, log)
        except Exception as error:  # that it does not start is a result too
            save({}, f"failed: {' '.join(str(error).split())}")
            raise

        tag = " ".join([job.weights, *shown[3:], *env.values()]).replace(str(port), "PORT")
        for gpu in campaign.visible(job.gpus).values():  # whichever GPUs it was given: the same server
            tag = tag.removesuffix(f" {gpu}")
        limit = None if job.lever.speculates else roofline(model, campaign.target.device, job.size, job.replicas)
        try:
            for name, loads, points in rounds(job, takes):

                def progress(event: dict, points=points, name=name) -> None:
                    if event["event"] == "point":
                        points.append(event["measured"])
                        campaign.say(job.name, f"{name}  {line_of(event['measured'])}")
                        save(server.startup_s)

                sweep(
                    server.base_url, job.model, weights, campaign.interpreter, loads, folder / name,
                    gpus=job.size * job.replicas, tag=tag, roofline=None if job.weights == "nano" else limit,
                    worker=worker, progress=progress, timeout_s=campaign.left_s(),
                )  # fmt: skip
        except Exception as error:  # not the end of the borrowed time: what follows in the plan still runs
            if campaign.clock() < campaign.limit_s:
                save(server.startup_s, f"failed: {' '.join(str(error).split())}")
            raise
        finally:
            campaign.say(job.name, " ".join(server.stop().split("\n")))


def rounds(job: Job, takes: list[list[Point]]) -> Iterator[tuple[str, list[Load], list[Point]]]:
    """The sweeps of a job: a folder's name, the loads, the list that takes their points."""
    for number, points in enumerate(takes, start=1):
        warm = {} if number == 1 else {"warmup_prompts": 0}  # every shape is compiled by the second time
        yield f"take-{number}", [load.model_copy(update=warm) for load in job.loads], points
    if job.once:
        yield "once", job.once, takes[0]


def start(
    campaign, job: Job, serve: list[str], env: dict[str, str], port: int, log: Path
) -> Server | Replicas:
    """The server, or its copies on GPUs of their own behind vLLM's router."""
    if job.replicas == 1:
        return campaign.launch(job, serve, env, port, log)
    commands = []
    for number in range(job.replicas):
        own, gpus = free_port(), job.gpus[number * job.size : (number + 1) * job.size]
        commands.append((campaign.argv(with_port(serve, own)), env | campaign.visible(gpus), own))
    return launch_replicas(
        commands, lambda ports, metrics: router_words(ports, port, metrics), port=port, log=log, **campaign.about(job)
    )  # fmt: skip


def command(campaign, job: Job, weights: str, port: int, draft: str = "") -> tuple[list[str], dict[str, str]]:
    """The server's argv and environment: the recipe's profile, or bare `vllm serve`, and the lever over it."""
    kind = "nano" if job.model == "gpt-oss-nano" else "synthetic"
    argv, env = bare_argv(weights, job.model, port, job.size), {}
    if job.profile:
        given = {"model": job.model, "weights": kind, "port": port, "tensor_parallel_size": job.size,
                 "profile": job.profile, "install": "existing"}  # fmt: skip
        full = serve_command(
            campaign.target, load_model(job.model), check_parameters(campaign.target, given), weights, port
        )
        argv, env = list(full.argv), dict(full.env)
        if not (campaign.on_cpu or job.exact):
            argv += captured(argv, job)
    argv += job.arguments + job.lever.laid(draft)
    return argv, env | job.lever.env | campaign.visible(job.gpus)


def captured(argv: list[str], job: Job) -> list[str]:
    """The graphs' batch sizes as flags. A recipe that bounds them keeps its bound, which vLLM wants among the sizes."""
    flag = "--max-cudagraph-capture-size"
    if flag not in argv:
        return ["--cudagraph-capture-sizes", *map(str, job.captured())]
    bound = argv.index(flag) + 1
    if job.lever.speculates:  # a step holds drafted tokens besides: the same users need a larger graph
        argv[bound] = str(max(job.captured()))
    most = int(argv[bound])
    return ["--cudagraph-capture-sizes", *map(str, sorted({*job.captured(most), most}))]


def medians(takes: list[list[Point]]) -> tuple[list[Point], str]:
    """Each point's middle take by output tok/s (of two the slower), and how far the takes lie apart, in words."""
    by_load: dict[tuple, list[Point]] = {}
    for point in (point for points in takes for point in points):
        by_load.setdefault((point.concurrency, point.input_tokens, point.output_tokens), []).append(point)
    middle, spread = [], []
    for (users, *_), points in by_load.items():
        speeds = [point.output_tok_s for point in points]
        low = statistics.median_low(speeds)
        middle.append(next(point for point in points if point.output_tok_s == low))
        if len(points) > 1:
            spread.append(f"{users}: {len(points)} takes, {(max(speeds) - min(speeds)) / low:.1%}")
    words = "each point is the median of its takes by output tok/s (of two the slower); takes and spread by concurrency: "
    return middle, words + "; ".join(spread) if spread else ""


def missing(loads: list[Load], points: list[Point]) -> str:
    """The points of a job that were not taken, named; empty where all were."""
    taken = {(point.concurrency, point.input_tokens, point.output_tokens) for point in points}
    left = [
        load for load in loads if (load.concurrency, load.input_tokens, load.output_tokens) not in taken
    ]
    lengths = dict.fromkeys((load.input_tokens, load.output_tokens) for load in left)
    return "; ".join(
        f"concurrency {', '.join(str(x.concurrency) for x in left if (x.input_tokens, x.output_tokens) == pair)} "
        f"at {pair[0]:,}/{pair[1]:,} tokens"
        for pair in lengths
    )


def record(
    campaign, job: Job, folder: Path, serve: list[str], env: dict[str, str], startup_s: dict, takes: list[list[Point]],
    started: datetime, failure: str = "",
) -> None:  # fmt: skip
    """Write what is known so far: `passed` once every take is there, else why not, or what it lacks yet."""
    log, (points, spread) = folder / "server.log", medians(takes)
    left = missing([*job.loads, *job.once], points)
    why = failure or (f"not taken: {left}" if left else "")
    if not why and any(missing(job.loads, points) for points in takes):
        why = f"not taken: {len(takes)} takes of every point"
    acceptance = f"the draft is random; how many of its tokens count is set, not measured ({ACCEPTANCE_SOURCE})"
    known = {"memory": memory(log), "backends": backends(log)} if log.exists() else {}
    RunRecord(
        target=campaign.target.target, model=job.model, weights=job.weights,
        parameters={"tensor_parallel_size": job.size, "replicas": job.replicas, "profile": job.profile or "bare",
                    "install": "existing", "variant": job.variant},
        argv=serve, env=env, **campaign.facts, **known, startup_s=startup_s, replicas=job.replicas, contracts=[],
        state="failed" if why else "passed", why=why, started=started,
        finished=datetime.now(UTC), throughput=points,
        notes=["throughput only: contracts are checked by the target notebook",
               *filter(None, [job.note, spread, acceptance if job.lever.speculates else ""])],
    ).write(folder / "record.json")  # fmt: skip
