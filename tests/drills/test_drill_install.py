"""Drills on installing: killed at any moment, no network, broken wheels, a full disk; the next run goes on and is whole."""

import os
import random
import shutil
import signal
import socket
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest
from damage import Place, complaint, processes_of, wait
from wheelhouse import PACKAGES, Tiny, wheel

drill = pytest.mark.drill
pytestmark = pytest.mark.real
SEED = 20261122  # the ten moments are random, and the same in every run
ATTEMPTS = 8
MOMENTS = [random.Random(SEED + at).uniform(at / 10, (at + 1) / 10) for at in range(10)]


def fresh(place: Place, number: int) -> Path:
    """A folder of its own for one attempt."""
    folder = place.folder / f"attempt-{number}"
    folder.mkdir()
    return folder


@pytest.fixture
def tiny(place: Place) -> Tiny:
    return Tiny(place.folder)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What a whole installation of the tiny stack takes here."""
    tiny = Tiny(tmp_path_factory.mktemp("measured"))
    began = time.monotonic()
    assert tiny.run().returncode == 0
    return time.monotonic() - began


@drill("SIGKILL to the installer at a random moment (uv not killed by us)")
@pytest.mark.parametrize(
    "moment",
    [pytest.param(m, marks=[] if at in (4, 8) else pytest.mark.full) for at, m in enumerate(MOMENTS)],
    ids=[f"moment {at} of 10" for at in range(1, 11)],
)
def test_install_killed(place: Place, seconds: float, moment: float, said) -> None:
    """the kill hits a running installation, no uv goes on, no stamp on a half, the next run installs every file"""
    delay = moment * seconds
    for attempt in range(ATTEMPTS):  # an installation that was quicker than the measured one is not hit: earlier, then
        tiny = Tiny(fresh(place, attempt))
        process = tiny.start()
        time.sleep(delay)
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            break
        delay *= 0.7
    assert process.returncode == -signal.SIGKILL, f"no kill hit a running installation in {ATTEMPTS} attempts"
    assert wait(lambda: not processes_of(place.token)), processes_of(place.token)
    assert not tiny.stamp.exists() or not tiny.faults(), "a stamp on half a stack"
    said(tiny.whole())


@drill("SIGKILL to the whole process group in the middle of copying")
@pytest.mark.full
def test_install_group_killed_while_copying(place: Place, tiny: Tiny, said) -> None:
    """files half copied are not taken for installed packages: the next run has every one of them"""
    process = tiny.start()
    assert wait(lambda: next(tiny.stacks.glob("tiny/lib/python3*/site-packages/drill*"), None), 30)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not tiny.stamp.exists() or not tiny.faults()
    said(tiny.whole())


@drill("a package left half copied with its metadata whole, as an interrupted installation may")
@pytest.mark.full
def test_half_a_package_is_not_taken_for_whole(place: Place, said) -> None:
    """the kill comes before the stamp, the next run brings back what is missing"""
    for attempt in range(ATTEMPTS):  # the window is some tens of milliseconds
        tiny = Tiny(fresh(place, attempt))
        process = tiny.start()
        assert wait(lambda tiny=tiny: next(tiny.stacks.glob("tiny/lib/python3*/site-packages/drill*"), None), 30, 0.002)
        os.killpg(process.pid, signal.SIGSTOP)
        caught = not tiny.stamp.exists()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if caught:
            break
    assert caught, f"the installation was over each of {ATTEMPTS} times"
    assert tiny.cut("drillone") > 50 and tiny.faults(), "there is damage to mend"
    assert "ready in" in said(tiny.whole())


@drill("Ctrl-C during an installation")
@pytest.mark.full
def test_install_interrupted(place: Place, tiny: Tiny, said) -> None:
    """installer and uv end, the next run is whole"""
    for _ in range(ATTEMPTS):  # it may be over before the signal comes
        process = tiny.start()
        assert wait(lambda: (tiny.stacks / "tiny").exists(), 30)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        if process.returncode:
            break
        shutil.rmtree(tiny.stacks / "tiny")
    assert process.returncode != 0 and wait(lambda: not processes_of(place.token))
    said(tiny.whole())


@drill("an installation ended while its environment was made: a Python that takes another's packages")
@pytest.mark.full
@pytest.mark.parametrize("left", ["bin/python", "bin/python and pyvenv.cfg"])
def test_environment_half_made(place: Place, tiny: Tiny, left: str, said) -> None:
    """the environment is made anew, and nothing lands in the workbench"""
    folder = tiny.stacks / "tiny"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    if "pyvenv.cfg" in left:
        (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    assert "ready in" in said(tiny.whole())
    own = Path(sysconfig.get_path("purelib")) / "drillone"
    assert not own.exists(), "the packages of a stack are in the environment that installs it"


@drill("two installations of one stack at the same moment")
@pytest.mark.full
def test_two_installs_at_once(place: Place, tiny: Tiny, said) -> None:
    """both succeed, one installs and the other waits for it"""
    first, second = tiny.start(), tiny.start()
    outs = [process.communicate(timeout=120) for process in (first, second)]
    assert first.returncode == second.returncode == 0, outs
    assert sum("ready in" in out for out, _ in outs) == 1
    assert not tiny.faults()
    said(tiny.whole())


@drill("no network: the index cannot be reached")
def test_no_network(place: Place, tiny: Tiny, said) -> None:
    """one line with uv's cause, exit code 1, no stamp; with the network back the next run is whole"""
    index = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    said(complaint(tiny.run(**index)))
    assert not tiny.stamp.exists() and tiny.whole()


@drill("an index that accepts and never answers; one that closes in the middle of its answer")
@pytest.mark.full
@pytest.mark.parametrize("kind", ["hangs", "closes"])
def test_index_fails(place: Place, tiny: Tiny, kind: str, said) -> None:
    """given up within uv's timeout with one line, no stamp, the next run is whole"""
    with socket.create_server(("127.0.0.1", 0)) as index:

        def serve() -> None:
            held = []
            while True:
                try:
                    connection, _ = index.accept()
                except OSError:
                    return
                held.append(connection)
                if kind == "closes":
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<html>")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        done = tiny.run(UV_DEFAULT_INDEX=address)
        said(complaint(done))
    assert not tiny.stamp.exists() and tiny.whole()


@drill("a wheel cut off in the middle; a whole one that is not what the lock names")
@pytest.mark.full
@pytest.mark.parametrize("kind", ["half", "another"])
def test_wheel_is_not_the_locks(place: Place, tiny: Tiny, kind: str, said) -> None:
    """refused with its name, no stamp; with the lock's wheel the next run is whole"""
    path = next(tiny.wheels.glob("drilltwo/*.whl"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    if kind == "another":
        shutil.rmtree(path.parent)
        wheel(tiny.wheels, "drilltwo", PACKAGES["drilltwo"] + 1)
    assert "drilltwo" in said(complaint(tiny.run()))
    assert not tiny.stamp.exists()
    path.write_bytes(whole)
    assert tiny.whole()


@drill("too little disk for the stack")
def test_install_without_room(place: Place, tiny: Tiny, said) -> None:
    """refused before anything is written, with what is free and what is needed"""
    done = tiny.run(disk_gib=1e6)
    assert "are free and it needs 1000000" in said(complaint(done))
    assert not (tiny.stacks / "tiny").exists() and tiny.whole()


@drill("the disk fills up in the middle of an installation (a tmpfs of 400 KiB)")
def test_disk_full_while_installing(place: Place, small_disk, said) -> None:
    """one line that says so, exit code 1, no stamp; with room the next run is whole"""
    disk = small_disk(400)
    tiny = Tiny(place.folder, stacks=disk.folder / "stacks")
    assert "No space left on device" in said(complaint(tiny.run()))
    assert not tiny.stamp.exists()
    disk.remount("size=64m")
    assert tiny.whole()


@drill("the disk is full before the first byte of an installation")
@pytest.mark.full
def test_disk_full_before_installing(place: Place, small_disk, said) -> None:
    """one line, exit code 1; with room the next run is whole"""
    disk = small_disk(64)
    tiny = Tiny(place.folder, stacks=disk.folder / "stacks")
    ballast = disk.fill()
    assert "No space left on device" in said(complaint(tiny.run()))
    ballast.unlink()
    disk.remount("size=64m")
    assert tiny.whole()


@drill("an installed stack loses its Python, or its stamp is cut off")
@pytest.mark.parametrize("lost", ["python", "stamp"])
@pytest.mark.full
def test_stack_damaged_later(place: Place, tiny: Tiny, lost: str, said) -> None:
    """not taken for ready, the next run mends it"""
    assert tiny.whole()
    if lost == "python":
        (tiny.stacks / "tiny" / "bin" / "python").unlink()
    else:
        tiny.stamp.write_text(tiny.stamp.read_text()[:20])
    assert "ready in" in said(tiny.whole())


@drill("the lock changes after the installation")
@pytest.mark.full
def test_lock_changed(place: Place, tiny: Tiny, said) -> None:
    """the old stack is not taken for the new one"""
    assert tiny.whole() and "installing" not in tiny.run().stdout
    (tiny.locks / "tiny.txt").write_text("# newer\n" + (tiny.locks / "tiny.txt").read_text())
    assert "ready in" in said(tiny.whole())


@drill("the stacks folder is a file")
@pytest.mark.full
def test_stacks_folder_is_a_file(place: Place, tiny: Tiny, tmp_path: Path, said) -> None:
    """one line, exit code 1, the file is left alone"""
    tiny.stacks.write_text("mine")
    said(complaint(tiny.run()))
    assert tiny.stacks.read_text() == "mine"
    tiny.stacks.unlink()
    assert tiny.whole()
