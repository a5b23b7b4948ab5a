"""Ask a running server the held-out cases and count what gpt-oss-nano gets right."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from helpers.errors import CookbookError
from nano.evaluation.cases import Case, arbitrary, cases
from nano.evaluation.grading import Reply, grows, malformed, problem, read_chat, read_responses
from nano.evaluation.requests import chat_body, responses_body

AT_ONCE = 16  # requests in flight
MAX_TOKENS = 400  # the longest answer of the domain has about 150
SAMPLED_PROMPTS, SAMPLES_EACH = 50, 20  # together the thousand answers of the malformed rate
REQUIRED = ("answers", "domain", "functions", "memory", "structured")  # skills with a bar
BAR, SAMPLED_BAR, MALFORMED_BAR = 0.95, 0.80, 0.01


@dataclass
class SkillScores:
    """Passed and total per skill and task, what failed, and the measurements beside them."""

    skills: dict[str, dict[str, int]] = field(default_factory=dict)
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)

    def count(self, table: dict, name: str, passed: bool) -> None:
        """Add one case to a table."""
        row = table.setdefault(name, {"passed": 0, "total": 0})
        row["passed"] += passed
        row["total"] += 1

    def share(self, skill: str) -> float:
        """The share passed of a skill."""
        row = self.skills[skill]
        return row["passed"] / row["total"]

    def as_dict(self) -> dict:
        """The JSON document."""
        return {"skills": self.skills, "tasks": self.tasks} | self.extra


class NanoClient:
    """Requests to one server, a bounded number at a time."""

    def __init__(self, base_url: str, model: str, temperature: float):
        import httpx

        self.model, self.temperature = model, temperature
        self._http = httpx.AsyncClient(base_url=base_url.rstrip("/").removesuffix("/v1"), timeout=300)
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def post(self, path: str, body: dict) -> dict:
        """The reply's JSON; an HTTP error becomes {"failed": text}."""
        async with self._gate:
            try:
                reply = await self._http.post(path, json=body)
            except Exception as error:
                raise CookbookError(
                    f"the server at {self._http.base_url} does not answer",
                    why=repr(error),
                    do="start it, or check --base-url",
                ) from error
        return reply.json() if reply.status_code == 200 else {"failed": f"HTTP {reply.status_code}: {reply.text[:300]}"}

    async def ask(self, case: Case, endpoint: str) -> Reply:
        """One case on one endpoint."""
        extra = (
            {"temperature": self.temperature, "seed": 1} if endpoint == "chat" else {"temperature": self.temperature}
        )
        extra["tool_choice"] = "required" if case.required else "auto"
        if endpoint == "chat":
            if not case.sample.tools:
                extra.pop("tool_choice")
            body = await self.post(
                "/v1/chat/completions", chat_body(case.sample, self.model, max_tokens=MAX_TOKENS, **extra)
            )
        else:
            body = await self.post(
                "/v1/responses", responses_body(case.sample, self.model, max_output_tokens=MAX_TOKENS, **extra)
            )
        if "failed" in body:
            return Reply(error=body["failed"])
        return (read_chat if endpoint == "chat" else read_responses)(body)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


async def _score(client: NanoClient, wanted: list[Case], result: SkillScores, progress: Callable[[int], None]) -> None:
    async def one(case: Case, endpoint: str) -> Reply:
        reply = await client.ask(case, endpoint)
        progress(1)
        return reply

    jobs = [(case, endpoint) for case in wanted for endpoint in case.endpoints]
    replies = await asyncio.gather(*(one(*job) for job in jobs))
    lengths: dict[tuple, list[int]] = {}
    for (case, endpoint), reply in zip(jobs, replies, strict=True):
        wrong = problem(case.sample, reply)
        result.count(result.skills, case.skill, not wrong)
        result.count(result.tasks, f"{case.skill}/{case.sample.task}", not wrong)
        if wrong:
            result.failures.append(
                f"{case.skill}/{case.sample.task} {endpoint} {case.sample.effort}: {case.sample.history[-1]['content'][:120]!r}: {wrong}"
            )
        if case.skill == "answers":
            lengths.setdefault((case.sample.key, endpoint), []).append(len(reply.reasoning))
    for key, row in lengths.items():
        result.count(result.skills, "answers", grows(row))
        result.count(result.tasks, "answers/analysis grows", grows(row))
        if not grows(row):
            result.failures.append(f"answers/analysis grows {key}: {row} characters")


async def _malformed(client: NanoClient, wanted: list[Case], progress: Callable[[int], None]) -> dict:
    """How many of a thousand answers sampled at temperature 1.0 break Harmony's form."""
    step = max(1, len(wanted) // SAMPLED_PROMPTS)
    broken: dict[str, int] = {}
    total = 0

    async def one(case: Case, number: int) -> None:
        nonlocal total
        body = chat_body(
            case.sample,
            client.model,
            max_tokens=MAX_TOKENS,
            temperature=1.0,
            n=SAMPLES_EACH,
            seed=number,
            return_token_ids=True,
        )
        body.pop("response_format", None)
        reply = await client.post("/v1/chat/completions", body)
        progress(1)
        if "failed" in reply:
            raise CookbookError("a sampled request failed", why=reply["failed"], do="look at the server's log")
        for choice in reply["choices"]:
            total += 1
            if wrong := malformed(choice["token_ids"]):
                broken[wrong] = broken.get(wrong, 0) + 1

    await asyncio.gather(*(one(case, number) for number, case in enumerate(wanted[::step][:SAMPLED_PROMPTS])))
    return {"malformed": sum(broken.values()), "samples": total, "causes": broken}


async def _evaluate(
    base_url: str, model: str, temperature: float, builtin: list[Case], sampling: bool, only: set[str], progress
) -> SkillScores:
    client, result = NanoClient(base_url, model, temperature), SkillScores()
    wanted = cases()
    try:
        chosen = [case for case in wanted + builtin if not only or case.skill in only]
        await _score(client, chosen, result, progress)
        if sampling:
            await _score(client, arbitrary(), result, progress)
            result.extra["sampled"] = await _malformed(client, wanted, progress)
    finally:
        await client.close()
    result.extra |= {"model": model, "temperature": temperature}
    return result


def evaluate(
    base_url: str,
    model: str = "gpt-oss-nano",
    temperature: float = 0.0,
    builtin: list[Case] | None = None,
    sampling: bool = True,
    only: set[str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> SkillScores:
    """Run the cases (of the skills in `only`) against a server.

    `builtin` cases need a server with the tool servers; `sampling` adds arbitrary prompts and 1,000 answers.
    """
    return asyncio.run(_evaluate(base_url, model, temperature, builtin or [], sampling, only or set(), progress))


def missed(result: SkillScores) -> list[str]:
    """The bars that a result does not reach."""
    sampled = result.extra["temperature"] > 0
    bar = SAMPLED_BAR if sampled else BAR
    found = [
        f"{skill}: {result.share(skill):.1%} < {bar:.0%}"
        for skill in REQUIRED
        if skill in result.skills and result.share(skill) < bar
    ]
    rate = result.extra.get("sampled")
    if rate and rate["malformed"] > MALFORMED_BAR * rate["samples"]:
        found.append(f"malformed Harmony: {rate['malformed']} of {rate['samples']}")
    return found


def document(result: SkillScores) -> str:
    """The JSON text that `--json` writes."""
    return json.dumps(result.as_dict(), indent=2, ensure_ascii=False) + "\n"
