"""The tools on a campaign's host: their contracts through gpt-oss-nano, and what they cost a server under load."""

import asyncio
import json
import os
import shutil
import threading
import time
from pathlib import Path

from benchmarks.campaign.measure import command
from benchmarks.campaign.plan import NO_PREFIXES, Job, ToolLoad, Tools
from benchmarks.campaign.probes import seen
from benchmarks.tools_latency import Session
from helpers.bench.sweep import line_of, sampling, sweep
from helpers.bench.worker import LoadWorker
from helpers.checks import Contract, Facts
from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.recipes.command.serve import Command, bare_command
from helpers.runs.steps import start_tools

PYTHON = {"type": "code_interpreter", "container": {"type": "auto"}}
BROWSER = {"type": "web_search_preview"}
# `server_url` is required by the schema; vLLM uses its own --tool-server
MCP = {"type": "mcp", "server_label": "code_interpreter", "server_url": "http://127.0.0.1"}
SUM = "What is 123 * 456?"
PAUSE_S = 1.0  # between the calls of a conversation: about what a model takes to write the next one
# each way twice, in turn: what two of the same differ by is noise
WAYS = {
    "alone": None,
    "pausing": PAUSE_S,
    "restless": 0.0,
    "alone again": None,
    "pausing again": PAUSE_S,
    "restless again": 0.0,
}


def tools(campaign, step: Tools, folder: Path) -> None:
    """gpt-oss-nano with both tool servers: each contract once, whatever the others say."""
    weights, port, log = campaign.checkpoint(step), campaign.port(step), folder / "server.log"
    env = {"VLLM_CPU_KVCACHE_SPACE": "1"} if campaign.on_cpu else {}
    with start_tools(step.model, True, run_dir=folder) as servers:
        own = bare_command(str(weights), step.model, port).with_tools(servers.argument, servers.env | env)
        server = campaign.launch(step, [own.changed({}, campaign.visible(step.gpus))], port, log)
        try:
            found = [outcome(check, server.base_url, step.model) for check in (python, lasting, browser, streamed)]
        finally:
            campaign.say(step.name, server.stop())
        held = all(one["state"] == "passed" for one in found)
        value = {
            "state": "passed" if held else "failed",
            "model": step.model,
            "sandbox": servers.sandbox,
            "contracts": found,
            **seen(campaign, server.command, log),
        }
    (folder / step.done).write_text(json.dumps(value, indent=1) + "\n")
    for one in found:
        campaign.say(step.name, f"{one['name']}: {one['state']} {one['why']}")
    if not held:
        raise CookbookError("a contract of the tools is broken", f"see {step.done}")


def outcome(check, base_url: str, model: str) -> dict[str, str]:
    """A contract's name, state and reason; an error counts as broken."""
    from openai import OpenAI

    client = OpenAI(base_url=base_url + "/v1", api_key="none", timeout=300, max_retries=0)
    try:
        contract: Contract = check(client, model)
    except Exception as error:  # the other contracts are asked all the same
        return {"name": check.__name__, "state": "failed", "why": f"{type(error).__name__}: {error}"[:300]}
    return {
        "name": contract.name,
        "state": "passed" if contract.passed else "failed",
        "why": "; ".join(contract.faults),
    }


def asked(client, model: str, question: str, tool: dict, **more):
    """A question with one tool, its raw messages with the answer."""
    extra = {"enable_response_messages": True}
    options = {"model": model, "temperature": 0, "max_output_tokens": 400, "extra_body": extra, **more}
    return client.responses.create(input=question, tools=[tool], **options)


def python(client, model: str) -> Contract:
    """The model runs a program and answers with what it printed."""
    from helpers.checks.calls import conversation
    from helpers.tools.trace import Trace

    trace = Trace.of(asked(client, model, SUM, PYTHON))
    return conversation(trace, ["python"], "56088", "python.tool", "builtin_tools")


def lasting(client, model: str) -> Contract:
    """The same tool asked for as an MCP tool, with a conversation's name in its headers."""
    from helpers.checks.calls import conversation
    from helpers.tools.trace import Trace

    tool = MCP | {"headers": {"x-conversation-id": "campaign"}}
    trace = Trace.of(asked(client, model, "What is 7 * 8?", tool))
    return conversation(trace, ["python"], "56", "python.mcp", "builtin_tools")


def browser(client, model: str) -> Contract:
    """The model searches, opens a result, answers from it and cites the line."""
    from helpers.checks.calls import cited, conversation
    from helpers.tools.trace import Trace

    trace = Trace.of(asked(client, model, "How high is the Paris Tower?", BROWSER))
    found = conversation(trace, ["browser.search", "browser.open"], "324", "browser.tool", "builtin_tools")
    return found if not found.passed else cited(trace, cursor=1, line=2)


def streamed(client, model: str) -> Contract:
    """The events of a streamed request name the call."""
    facts, kinds = Facts(), [event.type for event in asked(client, model, SUM, PYTHON, stream=True)]
    facts.same("last event", kinds[-1], "response.completed")
    facts.need("names the call", any("code_interpreter" in kind for kind in kinds), f"the events are {set(kinds)}")
    return facts.contract("python.streaming", "builtin_tools")


def tool_load(campaign, step: ToolLoad, folder: Path) -> None:
    """One server; the same sweep alone, beside conversations that pause between calls, beside restless ones, twice over."""
    weights, port, log = campaign.checkpoint(step), campaign.port(step), folder / "server.log"
    nano = step.model == "gpt-oss-nano"
    arguments = [*NO_PREFIXES, *(["--enforce-eager", "--max-model-len", "2048"] if campaign.on_cpu else [])]
    job = Job(step.name, step.model, [step.load], arguments=arguments, gpus=step.gpus)
    rows: list[dict] = []
    with (
        LoadWorker(campaign.interpreter, folder / "bench" / "load.log") as worker,
        start_tools("gpt-oss-nano", True, run_dir=folder) as servers,
    ):
        server = campaign.launch(step, [command(campaign, job, str(weights), port)], port, log)
        address = servers.argument.split(",")[0]
        try:
            for name, pause in {"warm": None, **WAYS}.items():  # kernels for this load compile in the first
                place = folder / name.replace(" ", "-")
                shutil.rmtree(place, ignore_errors=True)  # a kept point would have met no conversation
                with Talk(address, step.conversations, pause) as talk:
                    (point,) = sweep(
                        server.base_url,
                        step.model,
                        weights,
                        campaign.interpreter,
                        [step.load],
                        place,
                        worker=worker,
                        progress=lambda event: None,
                        timeout_s=campaign.left_s(),
                        **sampling("nano" if nano else "synthetic"),
                    )
                if name == "warm":
                    continue
                rows.append({"beside": name, **talk.summary(), "point": point.model_dump(mode="json")})
                campaign.say(step.name, f"{name:12} {talk.calls:6} calls  {line_of(point)}")
                keep_load(campaign, step, folder, rows, servers.sandbox, server.command)
        finally:
            campaign.say(step.name, server.stop())


def keep_load(campaign, step: ToolLoad, folder: Path, rows: list[dict], sandbox: str, served: Command) -> None:
    """What is known so far of a tool load: it passed once every way was measured."""
    value = {
        "state": "passed" if len(rows) == len(WAYS) else "failed",
        "model": step.model,
        "weights": "nano" if step.model == "gpt-oss-nano" else "synthetic",
        "sandbox": sandbox,
        "conversations": step.conversations,
        "cores": len(os.sched_getaffinity(0)),  # what the server, the load and the tools share
        "rows": rows,
        **seen(campaign, served, folder / "server.log"),
    }
    write_whole(folder / step.done, json.dumps(value, indent=1) + "\n")


class Talk:
    """Conversations that call the python tool until the block ends; with `pause` None there are none."""

    def __init__(self, address: str, conversations: int, pause: float | None):
        self.address, self.number, self.pause = address, conversations, pause
        self.ended, self.seconds, self.failures = threading.Event(), [], []
        self.thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    @property
    def calls(self) -> int:
        return len(self.seconds)

    def summary(self) -> dict:
        """Calls, how many a second, their median and 99th percentile in milliseconds."""
        ordered = sorted(self.seconds)
        at = lambda share: round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)  # noqa: E731
        known = {"call_p50_ms": at(0.5), "call_p99_ms": at(0.99)} if ordered else {}
        return {"calls": self.calls, "calls_per_s": round(self.calls / self.took, 1), **known}

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.number):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        try:
            async with Session(self.address, f"load-{number}") as session:
                while not self.ended.is_set():
                    took, text = await session.call("python", code=f"sum(range({number}))")
                    assert text == str(sum(range(number))), text
                    self.seconds.append(took)
                    await asyncio.sleep(self.pause)
        except Exception as error:
            self.failures.append(error)

    def __enter__(self) -> "Talk":
        self.began = time.monotonic()
        if self.pause is not None:
            self.thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        self.took = time.monotonic() - self.began
        if self.failures and not kind:
            raise CookbookError(f"{len(self.failures)} conversations broke", str(self.failures[0])[:300])
