"""One load client for the whole suite: its import costs 25 CPU-seconds, and many notebooks sweep.

python tests/shared_load.py hold INTERPRETER SOCKET LOG    # a client behind a Unix socket, until stdin closes
python tests/shared_load.py relay SOCKET                   # stands for a client: lines in, events out
"""

import contextlib
import itertools
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
READY = {"event": "ready"}
PATIENCE_S = 30  # until the holder has its socket


def client_words(path: Path) -> str:
    """The command line of a client that passes everything on to the shared one."""
    return shlex.join([sys.executable, "-S", __file__, "relay", str(path)])


def start_shared(interpreter: Path, path: Path, log: Path) -> subprocess.Popen:
    """Start the shared client; it ends when the process's stdin is closed."""
    argv = [sys.executable, __file__, "hold", str(interpreter), str(path), str(log)]
    with log.open("ab") as errors:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, cwd=ROOT)


def hold(interpreter: str, path: str, log: str) -> None:
    """Answer one request for each connection, one after the other, with one resident client."""
    sys.path.insert(0, str(ROOT))
    from helpers.bench.worker import CLIENT, LoadWorker

    os.environ.pop(CLIENT, None)  # its own client is a real one
    worker = LoadWorker(Path(interpreter), Path(log))

    def end_with_owner() -> None:
        sys.stdin.read()
        os.unlink(path)
        worker.close()
        os._exit(0)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    threading.Thread(target=end_with_owner, daemon=True).start()
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), connection, connection.makefile("rw") as stream:
            if line := stream.readline():
                answer(worker, json.loads(line), stream)


def answer(worker, request: dict, stream) -> None:
    """Pass the events of one request on; to its end also where the asker has left, or the client would end."""
    events = (event for event in worker.events(request) if event["event"] != "ready")
    listening = True
    for event in itertools.chain([READY], events):
        if listening:
            try:
                stream.write(json.dumps(event) + "\n")
                stream.flush()
            except OSError:
                listening = False


def relay(path: str) -> None:
    """Say that the client is ready, then take one request line after the other to it, and its events back."""
    deadline = time.monotonic() + PATIENCE_S
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    print(json.dumps(READY), flush=True)
    for line in sys.stdin:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            with connection.makefile("rw") as stream:
                stream.write(line)
                stream.flush()
                answer = "{}"
                for answer in stream:
                    if json.loads(answer) != READY:
                        print(answer, end="", flush=True)
                if json.loads(answer).get("event") not in ("done", "error"):
                    sys.exit("the shared load client is gone")


if __name__ == "__main__":
    {"hold": hold, "relay": relay}[sys.argv[1]](*sys.argv[2:])
