"""A decode step taken apart: vLLM's own torch profiler asked for, its trace read.

    argv += profiler_arguments(folder)          # of the server that is to be looked at
    profiles = [profile_step(server.base_url, model, batch, folder) for batch in (1, 64, 256)]

Everything is read off the trace: kernels by group, and what no kernel covers. `step_ms`, timed without the profiler over
a longer stretch (so at a longer context), stands beside it to show that the profiler did not change the step.
"""

import gzip
import json
import random
import re
import threading
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median

import httpx

from helpers.errors import CookbookError
from maintain.studies.steps import Kernel, StepProfile

TEXT_TOKENS = 199_998  # random prompts draw from the ordinary tokens
PROMPT_TOKENS = 1024
WINDOW_S = 0.4  # how long the profiler runs; at 3 to 20 ms a step that is 20 to 130 steps
SHORT, LONG = 64, 320  # output tokens of the two timed requests
GPU_EVENTS = ("kernel", "gpu_memcpy", "gpu_memset")


def profiler_arguments(folder: Path) -> list[str]:
    """The flags of `vllm serve` that let its profiler be asked for, its traces going to `folder`."""
    config = {
        "profiler": "torch",
        "torch_profiler_dir": str(Path(folder).resolve()),
        "torch_profiler_with_stack": False,
        "ignore_frontend": True,
    }
    return ["--profiler-config", json.dumps(config)]


def profile_step(base_url: str, model: str, batch: int, folder: Path, seed: int = 0) -> StepProfile:
    """One batch size on a server that was started with `profiler_arguments(folder)`, warmed up first.

    Raises `CookbookError` where the server has no profiler, or its trace holds no kernel of a GPU.
    """
    draw = random.Random(seed)
    prompts = [[draw.randrange(TEXT_TOKENS) for _ in range(PROMPT_TOKENS)] for _ in range(batch)]
    with httpx.Client(base_url=base_url, timeout=600) as client:
        request = {"model": model, "prompt": prompts, "ignore_eos": True, "temperature": 0}

        def seconds(tokens: int) -> float:
            began = time.monotonic()
            client.post("/v1/completions", json=request | {"max_tokens": tokens}).raise_for_status()
            return time.monotonic() - began

        seconds(SHORT)  # compiles and caches what this batch meets, the prompts among it
        prefill = seconds(1)
        long, short = (min(seconds(tokens) for _ in range(2)) for tokens in (LONG, SHORT))  # a compilation spoils one
        step_ms = (long - short) / (LONG - SHORT) * 1e3
        before = set(Path(folder).glob("*.json*"))
        profiled(client, request, prefill, step_ms)
    return read_profile(newest(Path(folder), before), batch, step_ms)


def profiled(client: httpx.Client, request: dict, prefill_s: float, step_ms: float) -> None:
    """Let the profiler run for `WINDOW_S` while every sequence of the request decodes."""
    tokens = LONG + round((2 * WINDOW_S + prefill_s) / step_ms * 1e3)
    body = request | {"max_tokens": tokens}
    user = threading.Thread(target=lambda: client.post("/v1/completions", json=body))
    user.start()
    time.sleep(prefill_s + 20 * step_ms / 1e3)
    begun = client.post("/start_profile")
    if begun.status_code == 404:
        raise CookbookError("this server has no profiler", do="start it with profiler_arguments(folder)")
    begun.raise_for_status()
    time.sleep(WINDOW_S)
    client.post("/stop_profile").raise_for_status()
    user.join()


def newest(folder: Path, before: set[Path], patience_s: float = 120) -> Path:
    """The trace that was not there before, once it stopped growing: the largest, where workers wrote several."""
    deadline, size = time.monotonic() + patience_s, -1
    while time.monotonic() < deadline:
        traces = sorted(set(folder.glob("*.json*")) - before, key=lambda path: path.stat().st_size)
        if traces and (now := traces[-1].stat().st_size) == size and now:
            return traces[-1]
        size = traces[-1].stat().st_size if traces else -1
        time.sleep(1)
    raise CookbookError("the profiler wrote no trace", f"{folder} holds nothing new", "see server.log")


def read_profile(trace: Path, batch: int, step_ms: float) -> StepProfile:
    """A trace in Chrome's format as the profile of its decode steps."""
    opened = gzip.open if trace.suffix == ".gz" else open
    with opened(trace, "rt") as file:
        events = json.load(file)["traceEvents"]
    return profile_of(events, batch, step_ms)


def profile_of(events: list[dict], batch: int, step_ms: float) -> StepProfile:
    """The kernels between the first and the last whole step; a step begins with its annotation on the GPU's side."""
    starts = sorted(
        event["ts"] for event in events if event.get("cat") == "gpu_user_annotation" and is_step(event["name"], batch)
    )
    ran = sorted((e for e in events if e.get("cat") in GPU_EVENTS), key=lambda event: event["ts"])
    if not ran:
        raise CookbookError("the trace holds no kernel of a GPU", do="profile on a GPU")
    if len(starts) < 2:
        raise CookbookError(
            f"the trace holds no two decode steps of {batch} sequences",
            f"its steps are {sorted({e['name'] for e in events if e.get('cat') == 'gpu_user_annotation'})[:5]}",
        )
    first, last, steps = starts[0], starts[-1], len(starts) - 1
    inside = [event for event in ran if first <= event["ts"] < last]
    calls, total, busy, until = defaultdict(int), defaultdict(float), 0.0, first
    for event in inside:
        calls[event["name"]] += 1
        total[event["name"]] += event["dur"]
        end = event["ts"] + event["dur"]
        busy += max(0.0, end - max(until, event["ts"]))
        until = max(until, end)
    kernels = [
        Kernel(name=name[:200], calls=calls[name], total_us=total[name])
        for name in sorted(total, key=total.get, reverse=True)
    ]
    return StepProfile(
        batch=batch,
        context=PROMPT_TOKENS + 20,
        step_ms=step_ms,
        steps=steps,
        profiled_step_ms=median(after - before for before, after in pairwise(starts)) / 1e3,  # one pause does not count
        busy_ms=busy / steps / 1e3,
        kernels=kernels,
    )


def is_step(name: str, batch: int) -> bool:
    """Whether an annotation is a step in which `batch` sequences decode and none is prefilled.

    >>> is_step("execute_context_0(0)_generation_64(64)", 64), is_step("execute_context_1(9)_generation_63(63)", 64)
    (True, False)
    """
    return bool(re.search(rf"context_0\D.*generation_{batch}\b", name))
