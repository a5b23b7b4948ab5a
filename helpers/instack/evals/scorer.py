"""Asks and grades every sample of the requested evaluations, each on file as it completes.

Run with the evaluations' interpreter: `python -m helpers.instack.evals.scorer REQUEST.json`, a request being

    {"base_url": "http://127.0.0.1:8000/v1", "model": "gpt-oss-20b", "concurrency": 128, "timeout_s": 7200,
     "jobs": [{"eval": "gpqa", "grader": "gpqa", "effort": "low", "files": {"gpqa_diamond.csv": "..."},
               "questions": 198, "repeats": 8, "examples": null, "sampler": "responses", "temperature": 1.0,
               "max_tokens": 131072, "out": ".../samples.jsonl", "allowed_failures": 15}]}

Events go out as one JSON object per line: ready, start, sample, done, lost, error. The key is OPENAI_API_KEY.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers.checks.pulse import Pulse
from helpers.instack.evals.client import TRANSPORT, GiveUp, SampleClient
from helpers.instack.evals.reference import SAMPLERS, ReferenceEvaluation, doubt

Emit = Callable[[dict], None]
ENOUGH = 10  # failures from which a run whose score is refused anyhow is ended early


class Ended(Exception):
    """The run cannot go on: what happened and why."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what}: {why}")
        self.what, self.why = what, why


class Lost(Ended):
    """So many samples of one evaluation have failed that its score is refused whatever the others say."""


@dataclass
class Job:
    """One evaluation at one effort."""

    request: dict
    evaluation: ReferenceEvaluation
    client: SampleClient
    model: str
    base_url: str

    def ask(self, question: int, repeat: int) -> dict:
        """One sample, asked and graded; never raises for what the server does."""
        job, call, began = self.request, self.client.begin(), time.monotonic()
        sampler = SAMPLERS[job["sampler"]](
            model=self.model,
            temperature=job["temperature"],
            max_tokens=job["max_tokens"],
            reasoning_model=True,
            reasoning_effort=job["effort"],
            base_url=self.base_url,
        )
        sampler.client = self.client
        score, correct, extracted, text = 0.0, "", "", ""
        try:
            graded = self.evaluation.ask(question, repeat, sampler)
            score, correct, extracted, text = graded.score, graded.correct, graded.extracted, call.text
        except GiveUp as end:
            call.state, call.cause = end.state, end.cause
        return {
            "id": f"{job['eval']}-{question:03}",
            "repeat": repeat,
            "state": call.state,
            "score": score,
            "correct": correct,
            "extracted": extracted,
            "answer": text,
            "doubt": doubt(job["grader"], text) if text else "",
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "retries": call.retries,
            "cause": call.cause or (call.causes[-1] if call.causes else ""),
            "seconds": round(time.monotonic() - began, 3),
            "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }


def samples_on_file(path: Path) -> dict[tuple[str, int], dict]:
    """The samples on file by (id, repeat), the last word of each. A line that a killed run left half is dropped."""
    samples = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                sample = json.loads(line)
                samples[sample["id"], sample["repeat"]] = sample
            except (ValueError, KeyError, TypeError):
                continue
    return samples


def settled(sample: dict) -> bool:
    """Whether a sample stands: it was answered, if badly. One that never got its answer is asked again."""
    return sample["state"] not in TRANSPORT


def open_to_append(path: Path):
    """The file to append to, after a line end where a killed run left none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    file = path.open("a", encoding="utf-8")
    if torn:
        file.write("\n")
    return file


def run_job(job: Job, pool_size: int, pulse: Pulse, stopped: threading.Event, emit: Emit) -> None:
    """Ask what is not on file yet; raises `Ended` when the server is gone or the score is lost."""
    request, path = job.request, Path(job.request["out"])
    if job.evaluation.questions != request["questions"]:
        found = f"{job.evaluation.questions} questions were found and it has {request['questions']}"
        raise Ended(f"the data of {request['eval']} are not whole", found)
    asked = job.evaluation.samples(request["examples"], request["repeats"])
    name = f"{request['eval']}-{{:03}}".format
    before = {key: sample for key, sample in samples_on_file(path).items() if settled(sample)}
    todo = [(question, repeat) for question, repeat in asked if (name(question), repeat) not in before]
    planned = {(name(question), repeat) for question, repeat in asked}
    known = [sample for key, sample in before.items() if key in planned]
    emit(
        {
            "event": "start",
            "eval": request["eval"],
            "effort": request["effort"],
            "samples": len(asked),
            "known": [{**sample, "answer": ""} for sample in known],
        }
    )
    failures = sum(failed(sample) for sample in known)
    done: queue.Queue[dict] = queue.Queue()
    pulse.moved = time.monotonic()
    pool = ThreadPoolExecutor(pool_size)  # no `with`: its end would wait for requests to a dead server
    with open_to_append(path) as file:
        for question, repeat in todo:
            future = pool.submit(job.ask, question, repeat)
            future.add_done_callback(lambda future: done.put(outcome(future)))
        try:
            for _ in todo:
                sample = next_sample(done, pulse)
                pulse.moved = time.monotonic()
                if "fault" in sample:
                    raise Ended("the scorer failed", sample["fault"])
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")
                file.flush()
                failures += failed(sample)
                emit({"event": "sample", "eval": request["eval"], "effort": request["effort"], "sample": sample})
                if failures > request["allowed_failures"] and failures >= ENOUGH:
                    raise Lost(f"{failures} of {len(asked)} samples failed already", sample["cause"])
        except Ended as end:
            if not isinstance(end, Lost):
                stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    emit({"event": "done", "eval": request["eval"], "effort": request["effort"]})


def failed(sample: dict) -> bool:
    """What counts against the 1 %: no answer, a cut-off one, or one that came only after a retry."""
    return sample["state"] != "ok" or sample["retries"] > 0


def outcome(future) -> dict:
    """The sample, or the fault of our own that kept it from being one."""
    if future.cancelled():
        return {"fault": "cancelled"}
    error = future.exception()
    return {"fault": f"{type(error).__name__}: {error}"[:300]} if error else future.result()


def next_sample(done: "queue.Queue[dict]", pulse: Pulse) -> dict:
    """The next completed sample; raises `Ended` when the server is gone while we wait."""
    while True:
        try:
            return done.get(timeout=1.0)
        except queue.Empty:
            if why := pulse.gone():
                raise Ended("the server is gone", why) from None


def main() -> int:
    """Run every job of the request file; the exit code is 1 when the run ended early."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the reference prints; only events may go to stdout

    def emit(event: dict) -> None:
        events.write(json.dumps(event) + "\n")

    request = json.loads(Path(sys.argv[1]).read_text())
    owner = os.getppid()
    threading.Thread(target=end_with, args=(owner,), daemon=True).start()
    stopped = threading.Event()
    size = request["concurrency"]
    client = SampleClient(request["base_url"], os.environ["OPENAI_API_KEY"], request["timeout_s"], size, stopped)
    pulse = Pulse(request["base_url"], request["model"], os.environ["OPENAI_API_KEY"])
    emit({"event": "ready"})
    code = 0
    try:
        for item in request["jobs"]:
            evaluation = ReferenceEvaluation(item["grader"], item["files"], item["repeats"])
            try:
                job = Job(item, evaluation, client, request["model"], request["base_url"])
                run_job(job, size, pulse, stopped, emit)
            except Lost as lost:
                emit({"event": "lost", "eval": item["eval"], "effort": item["effort"], "why": str(lost)})
    except Ended as end:
        emit({"event": "error", "what": end.what, "why": end.why})
        code = 1
    except Exception as error:
        emit({"event": "error", "what": "the scorer failed", "why": f"{type(error).__name__}: {error}"[:500]})
        code = 1
    events.flush()
    os._exit(code)  # requests that still wait for a dead server must not keep the process


def end_with(owner: int) -> None:
    """End when the process that started this one is gone."""
    while os.getppid() == owner:
        time.sleep(0.5)
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
