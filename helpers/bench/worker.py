"""The load client as a child process: started once, fed request lines, read as events."""

import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.bytecode import writing
from helpers.errors import CookbookError
from helpers.paths import ROOT

MODULE = "helpers.instack.load"
SHARED = "COOKBOOK_LOAD_SOCKET"  # a resident worker that several notebooks share
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
        try:
            with self.log.open("ab") as errors:
                self.process = subprocess.Popen(
                    [str(self.interpreter), "-m", MODULE, "--serve"],
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


class SharedWorker:
    """A resident worker of somebody else, reached through the Unix socket that `COOKBOOK_LOAD_SOCKET` names."""

    def __init__(self, path: str):
        self.path = path

    @staticmethod
    def found() -> "SharedWorker | None":
        """The shared worker, where one is named and answers; it was told no key, so a server with one needs its own."""
        path = os.environ.get(SHARED, "")
        if os.environ.get("VLLM_API_KEY") or not path or not Path(path).exists():
            return None
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(path)
        except OSError:
            return None
        finally:
            probe.close()
        return SharedWorker(path)

    def events(self, request: dict, stall_s: float = STALL_S) -> Iterator[dict]:
        """Send one request and yield its events up to `done` or `error`."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(stall_s)
            connection.connect(self.path)
            with connection.makefile("rw") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                try:
                    for line in stream:
                        event = json.loads(line)
                        yield event
                        if event["event"] in ("done", "error"):
                            return
                except TimeoutError:
                    raise CookbookError(
                        "the sweep was given up", f"the shared load client said nothing for {stall_s:.0f} s"
                    ) from None
        raise CookbookError("the shared load client died", "its socket closed early", f"unset {SHARED} or restart it")

    def close(self) -> None:
        """Nothing: the worker belongs to somebody else."""


def parsed(worker: LoadWorker | SharedWorker, commands: list[dict]) -> list[dict]:
    """What vLLM's own parser says about [{id, argv, env}]: the client has imported vLLM, which is what asking costs."""
    *_, last = worker.events({"commands": commands})
    if "answers" not in last:
        raise CookbookError("vLLM's argument parser could not be asked", f"{last.get('what')}: {last.get('why')}")
    return last["answers"]


def start_shared(interpreter: Path, path: Path, log: Path, wait: bool = True) -> subprocess.Popen:
    """Start a resident worker on a Unix socket; it ends when the returned process's stdin is closed.

    With `wait` it is ready on return; without, it imports while the caller starts a server.
    The caller sets `COOKBOOK_LOAD_SOCKET` to `path` for the notebooks that should use it.
    """
    with Path(log).open("ab") as errors:
        process = subprocess.Popen(
            [str(interpreter), "-m", MODULE, "--socket", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment(),
        )
    deadline = time.monotonic() + IMPORT_S
    while wait and not Path(path).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CookbookError("the shared load client did not start", f"see {log}")
        time.sleep(0.1)
    return process
