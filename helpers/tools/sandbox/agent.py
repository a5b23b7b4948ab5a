"""The resident interpreter inside a sandbox. Its text follows cell.py's: stdlib only, POSIX.

Frames come on the original stdin: a JSON line {"nonce", "size", "seconds"} and `size` bytes of code.
Output goes raw to stdout between two marker lines that carry the frame's nonce. Nothing here guards
against the program, which shares the process: every limit that matters is set outside or by the kernel,
and the reader outside treats all of this output as hostile bytes.
"""

# ruff: noqa: F821, SIM105 (NAMESPACE, TimeLimit and run_cell are cell.py's, whose text comes first)

import json
import os
import resource
import signal
import sys

CONFIG = json.loads(sys.argv[1])


def bound(kind, amount):
    """Lower one kernel limit for good; one that is lower already stays."""
    number = getattr(resource, kind, None)
    if number is None or not amount:
        return
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        amount = min(amount, hard)
    try:
        resource.setrlimit(number, (amount, amount))
    except (ValueError, OSError):
        pass


def sweep():
    """End whatever the cell left running (everything in this pid namespace but init and us)."""
    if CONFIG.get("own_pids"):
        for _ in range(50):
            try:
                os.kill(-1, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                break
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass


def expire(number, frame):
    raise TimeLimit


def serve():
    requests = os.fdopen(os.dup(0), "rb")
    control = os.dup(1)
    me = os.getpid()
    quiet = os.open(os.devnull, os.O_RDONLY)
    os.dup2(quiet, 0)
    os.close(quiet)
    os.dup2(1, 2)
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stderr.reconfigure(encoding="utf-8", errors="replace")
    for name in ("exit", "quit"):
        NAMESPACE.setdefault(name, sys.exit)
    if CONFIG.get("packages"):
        sys.path.append(CONFIG["packages"])
    if CONFIG.get("identity"):
        os.setgroups([])
        os.setresgid(*[CONFIG["identity"]] * 3)
        os.setresuid(*[CONFIG["identity"]] * 3)  # and with it every capability
    for kind, amount in CONFIG["limits"].items():
        bound(kind, amount)
    signal.signal(signal.SIGALRM, expire)
    sys.argv = [""]
    count = 0
    while True:
        line = requests.readline()
        if not line:
            os._exit(0)
        frame = json.loads(line)
        code = requests.read(frame["size"]).decode("utf-8", "replace")
        nonce = frame["nonce"].encode()
        os.write(control, b"\n\0BEGIN " + nonce + b"\n")
        status = "ok"
        try:
            try:
                if code:
                    count += 1
                    signal.setitimer(signal.ITIMER_REAL, frame["seconds"])
                    status = run_cell(code, count)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except TimeLimit:
            status = "time"
        if os.getpid() != me:
            os._exit(0)  # a fork that ran on to the end of its cell
        sweep()
        os.write(control, b"\n\0END " + nonce + b" " + status.encode() + b"\n")


serve()
