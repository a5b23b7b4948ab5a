"""A whole sweep of `vllm bench serve` in one process, run with the stack's own interpreter.

Importing vLLM's load client costs 20-25 CPU-seconds, so one process stays and takes one request, a whole sweep,
per line of stdin. Requests are JSON objects:

    {"base_url": "http://127.0.0.1:8000", "model": "gpt-oss-20b", "tokenizer": "DIR", "out": "RUN",
     "points": [{"concurrency": 4, "input_tokens": 1024, "output_tokens": 1024, "prompts": 12}],
     "tag": "what the server runs", "temperature": 1.0, "seed": null}

Each point is warmed up at its own concurrency, measured with the random dataset and `--ignore-eos` on
`/v1/completions`, and written atomically to `RUN/bench/` as vLLM's `--save-result` JSON plus the key
`cookbook` (settings, warm-up, vLLM version). A point that is already there with the same settings is skipped.
Events go out as one JSON object per line: ready, start, warmup, progress, point, done, error.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from helpers.bench.client import bench_words
from helpers.files import read_json, write_whole

Emit = Callable[[dict], None]
# keys of vLLM's result that hold a value per request
DETAILS = re.compile("input_lens|output_lens|start_times|ttfts|itls|generated_texts|errors|latencies|queue_times")
WARMUP_OUTPUT_TOKENS = 128  # on H200s 64 left Triton shapes to be compiled inside the measured TTFT of 16 users
PROGRESS_S = 1.0
SIZES = ("concurrency", "input_tokens", "output_tokens", "prompts")


class LoadError(Exception):
    """A sweep cannot go on: what happened and why, both for the user."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")
        self.what, self.why = what, why


class LoadClient:
    """vLLM's load client, imported once."""

    def __init__(self):
        began = time.perf_counter()
        import vllm
        from vllm.benchmarks import serve
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        self.serve, self.version = serve, vllm.__version__
        serve.get_tokenizer = self._remembering(serve.get_tokenizer)
        self.parser = FlexibleArgumentParser()
        serve.add_cli_args(self.parser)
        self.import_s = time.perf_counter() - began

    @staticmethod
    def _remembering(get_tokenizer: Callable) -> Callable:
        """The same function, reading a tokenizer again only when its file has changed (gpt-oss's takes 3 s)."""
        known: dict[tuple, object] = {}

        def remembering(name: str, *args, **options):
            with contextlib.suppress(OSError):
                stamp = (Path(name) / "tokenizer.json").stat().st_mtime_ns
                key = (name, stamp, args, tuple(sorted(options.items())))
                if key not in known:
                    known[key] = get_tokenizer(name, *args, **options)
                return known[key]
            return get_tokenizer(name, *args, **options)

        return remembering

    def run(self, argv: list[str], bar: type | None = None) -> dict:
        """One `vllm bench serve`: its result with per-request details."""
        args = self.parser.parse_args(argv)
        if bar is not None:
            self.serve.tqdm = bar
        return asyncio.run(self.serve.main_async(args))


def point_name(point: dict) -> str:
    """The file name of a point."""
    return f"c{point['concurrency']:04d}-i{point['input_tokens']}-o{point['output_tokens']}.json"


def one_pass(request: dict, point: dict, *, prompts: int, output_tokens: int, seed: int) -> list[str]:
    """The `vllm bench serve` arguments of one pass over a point of a request."""
    where = request["base_url"], request["model"], request["tokenizer"]
    temperature = request.get("temperature", 1.0)
    return bench_words(*where, point, prompts=prompts, output_tokens=output_tokens, seed=seed, temperature=temperature)


def settings_of(request: dict, point: dict) -> dict:
    """What must be equal for a point on disk to stand for the requested one."""
    return {
        "model": request["model"],
        "tag": request.get("tag", ""),
        "temperature": float(request.get("temperature", 1.0)),
        "seed": request.get("seed"),
        **{key: int(point[key]) for key in (*SIZES, *(["shared_tokens"] if "shared_tokens" in point else []))},
    }


def stored(path: Path, settings: dict) -> dict | None:
    """The point on disk, where it was taken with the same settings."""
    result = read_json(path) or {}
    return result if result.get("cookbook", {}).get("settings") == settings else None


def reporter(emit: Emit, event: str) -> type:
    """A stand-in for tqdm that reports finished requests as events."""

    class ProgressEvents:
        def __init__(self, total: int = 0, **_):
            self.total, self.done, self.said = total, 0, 0.0

        def update(self, step: int = 1) -> None:
            self.done += step
            now = time.monotonic()
            if self.done == self.total or now - self.said >= PROGRESS_S:
                self.said = now
                emit({"event": event, "done": self.done, "of": self.total})

        def close(self) -> None:
            pass

    return ProgressEvents


def checked(result: dict, what: str) -> dict:
    """The result, or the first request's error where any request failed."""
    failed = int(result.get("failed", 0)) or int(result["num_prompts"]) - int(result["completed"])
    if failed:
        errors = [text for text in result.get("errors", []) if text]
        cause = errors[0].strip().splitlines()[-1] if errors else "no error text"
        raise LoadError(what, f"{failed} of {result['num_prompts']} requests failed, the first with: {cause[:300]}")
    return result


def measure(client: LoadClient, request: dict, point: dict, emit: Emit) -> dict:
    """Warm up at the point's concurrency, then measure it."""
    name = f"concurrency {point['concurrency']} at {point['input_tokens']}/{point['output_tokens']} tokens"
    seed = request.get("seed")
    if seed is None:  # fresh prompts, so that a re-run against the same server gets no prefix-cache hits
        seed = secrets.randbelow(2**31)
    began = time.perf_counter()
    warm_prompts = int(point.get("warmup_prompts", point["concurrency"]))
    warm_tokens = min(int(point.get("warmup_output_tokens", WARMUP_OUTPUT_TOKENS)), point["output_tokens"])
    if warm_prompts:
        argv = one_pass(request, point, prompts=warm_prompts, output_tokens=warm_tokens, seed=seed + 1)
        checked(client.run(argv, reporter(emit, "warmup")), f"the warm-up of {name} failed")
    warmed = time.perf_counter()
    argv = one_pass(request, point, prompts=point["prompts"], output_tokens=point["output_tokens"], seed=seed)
    result = checked(client.run(argv, reporter(emit, "progress")), f"{name} failed")
    done = time.perf_counter()
    result = {key: value for key, value in result.items() if not DETAILS.fullmatch(key)}
    result["cookbook"] = {
        "settings": settings_of(request, point),
        "seed": seed,
        "warmup": {"prompts": warm_prompts, "output_tokens": warm_tokens, "seconds": warmed - began},
        "seconds": done - warmed,
        "vllm": client.version,
    }
    return result


def run_sweep(client: LoadClient, request: dict, emit: Emit) -> None:
    """Take every point of a request that is not on disk yet; an error ends the sweep and keeps what was taken."""
    folder = Path(request["out"]) / "bench"
    points = request["points"]
    for index, point in enumerate(points):
        path = folder / point_name(point)
        result = stored(path, settings_of(request, point))
        skipped = result is not None
        if not skipped:
            emit({"event": "start", "index": index, "of": len(points), "point": point})
            result = measure(client, request, point, emit)
            write_whole(path, json.dumps(result, indent=1) + "\n")
        emit({"event": "point", "index": index, "of": len(points), "file": str(path), "skipped": skipped})
    emit({"event": "done", "points": len(points)})


@functools.cache
def command_parser():
    """vLLM's own argument parser, made once."""
    from helpers.instack.flags import Parser

    return Parser()


def answer(client: LoadClient, line: str, emit: Emit) -> None:
    """Carry out one request line; a failure becomes an error event."""
    try:
        request = json.loads(line)
        if "commands" in request:  # vLLM is imported here already, which is what asking its parser costs
            emit({"event": "done", "answers": [command_parser().check(command) for command in request["commands"]]})
        else:
            run_sweep(client, request, emit)
    except LoadError as error:
        emit({"event": "error", "what": error.what, "why": error.why})
    except (Exception, SystemExit) as error:  # argparse exits; a resident worker must outlive one bad request
        traceback.print_exc()
        emit({"event": "error", "what": "the load client failed", "why": f"{type(error).__name__}: {error}"[:500]})


def main() -> None:
    """Answer one request per line of stdin until it closes."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # vLLM prints tables on stdout; only events may go there

    def emit(event: dict) -> None:
        events.write(json.dumps(event) + "\n")

    client = LoadClient()
    emit({"event": "ready", "vllm": client.version, "import_s": round(client.import_s, 3)})
    for line in sys.stdin:
        if line.strip():
            answer(client, line, emit)


if __name__ == "__main__":
    main()
