"""The first rung: bubblewrap with user namespaces, as root or as an ordinary user.

Inside: the interpreter and its libraries read-only, three small tmpfs, no /proc, no /etc, no network but an
empty namespace's own loopback, no capabilities, its own pids, a filter on system calls. Started by root, the
sandbox runs as an id that no account has, so that the kernel's process limit holds (root is exempt from it).
"""

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from helpers.tools.sandbox import seccomp
from helpers.tools.sandbox.interpreter import Launch
from helpers.tools.sandbox.limits import Limits

HERE = Path(__file__).parent
WORK = "/mnt/data"  # where gpt-oss is told that its files live
DATA = "/data"  # the optional read-only folder
PACKAGES = "/packages"
ISOLATED = ("-I", "-S", "-B", "-X", "utf8", "-c")  # Python that reads no site, no user's files and writes no bytecode
FIRST_ID = 64_100  # ids looked at for one that no account has


def interpreter() -> Path:
    """The real binary behind this interpreter (virtual environments are links to it)."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))


@functools.cache
def libraries() -> tuple[str, ...]:
    """Every shared library that the interpreter and its standard library load, as the loader names them."""
    modules = Path(sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}))
    binaries = [str(interpreter()), *map(str, sorted((modules / "lib-dynload").glob("*.so")))]
    binaries = [name for name in binaries if "_tkinter" not in name]  # no display inside
    listing = subprocess.run(["ldd", *binaries], capture_output=True, text=True, env={"PATH": os.defpath})
    return tuple(sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", listing.stdout))))


def source() -> str:
    """The program that runs inside, as one text."""
    return (HERE / "cell.py").read_text() + "\n\n" + (HERE / "agent.py").read_text()


def config(limits: Limits, packages: bool, own_pids: bool = True, identity: int = 0) -> str:
    """The inside program's settings: kernel limits by their name in `resource`."""
    bounds = {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_MSGQUEUE": 1,
        "RLIMIT_MEMLOCK": 65_536,
        "RLIMIT_SIGPENDING": 64,
    }
    # RLIMIT_CORE of zero reads as "unset" here, so the soft default (no core) is kept by the tmpfs bound.
    place = PACKAGES if packages else ""
    return json.dumps({"limits": bounds, "own_pids": own_pids, "packages": place, "identity": identity})


def environment(shared: tuple[str, ...]) -> dict[str, str]:
    """The variables inside: what the interpreter needs to find itself and its `shared` libraries, one thread each."""
    return {
        "PATH": str(interpreter().parent),
        "HOME": WORK,
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
        "LD_LIBRARY_PATH": ":".join(sorted({os.path.dirname(name) for name in shared})),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


@functools.cache
def _spare_ids() -> itertools.cycle:
    import pwd

    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return itertools.cycle(number for number in range(FIRST_ID, FIRST_ID + 1000) if number not in taken)


def spare_id() -> int:
    """A user id that no account of this host has; another one each time, since process limits count by id."""
    return next(_spare_ids())


def parents(paths: list[str]) -> list[str]:
    """Every directory above the given paths, outermost first."""
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above - {"/"}, key=lambda name: (name.count("/"), name))


def arguments(
    limits: Limits,
    *,
    data: Path | None = None,
    packages: Path | None = None,
    seccomp_fd: int | None = None,
    nested: bool = True,
    inner_id: int = 0,
) -> list[str]:
    """bubblewrap's argv for one interpreter.

    `nested=False` leaves out --disable-userns (before 0.8). With `inner_id`, root itself builds the sandbox and
    the program inside becomes that id before it reads its first line; without, a user namespace maps the caller.
    """
    stdlib = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    shared = libraries()
    argv = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--cap-drop", "ALL"]
    if inner_id:
        argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        argv += ["--unshare-user", "--uid", "1000", "--gid", "1000", *(["--disable-userns"] if nested else [])]
    argv += ["--hostname", "sandbox", "--new-session", "--die-with-parent", "--clearenv"]
    for name, value in environment(shared).items():
        argv += ["--setenv", name, value]
    for place in parents([str(interpreter()), *shared, str(stdlib), WORK]):
        argv += ["--perms", "0755", "--dir", place]  # else closed to every id but the builder's
    argv += ["--ro-bind", str(interpreter()), str(interpreter())]
    for name in shared:
        argv += ["--ro-bind", os.path.realpath(name), name]
    argv += ["--ro-bind", str(stdlib), str(stdlib)]
    for hidden in ("site-packages", "dist-packages"):
        if (stdlib / hidden).is_dir():
            argv += ["--tmpfs", str(stdlib / hidden), "--remount-ro", str(stdlib / hidden)]
    argv += ["--ro-bind-try", "/usr/share/zoneinfo", "/usr/share/zoneinfo"]
    argv += ["--dev", "/dev"]
    for place in ("/tmp", "/dev/shm", WORK):
        argv += ["--perms", "1777", "--size", str(limits.disk_bytes), "--tmpfs", place]
    if data:
        argv += ["--ro-bind", str(data.resolve()), DATA]
    if packages:
        argv += ["--ro-bind", str(packages.resolve()), PACKAGES]
    argv += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORK]
    if seccomp_fd is not None:
        argv += ["--seccomp", str(seccomp_fd)]
    settings = config(limits, bool(packages), identity=inner_id)
    return [*argv, "--", str(interpreter()), *ISOLATED, source(), settings]


class Bubblewrap:
    """The rung: `why_not()` probes this host once, `launch()` says how to start one interpreter."""

    name = "bubblewrap"
    slow_start = False

    def __init__(self) -> None:
        self.drop = ""  # root only: become the spare id "before" bubblewrap or "inside" its sandbox
        self.nested = True
        self.filtered = True

    def describe(self) -> str:
        """One line for people: what contains the program."""
        parts = ["bubblewrap: namespaces of its own, no network, read-only interpreter, no /proc"]
        parts.append("system-call filter" if self.filtered else "no system-call filter on this architecture")
        if os.geteuid() == 0:
            parts.append("as an id without an account" if self.drop else "as root's own id, inside its namespace")
        return ", ".join(parts)

    def why_not(self) -> str:
        """Empty where it works here; else why not. Tries what is strictest first."""
        if not sys.platform.startswith("linux"):
            return "bubblewrap needs Linux"
        if not shutil.which("bwrap"):
            return "bwrap is not installed (Debian, Ubuntu, Fedora: the package `bubblewrap`)"
        if not libraries():
            return "the libraries of this interpreter could not be listed with ldd"
        said = ""
        for drop in ("before", "inside", "") if os.geteuid() == 0 else ("",):
            for nested in (True, False):
                self.drop, self.nested = drop, nested
                said = self.launch(Limits()).fault(20)
                if not said:
                    return ""
        return f"bwrap does not work here: {said}"

    def launch(self, limits: Limits, data: Path | None = None, packages: Path | None = None) -> Launch:
        """How to start one interpreter. The caller closes `opened` once it has started."""
        options: dict = {}
        opened: list[int] = []

        filter_bytes = seccomp.program()
        self.filtered = filter_bytes is not None
        if filter_bytes:
            read, write = os.pipe()
            os.write(write, filter_bytes)
            os.close(write)
            opened.append(read)
        identity = spare_id() if self.drop else 0
        if self.drop == "before":
            options |= {"user": identity, "group": identity, "extra_groups": []}
        argv = arguments(
            limits,
            data=data,
            packages=packages,
            seccomp_fd=opened[0] if opened else None,
            nested=self.nested,
            inner_id=identity if self.drop == "inside" else 0,
        )
        options["pass_fds"] = tuple(opened)
        return Launch(
            argv=argv,
            env={"PATH": os.defpath + ":/usr/local/bin"},
            options=options,
            opened=opened,
            base_processes=2,  # bubblewrap's init and the interpreter, below bwrap itself
            count_limit=4 * limits.processes,  # the kernel's bound comes first, except for root's own id
            tree_bytes=limits.tree_bytes(),
        )
