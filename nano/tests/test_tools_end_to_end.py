"""gpt-oss-nano, vLLM and both tool servers end to end: held-out tasks that only the tools can answer."""

import asyncio
import random
import re
from dataclasses import dataclass

import pytest

from helpers.tools.trace import Trace
from nano.domain.generator import held_out_samples
from nano.domain.sample import Draw, held_out
from nano.domain.tools.browser import FACTS, PLACES, page
from nano.domain.words import CITIES

CASES = 50
LEAST = 0.9  # of the cases
STAGGER_S = 0.1
TOOLS = {
    "python": {"type": "code_interpreter", "container": {"type": "auto"}},
    "browser": {"type": "web_search_preview"},
}
pytestmark = pytest.mark.full


@dataclass(frozen=True)
class Case:
    """A question, what its answer must hold, and for the browser the line that must be cited."""

    question: str
    expect: str
    line: int = -1


def python_cases(count: int = CASES, seed: int = 20261) -> list[Case]:
    """Held-out computations, each asked as a first turn."""
    found, samples = {}, held_out_samples(seed, 100_000, "python")
    while len(found) < count:
        sample = next(samples)
        if sample.task == "code":
            found.setdefault(sample.history[0]["content"], Case(sample.history[0]["content"], sample.expect[0]))
    return list(found.values())


def browser_cases(count: int = CASES, seed: int = 20262) -> tuple[list[Case], dict[str, str]]:
    """Held-out facts about places, and the corpus that holds them: one page a place."""
    draw, cases, corpus = Draw(random.Random(seed)), [], {}
    while len(cases) < count:
        subject = f"{draw.one(CITIES)} {draw.one(PLACES)}"
        lines, facts = page(draw, subject)
        if lines[0] != f"# {subject}" or sum(line.startswith("#") for line in lines) > 1:
            continue  # one place a page, under its own title
        kinds = [kind for kind in facts if held_out(("browser", subject, kind))]
        if subject in corpus or not kinds:
            continue
        value, line = facts[kinds[0]]
        corpus[subject] = "\n".join(lines)
        phrasings = next(phrasings for kind, phrasings, *_ in FACTS if kind == kinds[0])
        cases.append(Case(draw.one(phrasings).format(subject), value, line))
    return cases, corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    cases, pages = browser_cases()
    for subject, text in pages.items():
        (folder / f"{subject.lower().replace(' ', '-')}.md").write_text(text)
    return cases, folder


@pytest.fixture(scope="module")
def session(corpus, tmp_path_factory):
    """A server with the tools over the places' corpus."""
    from helpers.runs.run import Run

    run = Run("cpu", {"port": 0, "run_dir": str(tmp_path_factory.mktemp("skills"))})
    run.tools(corpus=corpus[1], seconds=5)
    run.begin()
    yield run
    run.stop()


def ask_all(session, cases: list[Case], tool: str) -> list:
    """Every case as one Responses request with one built-in tool, all in flight together.

    They start one after the other: vLLM opens each request's tool session on its event loop, and fifty in the same
    instant block it for longer than its own 5 s connection timeout on a small machine.
    """
    from openai import AsyncOpenAI

    async def ask_each():
        base = session.server.base_url + "/v1"
        async with AsyncOpenAI(base_url=base, api_key="none", timeout=300, max_retries=0) as client:

            async def ask(number: int, case: Case):
                await asyncio.sleep(number * STAGGER_S)
                return await client.responses.create(
                    model=session.model.model,
                    input=case.question,
                    tools=[TOOLS[tool]],
                    temperature=0,
                    max_output_tokens=400,
                    extra_body={"enable_response_messages": True},
                )

            return await asyncio.gather(*(ask(*pair) for pair in enumerate(cases)), return_exceptions=True)

    return asyncio.run(ask_each())


def judge(cases: list[Case], replies: list, tool: str) -> tuple[int, list[str]]:
    """How many cases were answered with the tool, and a line about each that was not."""
    right, wrong = 0, []
    for case, reply in zip(cases, replies, strict=True):
        if isinstance(reply, BaseException):
            wrong.append(f"{case.question}: {reply}")
            continue
        trace = Trace.of(reply)
        used = any(name.split(".")[0] == tool for name in trace.tools())
        cited = case.line < 0 or re.search(rf"【\d+†L{case.line}】", trace.answer)
        if used and case.expect in trace.answer and cited:
            right += 1
        else:
            wrong.append(f"wanted {case.expect!r} (line {case.line}):\n{trace}")
    return right, wrong


def test_python_answers_held_out_tasks(session):
    cases = python_cases()
    right, wrong = judge(cases, ask_all(session, cases, "python"), "python")
    print(f"python: {right} of {len(cases)}")
    assert right >= LEAST * len(cases), "\n\n".join(wrong[:5])


def test_browser_answers_and_cites_held_out_facts(session, corpus):
    cases = corpus[0]
    right, wrong = judge(cases, ask_all(session, cases, "browser"), "browser")
    print(f"browser: {right} of {len(cases)}")
    assert right >= LEAST * len(cases), "\n\n".join(wrong[:5])
