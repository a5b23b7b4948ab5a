"""The load client as a child process: started once, fed request lines, read as events."""

import json
import os
import queue
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from helpers.bytecode import writing
from helpers.errors import CookbookError
from helpers.paths import ROOT

MODULE = "helpers.instack.load"
CLIENT = "COOKBOOK_LOAD_CLIENT"  # the command line of another client that takes the same requests
IMPORT_S = 300  # the client's import takes 15-25 CPU-seconds; a busy two-core machine needs patience
STALL_S = 900  # no event for so long means a hung server or client


def environment(api_key: str | None = None) -> dict[str, str]:
    """The child's environment: our package on its path, bytecode kept, loopback never through a proxy."""
    env = writing(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1,localhost"]))
    env["VLLM_NO_USAGE_STATS"] = "1"
    if api_key:
        env["OPENAI_API_KEY"] = api_key  # what `vllm bench serve` sends as the bearer token
    return env


class LoadWorker:
    """`vllm bench serve` resident in a process of the stack's interpreter.

    Starting one before the server is ready hides its import behind the server's start.

        with LoadWorker(interpreter, log=run / "bench" / "load.log") as worker:
            points = sweep(..., worker=worker)
    """

    def __init__(self, interpreter: Path, log: Path, api_key: str | None = None):
        self.interpreter, self.log = Path(interpreter), Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.ready = False
        stand_in = [] if api_key else shlex.split(os.environ.get(CLIENT, ""))  # it would not know the key
        try:
            with self.log.open("ab") as errors:
                self.process = subprocess.Popen(
                    stand_in or [str(self.interpreter), "-m", MODULE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment(api_key),
                    text=True,
                )
        except OSError as error:
            raise CookbookError(
                "the load client cannot be started", f"{interpreter}: {error.strerror}", "install the stack first"
            ) from None
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def events(self, request: dict, stall_s: float = STALL_S) -> Iterator[dict]:
        """Send one request and yield its events up to `done` or `error`; left early, the worker ends."""
        finished = False
        try:
            if not self.ready:
                yield self._next(IMPORT_S)
                self.ready = True
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            while not finished:
                event = self._next(stall_s)
                finished = event["event"] in ("done", "error")
                yield event
        except (OSError, ValueError):  # its pipe is closed
            raise self._died() from None
        finally:
            if not finished:
                self.close()

    def _next(self, timeout_s: float) -> dict:
        try:
            line = self.lines.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise CookbookError(
                "the load client was stopped",
                f"it reported nothing for {timeout_s:.0f} s",
                "look at server.log; the points taken so far are kept and a re-run goes on after them",
            ) from None
        if line is None:
            raise self._died()
        return json.loads(line)

    def _died(self) -> CookbookError:
        code = self.process.wait(timeout=10)
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line]
        last = (errors or lines or ["no output"])[-1]
        return CookbookError(
            "the load client died",
            f"exit status {code}: {last[:300]}",
            f"see {self.log.name} in the run's bench folder; a re-run goes on after the points taken so far",
        )

    def close(self) -> None:
        """End the child; it leaves by itself when its stdin closes."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()

    def __enter__(self) -> "LoadWorker":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def parsed(worker: LoadWorker, commands: list[dict]) -> list[dict]:
    """What vLLM's own parser says about [{id, argv, env}]: the client has imported vLLM, which is what asking costs."""
    *_, last = worker.events({"commands": commands})
    if "answers" not in last:
        raise CookbookError("vLLM's argument parser could not be asked", f"{last.get('what')}: {last.get('why')}")
    return last["answers"]
