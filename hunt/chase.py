"""The hunt itself: batch after batch, the server looked at after each; it goes on in its folder where it stopped."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from helpers.files import write_whole
from hunt.answers import Finding, findings
from hunt.drawing.draw import batch, mode_of, requests, spared
from hunt.request import Request
from hunt.send import Outcome, sent
from hunt.served import Guard, Ours
from hunt.smallest import culprits, kills, smallest
from hunt.state import State

SHRINK_S = 900.0  # for one kill: every proof of it costs a start of the server
FINDING_S = 8.0  # for anything else, which costs a request


@dataclass
class Progress:
    """What a hunt has done, as its folder keeps it."""

    seed: int
    batches: int = 0
    requests: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    paths: dict[str, int] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)  # key -> kind, where, said, count, request
    kills: list[dict[str, Any]] = field(default_factory=list)
    memory_gib: list[float] = field(default_factory=list)
    highest_gib: float = 0.0
    slowest_s: float = 0.0
    answer: str = ""
    starts: int = 0
    spared: dict[str, int] = field(default_factory=dict)  # case -> requests of its kind that were left out

    @property
    def clean(self) -> bool:
        """No kill, no server left ill."""
        return not self.kills

    def add(self, finding: Finding, request: Request) -> bool:
        """Count a finding; True for the first of its kind."""
        known = self.findings.get(finding.key)
        if known:
            known["count"] += 1
            return False
        self.findings[finding.key] = asdict(finding) | {"count": 1, "request": json.loads(request.line())}
        return True


@dataclass
class Hunt:
    """A hunt on one server, kept in `folder`."""

    state: State
    folder: Path
    seed: int
    say: Callable[[str], None] = print
    memory_limit_gib: float = 8.0
    shrink_s: float = SHRINK_S
    all_kinds: bool = False  # known killers that nothing prevents are sent as well
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        kept = self.folder / "progress.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(**json.loads(kept.read_text())) if kept.exists() else Progress(self.seed)
        self.seed = self.progress.seed

    def go(self, count: int, seconds: float) -> Progress:
        """Hunt until `count` requests have been sent in all, a kill is found, or the time is over."""
        began, done = time.monotonic(), self.progress
        self.state.begin()
        self.description = httpx.get(f"{self.state.served.base_url}/openapi.json", timeout=60).text
        self.strategy = requests(self.description, self.state.model)
        self.state.answer, self.state.memory_gib = done.answer or self.state.answer, done.memory_gib
        done.answer = self.state.answer
        guard = Guard(self.state.served, self.memory_limit_gib)
        try:
            while done.requests < count and time.monotonic() - began < seconds and done.clean:
                self._batch()
        finally:
            done.highest_gib = max(done.highest_gib, round(guard.end(), 2))
            done.seconds += time.monotonic() - began
            done.starts = getattr(self.state.served, "starts", 0)
            self._save()
        return done

    def _batch(self) -> None:
        done, number = self.progress, self.progress.batches
        drawn, mode = batch(self.strategy, self.seed, number), mode_of(number)
        known = ["" if self.all_kinds else spared(request) for request in drawn]
        sending = [request for request, case in zip(drawn, known, strict=True) if not case]
        began = time.monotonic()
        outcomes = sent(self.state.served.base_url, sending, mode, number)
        took, fault = time.monotonic() - began, self.state.fault()
        done.batches += 1
        done.requests += len(outcomes)
        for case in filter(None, known):
            done.spared[case] = done.spared.get(case, 0) + 1
        done.modes[mode] = done.modes.get(mode, 0) + len(outcomes)
        with open(self.folder / "outcomes.jsonl", "a") as lines:
            for outcome in outcomes:
                self._look(outcome, lines)
        memory = f"{done.memory_gib[-1]:.2f} GiB" if done.memory_gib else ""
        self.say(
            f"{done.requests:6} requests  {mode:9} {took:6.1f} s  {memory}  {len(done.findings)} findings  {fault}"
        )
        if fault:
            self._killed(fault, outcomes, number)
        else:
            self._shrink(number)
        self._save()

    def _look(self, outcome: Outcome, lines: Any) -> None:
        done, request = self.progress, outcome.request
        status = "cancelled" if outcome.cancelled else str(outcome.status or "none")
        done.statuses[status] = done.statuses.get(status, 0) + 1
        done.paths[request.path] = done.paths.get(request.path, 0) + 1
        done.slowest_s = max(done.slowest_s, round(outcome.seconds, 1))
        seen = list(findings(outcome, self.description))
        for finding in seen:
            if done.add(finding, request):
                self.say(f"  {finding.kind}: {finding.where}: {finding.said[:200]}")
        row = {
            "status": outcome.status,
            "seconds": round(outcome.seconds, 2),
            "cancelled": outcome.cancelled,
            "lost": outcome.lost,
        }
        row |= {
            "findings": [finding.key for finding in seen],
            "said": outcome.text[:300] if outcome.status != 200 else "",
        }
        lines.write(json.dumps(row | json.loads(request.line())) + "\n")

    def _shrink(self, number: int) -> None:
        """Make the first request of each new kind of finding small."""
        for key, found in self.progress.findings.items():
            if "least" in found or found["kind"] == "hang":
                continue
            still = functools.partial(self._shows, key)
            least = smallest(self.strategy, self.seed, number, Request(**found["request"]), still, FINDING_S)
            found["least"] = json.loads(least.line())
            self.say(f"  least of {found['kind']}: {least.line()[:300]}")

    def _shows(self, key: str, request: Request) -> bool:
        """Whether a request, sent alone, shows a finding."""
        (outcome,) = sent(self.state.served.base_url, [request], "alone")
        return key in {finding.key for finding in findings(outcome, self.description)}

    def _killed(self, fault: str, outcomes: list[Outcome], number: int) -> None:
        """Keep what ended the server, as small as it gets where the server can be started anew."""
        kill: dict[str, Any] = {"fault": fault, "batch": number, "mode": mode_of(number), "requests": []}
        self.progress.kills.append(kill)
        self._save()
        self.say(f"  {fault}")
        served = self.state.served
        if not isinstance(served, Ours) or not fault.startswith("kill"):
            suspects = [outcome.request for outcome in outcomes if outcome.lost or outcome.status >= 500]
            kill["requests"] = [json.loads(request.line()) for request in suspects]
            return
        kill["log"] = str(served.log)
        served.stop()
        served.start()
        found = culprits(self.state, outcomes, self.say)
        self.say(f"  {len(found)} request(s) end it: {[request.line()[:300] for request in found[:3]]}")
        if len(found) == 1:
            still = lambda request: kills(self.state, [request])  # noqa: E731
            found = [smallest(self.strategy, self.seed, number, found[0], still, self.shrink_s)]
            self.say(f"  the least that does: {found[0].line()[:500]}")
        kill["requests"] = [json.loads(request.line()) for request in found]
        text = yaml.safe_dump(kill, sort_keys=False, allow_unicode=True)
        write_whole(self.folder / f"kill-{len(self.progress.kills)}.yaml", text)

    def _save(self) -> None:
        self.progress.memory_gib = self.state.memory_gib
        write_whole(self.folder / "progress.json", json.dumps(asdict(self.progress), indent=1))
