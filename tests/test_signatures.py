"""Every signature of recipes/failures/: found in its own lines, in nobody else's, and in no healthy log."""

import io
import re._parser as regex_parser  # type: ignore[import-not-found]
from pathlib import Path

import pytest

from helpers.doctor import Diagnosis, diagnose
from helpers.doctor.exceptions import LAST_LINE
from helpers.doctor.signatures import FAILURES, Signature, load
from helpers.logs import Line, parse
from helpers.paths import ROOT
from maintain import failures

FIXTURES = Path(__file__).parent / "fixtures" / "doctor"
COMPONENTS = [
    "client",
    "cuda",
    "docker_kubernetes",
    "download",
    "harmony",
    "install",
    "lora",
    "memory",
    "nccl",
    "rocm",
    "speculative",
    "startup",
    "structured_output",
    "tools",
    "xpu",
]
WRITTEN = [s for s in load() if not (FIXTURES / f"{s.id}.log").exists()]  # their fixture is built around an example
CORE = "(EngineCore pid=7) ERROR 11-22 14:05:14 [core.py:1510] "


def found_in(text: str) -> Diagnosis:
    return diagnose(io.BytesIO(text.encode()))


def server_log(signature: Signature, example: str) -> str:
    """A start that ends in `example`, of the newest release that the signature is known from."""
    releases = ["0.32.0", "0.31.0", "0.28.0", "0.25.0", "0.23.0", "0.16.0", "0.11.0", "0.10.1", "0.10.0"]
    known = signature.vllm and regex_versions(signature.vllm)
    release = next(one for one in releases if not known or one in known)
    head = (
        f"(APIServer pid=5) INFO 11-22 14:05:00 [api_server.py:1839] vLLM API server version {release}\n"
        "(APIServer pid=5) INFO 11-22 14:05:00 [utils.py:233] non-default args: {'model_tag': 'openai/gpt-oss-120b'}\n"
    )
    line = parse(example.encode())
    if line.level or line.stream or not LAST_LINE.match(line.text):
        return f"{head}{example}\n"
    frames = ["Traceback (most recent call last):", '  File "/opt/vllm/x.py", line 3, in f', "    raise it", example]
    after = "(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    return head + CORE + "EngineCore failed to start.\n" + "".join(f"{CORE}{row}\n" for row in frames) + after


def regex_versions(specifier: str):
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier, prereleases=True)


def own_lines(signature: Signature) -> list[Line]:
    """The lines that show a signature: its fixture's, and its patterns' examples."""
    log = FIXTURES / f"{signature.id}.log"
    rows = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [
        parse(row.encode()) for row in [*rows, *(pattern.example for pattern in signature.match if pattern.example)]
    ]


def carries(signature: Signature, line: Line) -> bool:
    return any(
        (pattern.info or line.level not in ("INFO", "DEBUG")) and pattern.find(line.text) is not None
        for pattern in signature.match
    )


def test_the_collection_is_large_and_whole():
    known = load()
    assert len(known) >= 150 and {signature.component for signature in known} == set(COMPONENTS)
    assert {path.stem for path in FAILURES.glob("*.yaml")} == set(COMPONENTS)
    for one in known:
        assert one.counter and one.source and one.hardware and one.versions and one.cause and one.fix, one.id
        assert all(name in {other.id for other in known} for name in one.over), one.id


@pytest.mark.parametrize("signature", WRITTEN, ids=lambda signature: signature.id)
def test_a_start_that_ends_in_it_is_explained_by_it(signature):
    for pattern in signature.match:
        assert pattern.example, f"{signature.id}: neither a fixture nor an example for {pattern.literal!r}"
        found = found_in(server_log(signature, pattern.example))
        assert found.ids == [signature.id], pattern.literal
        assert found.fatal is (signature.kind_of(pattern) == "fatal")
        if found.fatal:
            assert (
                found.exception.splitlines()[0] in pattern.example and "from which it is not known" not in found.text()
            )


@pytest.mark.parametrize("signature", load(), ids=lambda signature: signature.id)
def test_it_leaves_its_counter_example_alone(signature):
    for text in signature.counter:
        assert not carries(signature, parse(text.encode())), text
        assert signature.id not in found_in(server_log(signature, text)).ids


def test_none_is_found_in_the_lines_of_another():
    known = load()
    wrong = [
        f"{other.id} in {one.id}: {line.text[:90]}"
        for one in known
        for line in own_lines(one)
        for other in known
        if other is not one and other.id not in one.over and one.id not in other.over
        if carries(other, line) and not any(p.wrapper for p in other.match)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["healthy", "real/served", "real/stopped"])
def test_none_is_found_in_a_healthy_log(name):
    """One of warnings that frighten, two recorded."""
    found = diagnose(FIXTURES / f"{name}.log")
    assert found.ids == [] and found.exit_code == 0 and found.exception is None


def repeats(parsed, inside: bool = False) -> bool:
    """Whether an unbounded repetition holds another one."""
    for name, value in parsed:
        unbounded = name in (regex_parser.MAX_REPEAT, regex_parser.MIN_REPEAT) and value[1] == regex_parser.MAXREPEAT
        held = value if isinstance(value, tuple | list) else ()
        parts = [part for group in held for part in (group if isinstance(group, list) else [group])]
        parts = [part for part in parts if isinstance(part, regex_parser.SubPattern)]
        if (unbounded and inside) or any(repeats(part, inside or unbounded) for part in parts):
            return True
    return False


def test_no_pattern_repeats_a_repetition():
    """What makes a search take exponential time: (a+)+."""
    regexes = [pattern.regex for signature in load() for pattern in signature.match if pattern.regex]
    assert [regex for regex in regexes if repeats(regex_parser.parse(regex))] == []
    assert repeats(regex_parser.parse("(?:a+b?)+")) and not repeats(regex_parser.parse("a+(?:b|c)*"))


def test_the_page_is_what_the_signatures_say() -> None:
    """`.venv/bin/python -m maintain.failures` writes it."""
    text = failures.page()
    assert (ROOT / "docs" / "failures.md").read_text(encoding="utf-8") == text
    assert all(f'<a id="{signature.id.lower()}"></a>' in text for signature in load())
    assert all(f"## {failures.title(signature.component)}\n" in text for signature in load())


def test_a_source_that_names_an_issue_is_a_link_to_it() -> None:
    assert failures.source("amd/skills#72") == "[amd/skills#72](https://github.com/amd/skills/issues/72)"
    assert failures.source("vLLM 0.32.0 envs.py") == "vLLM 0.32.0 envs.py"
    assert failures.source("gLLM#1") == "gLLM#1", "nobody knows whose"
