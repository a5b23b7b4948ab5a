"""Launch a server or attach to the one that runs already; stop it and check that nothing is left."""

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers.bytecode import writing
from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.processes import Identity, end_group, group_members, healthy, listens, port_free, port_holder
from helpers.server.lease import Lease, change, leases, locked, path_of, read, reap, with_owner, without_owner
from helpers.server.readiness import StartProgress, wait_until

# Two shells that see one GPU each start the same command on different GPUs; so do two runs of a batch, on cores of their own.
DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "COOKBOOK_SLOT")
READY_TIMEOUT = 1800.0  # 120b from a cold disk; vLLM's own CI waits as long
Report = Callable[[str, float, str], None]


PHASE_TEXT = {
    "imports": "Python imports vLLM",
    "arguments": "vLLM reads its flags and the model's config",
    "engine": "the engine starts",
    "weights": "the weights are read",
    "profile": "one full step shows how much memory it needs",
    "compile": "torch.compile",
    "warm-up": "the KV cache is allocated, kernels and graphs are warmed up",
    "http": "the API starts",
}


def print_phase(phase: str, seconds: float, line: str) -> None:
    """The report a notebook shows: one line as each phase begins."""
    print(f"{seconds:6.1f} s  {phase:9}  {PHASE_TEXT.get(phase, line)}", flush=True)


@dataclass
class Server:
    """A server that answers: where it is, what its log says, and how to stop it."""

    lease: Lease
    log: Path
    attached: bool
    startup_s: dict[str, float]
    owner: Identity

    @property
    def base_url(self) -> str:
        return self.lease.base_url

    @property
    def model(self) -> str:
        return self.lease.model

    @property
    def current(self) -> Lease:
        """The lease as it is on file: a restart gives the server another process."""
        return read(self.lease.path) or self.lease

    def running(self) -> bool:
        return self.current.running()

    def healthy(self) -> bool:
        """Whether `/health` answers, and it is this very server that does."""
        return _healthy(self.current)

    def members(self) -> list[int]:
        """The pids of the server's processes: the API server, its engine, its workers."""
        return group_members(self.current.server)

    def shared(self) -> bool:
        """Whether somebody else uses the server, so that it goes on without this owner."""
        current = read(self.lease.path)
        return bool(current and not current.ending and (current.kept or set(current.owners) - {self.owner}))

    def stop(self) -> str:
        """Let go of the server; it ends when nobody else uses it. Returns the one line to show."""
        current = change(self.lease, without_owner(self.owner))
        if current and current.owned():
            users = (
                "kept until `cookbook stop`" if current.kept else f"{len(current.owners)} other owner(s) still use it"
            )
            return f"released: the server on port {self.lease.port} goes on ({users})"
        return stop(self.lease)


def fingerprint(identity: Sequence[str], env: Mapping[str, str], checkpoint: Path | None) -> str:
    """What makes two servers the same: a command without its ports, environment, the GPUs in sight, and weights."""
    env = {name: os.environ[name] for name in DEVICES if name in os.environ} | dict(env)
    files = (
        sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in checkpoint.iterdir())
        if checkpoint and checkpoint.is_dir()
        else []
    )
    return hashlib.sha256(json.dumps([list(identity), sorted(env.items()), files]).encode()).hexdigest()[:16]


def launch(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    port: int,
    log: Path,
    target: str,
    model: str,
    checkpoint: Path | None = None,
    report: Report = print_phase,
    kept: bool = False,
    owner_pid: int | None = None,
    timeout: float = READY_TIMEOUT,
    identity: Sequence[str] | None = None,
    restart: bool = False,
) -> Server:
    """Start the server of `argv` (its `--port` is `port`), or attach to the one that was started so before.

    Returns once `/health` answers. `env` is added to this process's environment. `identity` is what two equal
    servers have in common, the words without the port unless it is given. The server belongs to
    `owner_pid` (this process) and ends with it, however that ends, unless `kept`. With `restart`, its supervisor
    starts it anew when it ends by itself after it had answered (`helpers.server.supervisor`). Raises `CookbookError`
    with the log's first exception when the server dies, and leaves nothing running then.
    """
    owner = Identity.of(owner_pid or os.getpid())
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    mark = fingerprint(identity or [word for word in argv if word != str(port)], env, checkpoint)
    with locked("launch"):
        reap()
        found, supervisor, offset = _attach(mark, owner), None, 0
        if found is None:
            check_port(port)
            log.touch()
            offset = log.stat().st_size  # an older server's lines say nothing about this one
            known = {"port": port, "fingerprint": mark, "target": target, "model": model}
            known |= {"kept": kept, "restart": restart}
            lease, supervisor = _start(list(argv), dict(env), log, owner, known)
        else:
            lease = found
            _share_log(lease, log)
    progress, attached = StartProgress(time.monotonic(), offset=offset), found is not None
    if attached and _healthy(lease):
        report("attached", 0.0, f"pid {lease.server.pid} on port {lease.port}, started {lease.started}")
        return Server(lease, log, True, {"total": 0.0}, owner)

    def dead() -> bool:
        return supervisor.poll() is not None if supervisor else not lease.running()

    state = wait_until(lambda: _healthy(lease), dead, progress, log, report, timeout)
    seconds = time.monotonic() - progress.began
    if state == "ready":
        report("ready", seconds, lease.base_url)
        return Server(lease, log, attached, progress.durations(seconds), owner)
    if state == "timeout":
        stop(lease)
    code = supervisor.returncode if supervisor and state == "dead" else None
    raise _start_error(state, list(progress.phases)[-1], log, code, seconds, offset)


def _start_error(state: str, phase: str, log: Path, code: int | None, seconds: float, offset: int) -> CookbookError:
    from helpers.doctor import why_and_fix

    progress = StartProgress(0.0, offset=offset)
    progress.read(log)
    said = (
        f"its last line is: {progress.last_line}" if progress.last_line else "it is empty; is there room on its disk?"
    )
    why, do = why_and_fix(log, offset)
    what = (
        f"vLLM was not ready after {seconds:.0f} s (phase {phase})"
        if state == "timeout"
        else f"vLLM ended while starting (exit code {code}, phase {phase})"
    )
    return CookbookError(what, why=why or f"its log names no exception, {said}", do=do)


def check_port(port: int) -> None:
    if port_free(port):
        return
    ours = next((lease for lease in leases() if lease.port == port and lease.running()), None)
    if ours:
        raise UsageError(
            f"port {port} is taken",
            why=f"the cookbook serves {ours.model} there with another command",
            do=f"run `cookbook stop --port {port}` or pass another port",
        )
    raise UsageError(
        f"port {port} is taken", why=f"{port_holder(port)} listens on it", do="pass another port (0 picks a free one)"
    )


def _attach(mark: str, owner: Identity) -> Lease | None:
    for lease in leases():
        if lease.fingerprint == mark and lease.running() and not lease.ending:
            current = change(lease, with_owner(owner))
            if current and not current.ending:
                return current
    return None


def _start(
    argv: list[str], env: dict[str, str], log: Path, owner: Identity, known: dict[str, Any]
) -> tuple[Lease, subprocess.Popen[str]]:
    """The supervisor, once its lease is on file; `known` holds the fields that are known before."""
    identity = uuid.uuid4().hex[:12]
    fields = {"id": identity, "log": str(log.resolve()), "argv": argv, **known}
    request = {"argv": argv, "cwd": str(ROOT), "log": str(log), "owners": [asdict(owner)], "lease": fields}
    with open(log, "ab") as errors:
        offset = errors.tell()
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "helpers.server.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            cwd=ROOT,
            env=plain_environment() | env,
            text=True,
        )
    assert supervisor.stdin is not None  # it is a pipe
    with supervisor.stdin as pipe:
        json.dump(request, pipe)
    while supervisor.poll() is None:
        if lease := read(path_of(identity)):
            return lease, supervisor
        time.sleep(0.02)
    raise _start_error("dead", "imports", log, supervisor.returncode, 0.0, offset)


def plain_environment() -> dict[str, str]:
    """This process's environment without what makes programs colour their logs (Jupyter kernels ask for it).

    Without what keeps Python from writing bytecode too: every start would compile vLLM's modules again.
    """
    forced = ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR")
    kept = {name: value for name, value in os.environ.items() if name not in forced}
    return writing(kept) | {"NO_COLOR": "1"}


def _healthy(lease: Lease) -> bool:
    """Whether this very server answers `/health`: somebody else may have taken the port after it was checked."""
    return healthy(lease.port) and listens(lease.port, group_members(lease.server))


def _share_log(lease: Lease, log: Path) -> None:
    """Let a run that attached have the server's log as `log` too: the same file, or a link where that cannot be."""
    own = Path(lease.log).resolve()
    if own == log.resolve():
        return
    log.unlink(missing_ok=True)
    try:
        os.link(own, log)
    except OSError:
        log.symlink_to(own)


def stop(lease: Lease) -> str:
    """End a server, its supervisor and its lease; returns the line to show.

    The supervisor does the ending; where it does not (it was killed or stopped), the recorded group is
    ended from here. Raises `CookbookError` when a process or the port is left.
    """
    began = time.monotonic()
    lease = read(lease.path) or lease  # a restart gave it another process
    end_group(lease.server)
    deadline = time.monotonic() + 5
    while lease.supervisor.alive() and read(lease.path) and time.monotonic() < deadline:
        time.sleep(0.02)
    end_group(lease.supervisor, term_seconds=2)
    lease.remove()
    while not port_free(lease.port) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = group_members(lease.server)
    if left or not port_free(lease.port):
        what = f"processes {left}" if left else f"port {lease.port} ({port_holder(lease.port)})"
        raise CookbookError(f"stopping the server left {what}", do="run `cookbook stop` again, or end them by hand")
    return f"stopped: port {lease.port} is free and no process is left ({time.monotonic() - began:.1f} s)"
