"""Drills on the server's life: whoever is killed, stopped or robbed, nothing is left and the next launch works."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from damage import ILL, Place, children_of, complaint, processes_of, wait

from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.server import Identity, free_port, leases, port_free, reap
from helpers.server import lease as lease_module

drill = pytest.mark.drill
pytestmark = pytest.mark.real


def ready(process: subprocess.Popen) -> str:
    """The id of the lease that an owner process got."""
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], words
    return words[1]


@pytest.fixture
def kernel(place: Place):
    """A real IPython kernel that has launched a server, as a notebook does."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3", transport="ipc")
    manager.start_kernel(cwd=str(ROOT))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(client, code: str, told: Callable[[], None] = lambda: None) -> str:
    """Run code in the kernel; what it printed, or `NAME: message` when it raised. Calls `told` at all that it prints."""
    out: list[str] = []

    def hear(message: dict) -> None:
        if text := message["content"].get("text", ""):
            out.append(text)
            told()

    reply = client.execute_interactive(code, timeout=60, allow_stdin=False, output_hook=hear)["content"]
    return f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else "".join(out)


@drill("SIGKILL to a Jupyter kernel that owns a server")
def test_kernel_killed(place: Place, kernel, status) -> None:
    """server and supervisor end, port and lease are free, the next launch works"""
    manager, client = kernel
    assert "ready" in execute(client, place.owner_code(then=""))
    manager.provisioner.process.kill()
    manager.provisioner.process.wait()
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("interrupt (SIGINT) of a kernel while its cell launches a server, and again while it serves")
@pytest.mark.full
def test_kernel_interrupted(place: Place, kernel, said) -> None:
    """the server goes on starting, the same cell run again attaches, one server in all"""
    manager, client = kernel
    code = place.owner_code("slow", then="")
    threading.Thread(target=lambda: wait(leases) and manager.interrupt_kernel()).start()
    assert "KeyboardInterrupt" in execute(client, code)
    assert re.search(r"ready \w+ True", execute(client, code)), "attached to the one that was starting"
    assert len(leases()) == 1
    server = place.lease().server
    asleep = "print('asleep', flush=True); time.sleep(60)"
    assert "KeyboardInterrupt" in execute(client, asleep, manager.interrupt_kernel)
    assert place.lease().running() and place.lease().server == server
    assert "no process is left" in said(execute(client, "print(server.stop())"))


@drill("restart of a kernel that owns a server")
@pytest.mark.full
def test_kernel_restarted(place: Place, kernel, said) -> None:
    """the old server ends with the old kernel, the new kernel launches its own"""
    manager, client = kernel
    assert "ready" in execute(client, place.owner_code(then=""))
    old = place.lease()
    manager.restart_kernel(now=True)
    client.wait_for_ready(timeout=60)
    assert wait(lambda: not old.path.exists() and port_free(old.port))
    assert re.search(r"ready \w+ False", execute(client, place.owner_code(then="")))
    assert "no process is left" in said(execute(client, "print(server.stop())"))


@drill("papermill killed in the middle of a notebook that serves")
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.full) for n in (signal.SIGTERM, signal.SIGINT))],
    ids=lambda number: number.name,
)
@pytest.mark.full
def test_papermill_killed(place: Place, number: signal.Signals, status) -> None:
    """the kernel notices, kernel and server end, what is there of the executed notebook can be read"""
    cell = nbformat.v4.new_code_cell(place.owner_code())
    book = nbformat.v4.new_notebook(
        cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    source, out = place.folder / "book.ipynb", place.folder / "out.ipynb"
    nbformat.write(book, source)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    papermill = subprocess.Popen(
        [sys.executable, "-m", "papermill", str(source), str(out), "--no-progress-bar"],
        cwd=place.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait(lambda: leases() and not port_free(place.port), 60), "the notebook launched its server"
    os.kill(papermill.pid, number)
    assert papermill.wait(60)
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()
    assert nbformat.read(out, as_version=4).cells


@drill("SIGKILL to the supervisor")
@pytest.mark.full
def test_supervisor_killed(place: Place, cli_process, said) -> None:
    """the server ends at once, `cookbook status` clears the rest and says so, the next launch works"""
    server = place.launch("stubborn")
    os.kill(server.lease.supervisor.pid, signal.SIGKILL)
    assert wait(lambda: not server.lease.server.alive())
    done = cli_process("status")
    assert done.returncode == 0
    assert "its supervisor was gone" in said(done.stdout.splitlines()[0])
    assert "no server of the cookbook is running" in done.stdout
    place.works()


@drill("SIGKILL to the API server; its children ignore SIGTERM")
@pytest.mark.full
def test_api_server_killed(place: Place, status) -> None:
    """the supervisor ends the children too, lease and port go, the next launch works"""
    server = place.launch("stubborn")
    os.kill(server.lease.server.pid, signal.SIGKILL)
    assert wait(lambda: not server.members())
    assert not server.running()
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("SIGKILL to the engine below the API server")
def test_engine_killed(place: Place, status) -> None:
    """the server ends with its engine, nothing is left, the next launch works"""
    server = place.launch("family", script=ILL)
    (engine,) = children_of(server.lease.server.pid)
    os.kill(engine, signal.SIGKILL)
    assert wait(lambda: not server.running())
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("SIGSTOP to the whole server group")
@pytest.mark.full
def test_server_stopped_by_a_signal(place: Place, cli_process, said) -> None:
    """`cookbook status` still lists it, `cookbook stop` ends it"""
    server = place.launch("stubborn")
    os.killpg(server.lease.server.pid, signal.SIGSTOP)
    assert str(place.port) in cli_process("status").stdout
    done = cli_process("stop")
    assert done.returncode == 0 and "no process is left" in said(done.stdout), (done.stdout, done.stderr)
    place.works()


@drill("SIGSTOP to the supervisor")
@pytest.mark.full
def test_supervisor_stopped_by_a_signal(place: Place, cli_process, said) -> None:
    """`cookbook stop` ends server and supervisor all the same"""
    server = place.launch()
    os.kill(server.lease.supervisor.pid, signal.SIGSTOP)
    assert "no process is left" in said(cli_process("stop").stdout)
    place.works()


@drill("the terminal is closed: SIGHUP to the owner's group")
@pytest.mark.full
def test_terminal_closed(place: Place, status) -> None:
    """the server ends with its owner"""
    owner = place.owner()
    ready(owner)
    os.killpg(owner.pid, signal.SIGHUP)
    owner.wait(10)
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("SIGKILL to the owner before its server is ready")
@pytest.mark.full
def test_owner_killed_during_the_start(place: Place, status) -> None:
    """the half-started server ends, the next launch starts its own"""
    owner = place.owner("slow")
    assert wait(leases)
    owner.kill()
    owner.wait()
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


class Thief:
    """Listens on a port and answers every request with 200."""

    def __init__(self, port: int, seconds: float = 10):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@drill("another program takes the port between the check and the server's bind, and answers /health")
@pytest.mark.full
def test_port_stolen(place: Place, said) -> None:
    """the thief is not taken for the server, the message names the address, nothing is left, the next launch works"""
    box: list[Thief] = []
    # a lease is there once the port was looked at and the server, which binds after two seconds, was started
    thread = threading.Thread(target=lambda: wait(leases) and box.append(Thief(place.port)))
    thread.start()
    try:
        with pytest.raises(CookbookError, match="Address already in use") as caught:
            place.launch("slow")
        said(caught.value.line())
        assert caught.value.exit_code == 1
    finally:
        thread.join()
        box[0].close()
    place.works()


@drill("the port is taken before the launch")
def test_port_taken(place: Place, said) -> None:
    """refused with the holder's pid before anything is started, the holder is left alone"""
    thief = Thief(place.port)
    with pytest.raises(UsageError, match=f"pid {os.getpid()}") as caught:
        place.launch()
    assert said(caught.value.line()) and caught.value.exit_code == 2 and not leases()
    thief.close()
    place.works()


@drill("two runs launch the same server at the same moment, then one is killed")
@pytest.mark.full
def test_two_runs_at_once(place: Place, status) -> None:
    """one server for both, it goes on for the second and ends with it"""
    first, second = place.owner("slow"), place.owner("slow")
    assert ready(first) == ready(second), "the same lease"
    assert len(leases()) == 1
    first.kill(), first.wait()
    time.sleep(0.6)  # three looks of the supervisor
    assert place.lease().running()
    second.kill(), second.wait()
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("a second user (as root another uid, else another cache) stops everything and launches on the same port")
@pytest.mark.full
def test_two_users(place: Place, other_user, said) -> None:
    """the other's server is not listed and goes on, its port is refused, the other user's own launch works and ends"""
    server = place.launch()
    assert "no server of the cookbook is running" in other_user("-m", "helpers.cli", "status").stdout
    assert "nothing to stop" in other_user("-m", "helpers.cli", "stop").stdout
    os.kill(server.lease.server.pid, 0)
    assert server.running()
    intruder = other_user("-c", place.owner_code("different", then="", folder=other_user.folder))
    # a stranger's pid is not shown
    holder = "another process" if other_user.uid else f"pid {server.lease.server.pid}"
    assert intruder.returncode == 2 and holder in said(intruder.stdout.strip().removeprefix("refused "))
    code = place.owner_code("different", port=free_port(), then="print(server.stop())", folder=other_user.folder)
    own = other_user("-c", code)
    assert own.returncode == 0 and "no process is left" in own.stdout, (own.stdout, own.stderr)
    assert server.running()
    server.stop()
    place.works()


@pytest.fixture
def other_user():
    """`other_user(*words)` runs Python as somebody else: another uid where this one may become it."""
    if not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("another uid needs setpriv")
    uid = 0 if os.geteuid() else 65_534
    folder = Path(tempfile.mkdtemp(prefix="drill-user-"))  # pytest's own folders are closed to other users
    prefix = []
    if uid:
        os.chown(folder, uid, uid)
        # It may read all files, since this Python may lie below /root; it owns none, and may signal nobody else's process.
        prefix = [
            "setpriv",
            "--reuid",
            str(uid),
            "--regid",
            str(uid),
            "--clear-groups",
            "--inh-caps",
            "+dac_read_search",
            "--ambient-caps",
            "+dac_read_search",
        ]
    env = os.environ | {"COOKBOOK_CACHE": str(folder / "cache"), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*prefix, sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )

    run.uid, run.folder = uid, folder
    if uid:
        code = f"import os\nassert os.getuid() == {uid}\n"
        code += f"try: os.kill({os.getpid()}, 0)\nexcept PermissionError: print('strangers')"
        assert run("-c", code).stdout == "strangers\n", "the other user has this one's rights"
    yield run
    shutil.rmtree(folder)


@drill("a lease whose start lies an hour ahead, as after a clock that jumped back (the time is edited, not the clock)")
@pytest.mark.full
def test_clock_jump_and_the_lease(place: Place, cli_process, said) -> None:
    """the server is still recognised (start times are ticks since boot), its age is not negative, it stops"""
    server = place.launch()
    data = json.loads(server.lease.path.read_text())
    data["started"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    server.lease.path.write_text(json.dumps(data))
    shown = cli_process("status").stdout
    assert "running" in shown and "0 min 00 s" in shown and "-" not in shown.splitlines()[1].split("running")[1]
    assert "no process is left" in said(server.stop())
    place.works()


DOCTOR = r"""
import re, sys
from helpers.doctor import diagnose
print(diagnose(sys.argv[1]).text())
status = open("/proc/self/status").read()  # and not ru_maxrss, which is inherited from the parent
print("peak MiB", int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024)
"""


@drill("a server that writes 40 MB of log before it answers, and fails at the end of it")
@pytest.mark.full
def test_log_without_bound(place: Place, said) -> None:
    """ready in time, the launcher's memory stays flat, the doctor names the failure in the last lines in 200 MB"""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server = place.launch("flood", script=ILL)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert place.log.stat().st_size > 30e6
    assert grown < 64, f"{grown:.0f} MiB"
    server.stop()
    with place.log.open("a") as log:
        log.write(
            'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nValueError: at the very end\n'
        )
    done = subprocess.run([sys.executable, "-c", DOCTOR, str(place.log)], cwd=ROOT, capture_output=True, text=True)
    assert "ValueError: at the very end" in done.stdout, (done.stdout, done.stderr)
    assert int(done.stdout.split("peak MiB")[1]) < 200, done.stdout
    said(next(line.strip() for line in done.stdout.splitlines() if "at the very end" in line))


@drill("the server never answers")
@pytest.mark.parametrize("mode", ["stuck", "hang", "e500", "garbage"])
@pytest.mark.full
def test_never_ready(place: Place, mode: str, said) -> None:
    """given up at the timeout with one line, nothing is left, the next launch works"""
    with pytest.raises(CookbookError, match="was not ready after") as caught:
        place.launch(mode, script=ILL, timeout=2)
    assert said(caught.value.line()) and caught.value.exit_code == 1
    place.works()


@drill("the server exits with 0 while it starts")
def test_exit_at_start(place: Place, said) -> None:
    """an early end is an error whatever its code, nothing is left"""
    with pytest.raises(CookbookError, match=r"ended while starting \(exit code 0") as caught:
        place.launch("bye", script=ILL)
    said(caught.value.line())
    place.works()


@drill("a server crashes at its start, and its log holds an older server's failure")
def test_the_older_failure_is_not_named(place: Place, said) -> None:
    """the cause is this launch's own"""
    place.log.write_text(
        'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nMemoryError: an old one\n'
    )
    with pytest.raises(CookbookError, match="made of chalk") as caught:
        place.launch("crash")
    assert "an old one" not in said(caught.value.line())
    place.works()


@drill("the server's program is not there")
def test_program_missing(place: Place, said, monkeypatch: pytest.MonkeyPatch) -> None:
    """one line names it, nothing is left, the next launch works"""
    monkeypatch.setattr(place, "argv", lambda *_, **__: [str(place.folder / "bin" / "python"), "-m", "vllm"])
    with pytest.raises(CookbookError, match="No such file or directory") as caught:
        place.launch()
    said(caught.value.line())
    monkeypatch.undo()
    place.isolate(monkeypatch)
    place.works()


@drill("a lease cut off in the middle, and the temporary file of one")
def test_lease_half_written(place: Place, cli_process, status) -> None:
    """not taken for a server, the others are listed, the server still ends with its owner"""
    server = place.launch()
    text = server.lease.path.read_text()
    (lease_module.FOLDER / "half.json").write_text(text[: len(text) // 2])
    (lease_module.FOLDER / "half.1.new").write_text(text)
    done = cli_process("status")
    assert done.returncode == 0 and done.stdout.count("running") == 1
    server.lease.path.write_text(text[: len(text) // 2])  # and now its own
    time.sleep(0.5)
    assert server.running(), "the supervisor goes on with what it knows"
    os.kill(server.lease.supervisor.pid, signal.SIGTERM)
    assert wait(lambda: not server.members() and port_free(place.port))
    (lease_module.FOLDER / "half.json").unlink()
    status("no server of the cookbook is running")
    place.works()


@drill("a lease left by a crash of the machine: its numbers belong to strangers now")
def test_stale_lease(place: Place, status) -> None:
    """the strangers are not signalled, the lease goes, the next launch works"""
    server = place.launch()
    data = json.loads(server.lease.path.read_text())
    server.stop()
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        now = Identity.of(stranger.pid)
        for name in ("server", "supervisor"):
            data[name] = {"pid": now.pid, "start": now.start - 100}
        server.lease.path.write_text(json.dumps(data))
        assert reap() == [] and not leases() and stranger.poll() is None
        status("no server of the cookbook is running")
    finally:
        stranger.kill(), stranger.wait()
    place.works()


@drill("the folder of leases is deleted while a server runs")
@pytest.mark.full
def test_leases_deleted(place: Place, status) -> None:
    """the server still ends with its owner"""
    owner = place.owner()
    ready(owner)
    shutil.rmtree(lease_module.FOLDER)
    owner.kill(), owner.wait()
    place.assert_nothing_left()
    status("no server of the cookbook is running")
    place.works()


@drill("the weights change under a running server")
def test_changed_weights_are_not_reused(place: Place, tmp_path: Path, said) -> None:
    """another fingerprint: refused on the same port with what to do, and never silently reused"""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"one")
    server = place.launch(checkpoint=weights)
    assert place.launch(checkpoint=weights).attached
    (weights / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UsageError, match="another command") as caught:
        place.launch(checkpoint=weights)
    assert "cookbook stop --port" in said(caught.value.line())
    with pytest.raises(UsageError, match="another command"):
        place.launch(checkpoint=weights, env={"VLLM_LOGGING_LEVEL": "DEBUG"})
    second = place.launch(checkpoint=weights, port=free_port(), log=tmp_path / "2.log")
    assert not second.attached and second.lease.server != server.lease.server
    second.stop(), server.stop()


@drill("`cookbook stop --port` with two servers and a stranger on a third port")
@pytest.mark.full
def test_stop_one_of_two(place: Place, cli_process, said) -> None:
    """one stops, the other and the stranger go on, a port without a server is refused, then all stop"""
    first = place.launch("one")
    second = place.launch("two", port=free_port(), log=place.folder / "2.log")
    thief = Thief(free_port())
    port = thief.socket.getsockname()[1]
    refused = complaint(cli_process("stop", "--port", str(port)), 2)
    assert "serves nothing on port" in said(refused)
    rows = cli_process("status").stdout
    for word in ("drill", "none", str(first.lease.port), str(second.lease.port), "GiB", f"pid {os.getpid()}"):
        assert word in rows, (word, rows)
    assert cli_process("stop", "--port", str(first.lease.port)).returncode == 0
    assert not first.running() and second.running()
    done = cli_process("stop")
    assert done.returncode == 0 and done.stdout.count("no process is left") == 1
    assert not port_free(port), "the stranger was left alone"
    thief.close()


@drill("a kept server whose owner is killed")
@pytest.mark.full
def test_kept_server(place: Place, cli_process, said) -> None:
    """it goes on, `cookbook status` says kept, `cookbook stop` ends it"""
    owner = place.owner(kept=True)
    ready(owner)
    owner.kill(), owner.wait()
    time.sleep(0.6)
    assert place.lease().running() and "kept" in cli_process("status").stdout
    assert "no process is left" in said(cli_process("stop").stdout)
    assert not processes_of(place.token)
    place.works()
