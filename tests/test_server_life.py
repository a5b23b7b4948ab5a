"""The server's life with real processes: whatever ends its owner, nothing is left; a re-run attaches."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.processes import end_group, group_members
from helpers.server import Identity, free_port, launch, leases, port_free, reap

SCRIPT = Path(__file__).with_name("health_server.py")


def quiet(*_: object) -> None:
    """A report that shows nothing."""


def argv(port: int, *words: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--port", str(port), *words]


def begin(log: Path, *words: str, port: int | None = None, **options):
    port = port or free_port()
    return launch(argv(port, *words), {}, port=port, log=log, target="test", model="none", report=quiet, **options)


def wait(condition, seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def nothing_left(server) -> bool:
    return (
        not server.members()
        and port_free(server.lease.port)
        and server.lease not in leases()
        and not server.lease.path.exists()
    )


OWNER = textwrap.dedent(
    """
    import sys, threading, time
    from helpers.server import launch
    import tests.test_server_life as life
    from pathlib import Path
    {body}
    print(server.lease.id, flush=True)
    time.sleep(60)
    """
)


def owner_process(body: str, log: Path) -> tuple[subprocess.Popen, object]:
    """A process that owns a server, as a kernel does; returns it and the server's lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(body=body.replace("LOG", repr(str(log))))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    identity = process.stdout.readline().strip()
    lease = next(lease for lease in leases() if lease.id == identity)
    return process, lease


def ended(lease) -> bool:
    return (
        not group_members(lease.server)
        and not lease.supervisor.alive()
        and not lease.path.exists()
        and port_free(lease.port)
    )


@pytest.mark.real
def test_launch_serves_and_stop_leaves_nothing(tmp_path: Path) -> None:
    server = begin(tmp_path / "server.log")
    assert server.running() and len(server.members()) == 3, "the server and its two children"
    assert os.getsid(server.lease.server.pid) != os.getsid(0), "its own session"
    assert "no process is left" in server.stop()
    assert nothing_left(server)


@pytest.mark.real
def test_attach_is_the_same_server_within_a_second(tmp_path: Path) -> None:
    port = free_port()
    first = begin(tmp_path / "server.log", port=port)
    seconds = []
    for _ in range(3):  # the best of three: a busy machine delays one, not each
        began = time.monotonic()
        second = begin(tmp_path / "again" / "server.log", port=port)
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 1.0
    assert second.attached and second.lease.server == first.lease.server
    assert "test server" in (tmp_path / "again" / "server.log").read_text(), "the attached run has the log too"
    first.stop()
    assert nothing_left(first)


@pytest.mark.real
def test_another_command_is_not_attached(tmp_path: Path) -> None:
    first, second = begin(tmp_path / "1.log"), begin(tmp_path / "2.log", "other")
    try:
        assert not second.attached and second.lease.server != first.lease.server
    finally:
        first.stop(), second.stop()


@pytest.mark.real
def test_a_killed_owner_takes_the_server_with_it(tmp_path: Path) -> None:
    process, lease = owner_process("server = life.begin(Path(LOG))", tmp_path / "server.log")
    process.kill()
    process.wait()
    assert wait(lambda: ended(lease)), (group_members(lease.server), lease.path.exists())


@pytest.mark.real
def test_an_owner_that_exits_takes_the_server_with_it(tmp_path: Path) -> None:
    process, lease = owner_process("server = life.begin(Path(LOG))", tmp_path / "server.log")
    process.terminate()
    process.wait()
    assert wait(lambda: ended(lease))


@pytest.mark.real
def test_the_end_of_the_launching_thread_does_not_end_the_server(tmp_path: Path) -> None:
    box: list = []
    thread = threading.Thread(target=lambda: box.append(begin(tmp_path / "server.log")))
    thread.start()
    thread.join()
    time.sleep(0.6)  # three looks of the supervisor
    assert box[0].running() and len(box[0].members()) == 3
    box[0].stop()


@pytest.mark.real
def test_an_interrupt_does_not_reach_the_server(tmp_path: Path) -> None:
    """Jupyter's interrupt is SIGINT to the kernel's process group."""
    body = (
        "import signal; signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True)); "
        "server = life.begin(Path(LOG))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(body=body.replace("LOG", repr(str(tmp_path / "server.log"))))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    identity = process.stdout.readline().strip()
    lease = next(lease for lease in leases() if lease.id == identity)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline().strip() == "interrupted"
    time.sleep(0.5)
    assert lease.running(), "the interrupted cell must not take the model down"
    process.kill()
    process.wait()
    assert wait(lambda: ended(lease))


@pytest.mark.real
def test_the_server_process_alone_is_killed(tmp_path: Path) -> None:
    """Its children outlive it; the supervisor ends the rest of the group."""
    server = begin(tmp_path / "server.log", "stubborn")
    os.kill(server.lease.server.pid, signal.SIGKILL)
    assert wait(lambda: nothing_left(server), 15), server.members()


@pytest.mark.real
def test_the_supervisor_is_killed(tmp_path: Path) -> None:
    """The server gets SIGTERM at once; what is left is ended by the next launch or `cookbook status`."""
    server = begin(tmp_path / "server.log")
    os.kill(server.lease.supervisor.pid, signal.SIGKILL)
    assert wait(lambda: not server.lease.server.alive())
    reap()
    assert wait(lambda: nothing_left(server))


@pytest.mark.real
def test_two_owners_the_last_one_counts(tmp_path: Path) -> None:
    port = free_port()
    server = begin(tmp_path / "server.log", port=port)
    process, lease = owner_process(f"server = life.begin(Path(LOG), port={port})", tmp_path / "other.log")
    assert lease.server == server.lease.server
    assert server.stop().startswith("released")
    assert server.running()
    process.kill()
    process.wait()
    assert wait(lambda: ended(lease))


@pytest.mark.real
def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    port = free_port()
    holder = subprocess.Popen([sys.executable, str(SCRIPT), "--port", str(port)])
    try:
        assert wait(lambda: not port_free(port))
        with pytest.raises(UsageError, match=rf"port {port} is taken because pid {holder.pid}"):
            begin(tmp_path / "server.log", port=port)
        assert holder.poll() is None, "a stranger's process is left alone"
    finally:
        for child in psutil.Process(holder.pid).children():
            child.kill()
        holder.kill()
        holder.wait()


@pytest.mark.real
def test_a_crash_at_start_shows_its_cause_and_leaves_nothing(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(CookbookError, match="made of chalk") as caught:
        begin(tmp_path / "server.log", "crash", port=port)
    assert "exit code 1" in caught.value.what

    def ours():
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and f"--port\0{port}" in _cmdline(pid)]

    assert wait(lambda: not ours()), ours()
    assert not [lease for lease in leases() if lease.target == "test"]


def _cmdline(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.real
def test_a_stopped_group_is_ended_too(tmp_path: Path) -> None:
    server = begin(tmp_path / "server.log", "stubborn")
    os.killpg(server.lease.server.pid, signal.SIGSTOP)
    server.stop()
    assert nothing_left(server)


@pytest.mark.real
def test_a_reused_number_is_never_signalled() -> None:
    stranger = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        now = Identity.of(stranger.pid)
        assert group_members(now) == [stranger.pid]
        end_group(Identity(stranger.pid, now.start - 5))
        assert stranger.poll() is None, "the recorded process had another start time"
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.real
def test_a_kept_server_outlives_its_owner(tmp_path: Path) -> None:
    process, lease = owner_process("server = life.begin(Path(LOG), kept=True)", tmp_path / "server.log")
    process.kill()
    process.wait()
    time.sleep(0.8)
    assert lease.running()
    from helpers.server import stop

    stop(lease)
    assert wait(lambda: ended(lease))


@pytest.mark.full
def test_vllm_without_its_api_server_leaves_no_engine(interpreter: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Kill only the API server of a real vLLM as it starts: its engine must not stay behind."""
    import multiprocessing  # noqa: F401  (vLLM's children are found by group and title, not by command line)

    from helpers.recipes import check_parameters, load_model, load_target
    from helpers.recipes.command.serve import serve_command

    port, target = free_port(), load_target("cpu")
    command = serve_command(target, load_model("gpt-oss-nano"), check_parameters(target), str(checkpoint), port)
    words = command.run_by(interpreter)
    failed: list[BaseException] = []

    def start() -> None:
        try:
            launch(
                words,
                command.env | {"COOKBOOK_TEST": "1"},
                port=port,
                log=tmp_path / "server.log",
                target="test",
                model="m",
                report=quiet,
            )
        except CookbookError as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    lease = None

    def engine() -> bool:
        nonlocal lease
        lease = lease or next((one for one in leases() if one.port == port), None)
        titles = [_cmdline(str(pid)) for pid in group_members(lease.server)] if lease else []
        return any(title.startswith("VLLM::EngineCore") for title in titles)

    assert wait(engine, 120), (tmp_path / "server.log").read_text()[-2000:]
    os.kill(lease.server.pid, signal.SIGKILL)
    assert wait(lambda: ended(lease), 30), group_members(lease.server)
    thread.join(10)
    assert failed and "exit code 137" in failed[0].what
