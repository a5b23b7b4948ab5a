"""What each remedy against the death of a seeded request costs: the server as vLLM comes, and three ways to keep it alive.

vLLM sets a request's generator back where only a part of its prompt fitted into a step, which a CPU generator cannot do.
"""

import asyncio
import itertools
import json
import random
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.result import Result, Value, result_of
from helpers.errors import CookbookError
from helpers.machine import facts
from helpers.paths import shown
from helpers.processes import cpu_seconds
from helpers.recipes import Target, check_parameters, load_model, load_target
from helpers.recipes.command.serve import flags_of, serve_command
from helpers.runs.folder import kept_on_failure
from helpers.server import Server, free_port, launch

MODEL, LIMIT = "gpt-oss-nano", "seeded-prompt-in-parts"
QUESTION = "What does it cost that a seeded request cannot end the server?"
LONG, SHORT, AT_ONCE, SHORT_OUT = 7_500, 400, 40, 32  # tokens, tokens, requests, tokens
ROUNDS = 3  # long prompts one after the other, and waves of short ones
BARE, WHOLE = "as vLLM comes", "whole prompts, the recipe's"
VARIANTS = {  # name -> the words after the recipe's command without the limit
    BARE: [],
    WHOLE: ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8448"],
    "a larger step alone": ["--max-num-batched-tokens", "8448"],
    "seeds dropped by a middleware": ["--middleware", "benchmarks.drop_seeds.DropSeeds"],
}
REQUEST_S = 600.0  # for one request on a busy machine


@dataclass
class Seen:
    """What one variant showed, over all of its starts."""

    start_s: list[float] = field(default_factory=list)  # CPU time: other work on the machine does not count
    memory_gib: list[float] = field(default_factory=list)
    long_ttft_s: list[float] = field(default_factory=list)
    wave_s: list[float] = field(default_factory=list)
    pause_s: list[float] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)  # of the killing requests, by kind
    texts: list[str] = field(default_factory=list)  # greedy answers to the long prompts


def without_limit(target: Target) -> Target:
    """The recipe as it would be without the known limit."""
    kept = [limit for limit in target.known_limits if limit.id != LIMIT]
    return target.model_copy(update={"known_limits": kept})


def argv_of(interpreter: Path, checkpoint: Path, port: int, variant: str, profile: str) -> tuple[list[str], dict]:
    """The command of a variant."""
    target, model = without_limit(load_target("cpu")), load_model(MODEL)
    command = serve_command(target, model, check_parameters(target, {"profile": profile}), str(checkpoint), port)
    return command.changed(flags_of(VARIANTS[variant])).run_by(interpreter), dict(command.env)


def prompt(chance: random.Random, tokens: int) -> list[int]:
    """Token ids that no other prompt begins with: nothing comes out of the prefix cache."""
    return [chance.randrange(1_000, 190_000) for _ in range(tokens)]


async def stream(client: httpx.AsyncClient, ids: list[int], tokens: int, **extra) -> tuple[list[float], str]:
    """When each token of a completion came (seconds from the request) and the text."""
    body = {"model": MODEL, "prompt": ids, "max_tokens": tokens, "stream": True, "ignore_eos": True}
    body |= {"temperature": 0} | extra
    times, text = [], ""
    began = time.perf_counter()
    async with client.stream("POST", "/v1/completions", json=body) as reply:
        async for line in reply.aiter_lines():
            if line.startswith('data: {"error'):
                raise httpx.RemoteProtocolError(line[:200])
            if line.startswith("data: {"):
                times.append(time.perf_counter() - began)
                text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
    if reply.status_code != 200 or not times:
        raise httpx.RemoteProtocolError(f"HTTP {reply.status_code}")
    return times, text


async def load(server: Server, seen: Seen, seed: int) -> None:
    """The long prompts alone, the waves, and a long prompt that arrives while four are being answered."""
    chance = random.Random(seed)
    async with client_of(server) as client:
        await stream(client, prompt(chance, 50), 8)
        for _ in range(ROUNDS):
            times, text = await stream(client, prompt(chance, LONG), 4)
            seen.long_ttft_s.append(times[0])
            seen.texts.append(text)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            wave = (stream(client, prompt(chance, SHORT), SHORT_OUT) for _ in range(AT_ONCE))
            await asyncio.gather(*wave)
            seen.wave_s.append(time.perf_counter() - began)

        async def late() -> None:
            await asyncio.sleep(1)
            await stream(client, prompt(chance, LONG), 4)

        users = [stream(client, prompt(chance, 50), 300) for _ in range(4)]
        *told, _ = await asyncio.gather(*users, late())
        seen.pause_s.append(max(after - before for times, _ in told for before, after in itertools.pairwise(times)))


async def kill(server: Server, kind: str) -> int:
    """How many of the requests that end a server as vLLM comes are answered: one long prompt, or forty at once."""
    chance, many, tokens = (random.Random(3), (1 if kind == "long" else AT_ONCE), LONG if kind == "long" else SHORT)
    async with client_of(server) as client:
        jobs = (stream(client, prompt(chance, tokens), 8, temperature=1.0, seed=n) for n in range(many))
        replies = await asyncio.gather(*jobs, return_exceptions=True)
    if strange := [one for one in replies if isinstance(one, BaseException) and not isinstance(one, httpx.HTTPError)]:
        raise strange[0]
    return sum(isinstance(reply, tuple) for reply in replies)


def client_of(server: Server) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=2 * AT_ONCE)
    return httpx.AsyncClient(base_url=server.base_url, timeout=REQUEST_S, limits=limits)


def memory_gib(server: Server) -> float:
    """Of all the server's processes, what they share counted once."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in server.members()) / 2**30


def started(interpreter: Path, checkpoint: Path, folder: Path, variant: str, profile: str = "latency") -> Server:
    """A server of the variant; its log is in `folder`."""
    port = free_port()
    argv, env = argv_of(interpreter, checkpoint, port, variant, profile)
    log = folder / f"{variant.replace(' ', '-').replace(',', '')}-{profile}.log"
    return launch(argv, env, port=port, log=log, target="cpu", model=MODEL, report=lambda *_: None)


def look(seen: Seen, server: Server, seed: int, kinds: list[str]) -> None:
    """One start's figures; the requests that may end it come last, and none is sent to a server that is gone."""
    seen.start_s.append(cpu_seconds(server.members()))
    asyncio.run(load(server, seen, seed))
    seen.memory_gib.append(memory_gib(server))
    for kind in kinds:
        if not server.running() or not server.healthy():
            raise CookbookError(
                f"the server ended before the {kind} request", do=f"see `cookbook doctor {shown(server.log)}`"
            )
        seen.answered[kind] = asyncio.run(kill(server, kind))


def measure(interpreter: Path, checkpoint: Path, names: list[str] | None = None) -> Result:
    """There and back again over the variants: a drift of the machine favours none."""
    names = names or list(VARIANTS)
    found = {name: Seen() for name in names}
    compiled: dict[str, list[float]] = {BARE: [], WHOLE: []}
    with kept_on_failure("bench-seeded") as folder:
        started(interpreter, checkpoint, folder, names[0]).stop()  # reads everything from the disk once
        for turn, order in enumerate((names, names[::-1])):
            for name in order:
                server = started(interpreter, checkpoint, folder, name)
                try:
                    look(found[name], server, turn, [("long", "forty")[turn]])
                finally:
                    server.stop()
        for name in (BARE, WHOLE, WHOLE, BARE):  # the first of each compiles, the second finds that
            server = started(interpreter, checkpoint, folder, name, "throughput")
            compiled[name].append(cpu_seconds(server.members()))
            server.stop()
    return result(found, compiled, facts.versions(interpreter)["vllm"])


def result(found: dict[str, Seen], compiled: dict[str, list[float]], vllm: str) -> Result:
    """The record: every variant beside the server as vLLM comes."""
    bare, values = found[BARE], []
    for name, seen in found.items():
        own = name == WHOLE
        ratios = [
            ("start", min(seen.start_s) / min(bare.start_s), "CPU time, the less of two", 1.05),
            ("memory", statistics.mean(seen.memory_gib) / statistics.mean(bare.memory_gib), "after the load", 1.1),
            (
                "TTFT of a long prompt",
                statistics.median(seen.long_ttft_s) / statistics.median(bare.long_ttft_s),
                f"{LONG} tokens alone, median",
                1.1,
            ),
            (
                f"time of {AT_ONCE} at once",
                statistics.median(seen.wave_s) / statistics.median(bare.wave_s),
                f"{SHORT}/{SHORT_OUT} tokens, median",
                1.1,
            ),
        ]
        if name != BARE:
            values += [
                Value(name=f"{name}: {what} / {BARE}", value=ratio, unit="x", detail=detail, bar=bar if own else None)
                for what, ratio, detail, bar in ratios
            ]
        values += [
            Value(
                name=f"{name}: longest pause of four streams",
                value=1e3 * max(seen.pause_s),
                unit="ms",
                detail=f"a prompt of {LONG} tokens arrives meanwhile",
            ),
            Value(
                name=f"{name}: unanswered of 1 seeded long prompt",
                value=1 - seen.answered["long"],
                unit="",
                bar=0 if own else None,
            ),
            Value(
                name=f"{name}: unanswered of {AT_ONCE} seeded at once",
                value=AT_ONCE - seen.answered["forty"],
                unit="",
                bar=0 if own else None,
                detail=f"{SHORT} tokens each",
            ),
        ]
        if own:
            other = sum(one != two for one, two in zip(seen.texts, bare.texts, strict=True))
            values.append(
                Value(
                    name=f"{name}: greedy answers unlike {BARE}",
                    value=other,
                    unit="",
                    detail=f"of {len(seen.texts)} to prompts of {LONG} tokens",
                )
            )
    values += [
        Value(
            name=f"{BARE}: start", value=min(bare.start_s), unit="s", detail="CPU time; latency profile, not compiled"
        ),
        Value(name=f"{BARE}: TTFT of a long prompt", value=1e3 * statistics.median(bare.long_ttft_s), unit="ms"),
    ]
    if compiled[WHOLE]:
        values.append(
            Value(
                name=f"{WHOLE}: compiled start / {BARE}",
                value=compiled[WHOLE][-1] / compiled[BARE][-1],
                unit="x",
                detail="CPU time; throughput profile, caches warm",
            )
        )
    return result_of("seeded_prompts", QUESTION, values, {"vllm": vllm})
