"""A job of the campaign: one server or some copies of it, the sweeps against it, its record."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.campaign.plan import Hunt, Job
from helpers.bench.roofline import roofline
from helpers.bench.sweep import Load, line_of, sweep
from helpers.bench.worker import LoadWorker
from helpers.recipes import check_parameters, load_model
from helpers.recipes.command.serve import Command, Flags, bare_command, flags_of, serve_command
from helpers.records.record import Point, RunRecord, Served
from helpers.server import free_port
from helpers.server.serving import recorded_server


def measure(campaign, job: Job, folder: Path) -> None:
    """Serve, sweep as often as asked, record after every point, stop."""
    started, model, takes = datetime.now(UTC), load_model(job.model), [[] for _ in range(job.repeats)]
    # The load client imports beside the server.
    with LoadWorker(campaign.interpreter, folder / "bench" / "load.log") as worker:
        weights, port, log = campaign.checkpoint(job), campaign.port(job), folder / "server.log"
        draft = str(campaign.draft(job)) if job.lever.speculates else ""
        commands, server = replicas(campaign, job, command(campaign, job, str(weights), port, draft)), None

        def save(failure: str = "") -> None:
            ran = [elsewhere(one, draft) for one in (server.commands if server else commands)]
            record(campaign, job, folder, recorded_server(ran, server, log), takes, started, failure)

        try:
            for number in range(1, job.starts):
                campaign.launch(job, commands, port, folder / f"start-{number}.log").stop()
            server = campaign.launch(job, commands, port, log)
        except Exception as error:  # that it does not start is a result too
            save(f"failed: {' '.join(str(error).split())}")
            raise

        own = elsewhere(server.commands[0], draft).on_port(0)  # whichever GPUs it was given: the same server
        gpus = campaign.visible(job.gpus)
        tag = " ".join([job.weights, *own.words[2:], *(value for name, value in own.env.items() if name not in gpus)])
        bounded = job.weights != "nano" and not job.lever.speculates and not any(x.shared_tokens for x in job.loads)
        limit = roofline(model, campaign.target.device, job.size, job.replicas) if bounded else None
        seen = [0]
        try:
            for name, loads, points in rounds(job, takes):

                def progress(event: dict, points=points, name=name) -> None:
                    if event["event"] == "point":
                        points.append(event["measured"])
                        seen.append(compiled(log))
                        more = f"  {new} kernels compiled" if (new := seen[-1] - seen[-2]) else ""
                        campaign.say(job.name, f"{name}  {line_of(event['measured'])}{more}")
                        save()

                sweep(
                    server.base_url,
                    job.model,
                    weights,
                    campaign.interpreter,
                    loads,
                    folder / name,
                    gpus=job.size * job.replicas,
                    tag=tag,
                    roofline=limit,
                    worker=worker,
                    progress=progress,
                    timeout_s=campaign.left_s(),
                )
        except Exception as error:  # not the end of the borrowed time: what follows in the plan still runs
            if campaign.clock() < campaign.limit_s:
                save(f"failed: {' '.join(str(error).split())}")
            raise
        finally:
            campaign.say(job.name, " ".join(server.stop().split("\n")))


def compiled(log: Path) -> int:
    """How many compilations a server's log names after its start: each kernel once, or each time with --jit-monitor-verbose."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return text.count("JIT compilation during inference")


def rounds(job: Job, takes: list[list[Point]]) -> Iterator[tuple[str, list[Load], list[Point]]]:
    """The sweeps of a job: a folder's name, the loads, the list that takes their points."""
    for number, points in enumerate(takes, start=1):
        warm = {} if number == 1 else {"warmup_prompts": 0}  # every shape is compiled by the second time
        yield f"take-{number}", [load.model_copy(update=warm) for load in job.loads], points
    if job.once:
        yield "once", job.once, takes[0]


def replicas(campaign, job: Job, command: Command) -> list[Command]:
    """The command itself, or one for each copy, on a port and GPUs of its own."""
    if job.replicas == 1:
        return [command]
    shares = [job.gpus[number * job.size : (number + 1) * job.size] for number in range(job.replicas)]
    return [command.on_port(free_port()).changed({}, campaign.visible(gpus)) for gpus in shares]


def command(campaign, job: Job | Hunt, weights: str, port: int, draft: str = "") -> Command:
    """The server's command: the recipe's profile, or bare `vllm serve`, and the lever over it."""
    own = bare_command(weights, job.model, port, job.size, campaign.target.target)
    if job.profile:
        given = {
            "model": job.model,
            "weights": "nano" if job.model == "gpt-oss-nano" else "synthetic",
            "port": port,
            "tensor_parallel_size": job.size,
            "profile": job.profile,
            "install": "existing",
        }
        parameters = check_parameters(campaign.target, given)
        own = serve_command(campaign.target, load_model(job.model), parameters, weights, port)
        if isinstance(job, Job) and not (campaign.on_cpu or job.exact):
            own = own.changed(captured(own, job))
    return own.changed(flags_of([*job.arguments, *job.lever.laid(draft)]), job.lever.env | campaign.visible(job.gpus))


def captured(command: Command, job: Job) -> Flags:
    """The graphs' batch sizes as flags. A recipe that bounds them keeps its bound, which vLLM wants among the sizes."""
    bound, sizes = "--max-cudagraph-capture-size", "--cudagraph-capture-sizes"
    if bound not in command.flags:
        return {sizes: tuple(map(str, job.captured()))}
    # a step holds drafted tokens besides: the same users need a larger graph
    most = max(job.captured()) if job.lever.speculates else int(command.flags[bound][0])
    return {bound: (str(most),), sizes: tuple(map(str, sorted({*job.captured(most), most})))}


def elsewhere(command: Command, draft: str) -> Command:
    """The command without the places of this host, as a record states it."""
    flags = {flag: tuple(word.replace(draft, "<draft>") for word in value) for flag, value in command.flags.items()}
    return replace(command, weights="<checkpoint>", flags=flags if draft else command.flags)


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
    words = (
        "each point is the median of its takes by output tok/s (of two the slower); takes and spread by concurrency: "
    )
    return middle, words + "; ".join(spread) if spread else ""


def missing(loads: list[Load], points: list[Point]) -> str:
    """The points of a job that were not taken, named; empty where all were."""
    taken = {(point.concurrency, point.input_tokens, point.output_tokens) for point in points}
    left = [load for load in loads if (load.concurrency, load.input_tokens, load.output_tokens) not in taken]
    lengths = dict.fromkeys((load.input_tokens, load.output_tokens) for load in left)
    return "; ".join(
        f"concurrency {', '.join(str(x.concurrency) for x in left if (x.input_tokens, x.output_tokens) == pair)} "
        f"at {pair[0]:,}/{pair[1]:,} tokens"
        for pair in lengths
    )


def record(
    campaign, job: Job, folder: Path, served: dict, takes: list[list[Point]], started: datetime, failure: str = ""
) -> None:
    """Write what is known so far: `passed` once every take is there, else why not, or what it lacks yet.

    `served` is what `recorded_server` says of the job's server.
    """
    points, spread = medians(takes)
    left = missing([*job.loads, *job.once], points)
    why = failure or (f"not taken: {left}" if left else "")
    if not why and any(missing(job.loads, points) for points in takes):
        why = f"not taken: {len(takes)} takes of every point"
    later = f"start {job.starts} of the same command on this host" if job.starts > 1 else ""
    RunRecord(
        target=campaign.target.target,
        model=job.model,
        weights=job.weights,
        parameters={"install": "existing"},
        serving=Served(
            tensor_parallel_size=job.size,
            replicas=job.replicas,
            profile=job.profile or "bare",
            activations="bf16",
            variant=job.variant,
        ),
        acceptance=job.lever.acceptance,
        **served,
        **campaign.facts,
        contracts=[],
        state="failed" if why else "passed",
        why=why,
        started=started,
        finished=datetime.now(UTC),
        throughput=points,
        notes=[
            "throughput only: contracts are checked by the target notebook",
            *filter(None, [later, job.note, spread]),
        ],
    ).write(folder / "record.json")
