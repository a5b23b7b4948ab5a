"""A job of the campaign: one server or some copies of it, the sweep against it, its record."""

import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.h200.plan import Job, visible
from helpers.bench.record import Point, RunRecord
from helpers.bench.roofline import roofline
from helpers.bench.sweep import line_of, sweep
from helpers.bench.worker import LoadWorker
from helpers.command.replicas import router_words, with_port
from helpers.command.serve import bare_argv, serve_command
from helpers.recipes import check_parameters, load_model
from helpers.server import Replicas, Server, free_port, launch_replicas
from helpers.server.logfacts import backends, memory


def measure(campaign, job: Job, folder: Path) -> None:
    """Serve, sweep, record after every point, stop."""
    started, model, points = datetime.now(UTC), load_model(job.model), []
    # The load client imports beside the server.
    with LoadWorker(campaign.interpreter, folder / "bench" / "load.log") as worker:
        weights, port = campaign.checkpoint(job), free_port()
        serve, env = command(campaign, job, str(weights), port)
        server = start(campaign, job, serve, env, port, folder / "server.log")

        def save(failure: str = "") -> None:
            if job.weights == "dummy":
                save_dummy(campaign, job, folder, serve, points, started)
            else:
                record(campaign, job, folder, serve, env, server, points, started, failure)

        def progress(event: dict) -> None:
            if event["event"] == "point":
                points.append(event["measured"])
                campaign.say(job.name, line_of(event["measured"]))
                save()

        tag = " ".join([job.weights, *serve[3:], *env.values()]).replace(str(port), "PORT")
        limit = roofline(model, campaign.target.device, job.size, job.replicas)
        try:
            sweep(
                server.base_url, job.model, weights, campaign.interpreter, job.loads, folder,
                gpus=job.size * job.replicas, tag=tag, roofline=None if job.weights == "dummy" else limit,
                worker=worker, progress=progress,
            )  # fmt: skip
        except Exception as error:  # not the end of the borrowed time: what follows in the plan still runs
            save(f"failed: {' '.join(str(error).split())}")
            raise
        finally:
            campaign.say(job.name, " ".join(server.stop().split("\n")))


def start(
    campaign, job: Job, serve: list[str], env: dict[str, str], port: int, log: Path
) -> Server | Replicas:
    """The server, or its copies on GPUs of their own behind vLLM's router."""
    if job.replicas == 1:
        return campaign.launch(job, serve, env, port, log)
    commands = []
    for number in range(job.replicas):
        own, gpus = free_port(), job.gpus[number * job.size : (number + 1) * job.size]
        commands.append((campaign.argv(with_port(serve, own)), env | visible(gpus), own))
    return launch_replicas(
        commands, lambda ports, metrics: router_words(ports, port, metrics), port=port, log=log, **campaign.about(job)
    )  # fmt: skip


def command(campaign, job: Job, weights: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The server's argv and environment: the recipe's throughput profile, or bare `vllm serve`."""
    kind = "nano" if job.model == "gpt-oss-nano" else "synthetic"
    given = {"model": job.model, "weights": kind, "port": port, "tensor_parallel_size": job.size,
             "profile": "throughput", "install": "existing"}  # fmt: skip
    target, model = campaign.target, load_model(job.model)
    full = serve_command(target, model, check_parameters(target, given), weights, port)
    argv, env = list(full.argv), dict(full.env)
    if not job.recipe:
        argv, env = bare_argv(weights, job.model, port, job.size), {}
    argv += job.arguments
    if job.weights == "dummy":
        argv += ["--load-format", "dummy"]
    return argv, env | visible(job.gpus)


def missing(job: Job, points: list[Point]) -> str:
    """The points of a job that were not taken, named; empty where all were."""
    taken = {(point.concurrency, point.input_tokens, point.output_tokens) for point in points}
    left = [
        load for load in job.loads if (load.concurrency, load.input_tokens, load.output_tokens) not in taken
    ]
    lengths = dict.fromkeys((load.input_tokens, load.output_tokens) for load in left)
    return "; ".join(
        f"concurrency {', '.join(str(x.concurrency) for x in left if (x.input_tokens, x.output_tokens) == pair)} "
        f"at {pair[0]:,}/{pair[1]:,} tokens"
        for pair in lengths
    )


def record(
    campaign, job: Job, folder: Path, serve: list[str], env: dict[str, str], server, points: list[Point],
    started: datetime, failure: str = "",
) -> None:  # fmt: skip
    """Write what is known so far: `passed` once the whole sweep is there, else why not, or what it lacks yet."""
    log, left = folder / "server.log", missing(job, points)
    why = failure or (f"not taken: {left}" if left else "")
    RunRecord(
        target=campaign.target.target, model=job.model, weights=job.weights,
        parameters={"tensor_parallel_size": job.size, "replicas": job.replicas, "profile": "throughput",
                    "install": "existing", "variant": job.variant},
        argv=["<checkpoint>" if word == serve[2] else word for word in serve], env=env, **campaign.facts,
        startup_s=server.startup_s, memory=memory(log), backends=backends(log), replicas=job.replicas, contracts=[],
        state="failed" if why else "passed", why=why, started=started,
        finished=datetime.now(UTC), throughput=points,
        notes=["throughput only: contracts are checked by the target notebook", *filter(None, [job.note])],
    ).write(folder / "record.json")  # fmt: skip


def save_dummy(
    campaign, job: Job, folder: Path, serve: list[str], points: list[Point], started: datetime
) -> None:
    """What dummy weights gave; never a record, since these speeds are not the model's."""
    value = {"state": "failed" if missing(job, points) else "passed", "weights": "dummy", "note": job.note,
             "argv": serve[3:], "versions": campaign.facts["versions"], "taken": f"{started:%Y-%m-%d}",
             "throughput": [point.model_dump(mode="json") for point in points]}  # fmt: skip
    (folder / "record.json").write_text(json.dumps(value, indent=1) + "\n")
