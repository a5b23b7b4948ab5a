"""Whether the nodes of one vLLM server fit together: run it on every node, it ends with 0 where they do.

    python3 node_check.py --rank 0 --interface eth0 --port 29502 --addresses 10.0.0.1 10.0.0.2

Needs Python alone. Node 0 collects what every node says of itself and hands it round; each then connects to every other
node on a port that the system chose, as the servers will. `--follow PORT COMMAND...` runs a command instead, and ends it
when node 0, which listens on PORT, has ended or fallen silent: vLLM's own processes wait for a lost head for good.
"""

import argparse
import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

SAME = ("vllm", "torch", "transformers", "ray", "nvidia-nccl-cu12", "nvidia-nccl-cu13")
PREFIXES = ("NCCL_", "GLOO_", "VLLM_", "RAY_", "UCX_")
OWN = ("VLLM_HOST_IP", "VLLM_API_KEY")  # differs between nodes, or is nobody's business
SIOCGIFADDR = 0x8915  # linux/sockios.h
MAX_BYTES = 1 << 20
SILENT = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # half a minute without a word from the other host
END_S = 20  # for a command to end by itself


def address_of(interface):
    """The IPv4 address of an interface; '' where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("256s", interface.encode()[:15])
        try:
            return socket.inet_ntoa(fcntl.ioctl(any_socket.fileno(), SIOCGIFADDR, name)[20:24])
        except OSError:
            return ""


def version(package):
    """The installed version; '' where it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def own_facts(port):
    """What has to be the same on every node, and the port that this one listens on."""
    facts = {"Python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine()}
    facts.update({name: version(name) for name in SAME})
    for name, value in os.environ.items():
        if name.startswith(PREFIXES) and name not in OWN:
            facts[name] = value
    return {"facts": facts, "port": port}


def send(peer, content):
    """One JSON line."""
    peer.sendall(json.dumps(content).encode() + b"\n")


def receive(peer):
    """One JSON line of at most MAX_BYTES."""
    text = b""
    while not text.endswith(b"\n"):
        part = peer.recv(65536)
        if not part or len(text) > MAX_BYTES:
            raise ConnectionError("the other side ended")
        text += part
    return json.loads(text)


def collect(server, own, addresses, ends):
    """Node 0: what every node says, handed to each. Raises TimeoutError that names who did not come."""
    told, peers = {0: own}, []
    while len(told) < len(addresses):
        missing = [one for rank, one in enumerate(addresses) if rank not in told]
        server.settimeout(max(0.1, ends - time.monotonic()))
        try:
            peer, _ = server.accept()
            peer.settimeout(10)
            said = receive(peer)
            told[said["rank"]] = said
            peers.append(peer)
        except TimeoutError:
            raise TimeoutError("did not come: " + ", ".join(missing)) from None
        except (ConnectionError, ValueError, KeyError):
            continue
    for peer in peers:
        send(peer, [told[rank] for rank in range(len(addresses))])
    return [told[rank] for rank in range(len(addresses))]


def report(own, rank, head, port, ends):
    """Another node: its facts to node 0, everybody's back."""
    while True:
        try:
            with socket.create_connection((head, port), timeout=5, source_address=(own["address"], 0)) as peer:
                peer.settimeout(max(1.0, ends - time.monotonic()))
                send(peer, {**own, "rank": rank})
                return receive(peer)
        except (OSError, ValueError) as error:
            if time.monotonic() > ends:
                raise TimeoutError(f"node 0 at {head}:{port} cannot be reached: {error}") from None
            time.sleep(0.5)


def reached(source, address, port):
    """'' where a connection opens, else why not."""
    try:
        socket.create_connection((address, port), timeout=10, source_address=(source, 0)).close()
    except OSError as error:
        return str(error)
    return ""


def judged(told, rank, addresses):
    """(holds, line) of everything that was compared."""
    lines = []
    for name in sorted({name for one in told for name in one["facts"]}):
        seen = [one["facts"].get(name, "") for one in told]
        if any(seen):
            same = len(set(seen)) == 1
            lines.append((same, f"{name} {seen[0] if same else ' | '.join(value or 'none' for value in seen)}"))
    for other, address in enumerate(addresses):
        if other != rank:
            why = reached(addresses[rank], address, told[other]["port"])
            lines.append((not why, f"node {other} at {address}, a port of its choice: {why or 'reached'}"))
    return lines


def check(rank, addresses, interface, port, wait):
    """(holds, line) of this node; waits for the others at most `wait` seconds."""
    found = address_of(interface)
    if found != addresses[rank]:
        names = ", ".join(name for _, name in socket.if_nameindex())
        seen = f"has {found}" if found else "has no IPv4 address or is not there"
        return [(False, f"interface {interface} {seen}; {addresses[rank]} is needed (interfaces here: {names})")]
    lines = [(True, f"interface {interface} has {found}")]
    ends = time.monotonic() + wait
    with socket.create_server((addresses[rank], 0)) as door:
        threading.Thread(target=_answer, args=(door,), daemon=True).start()
        own = {**own_facts(door.getsockname()[1]), "address": addresses[rank]}
        try:
            if rank == 0:
                with socket.create_server((addresses[0], port)) as server:
                    told = collect(server, own, addresses, ends)
            else:
                told = report(own, rank, addresses[0], port, ends)
        except OSError as error:  # a TimeoutError too
            return [*lines, (False, f"{error}")]
        lines += judged(told, rank, addresses)
        time.sleep(1)  # the others may still be at this node's door
    return lines


def _answer(door):
    while True:
        try:
            door.accept()[0].close()
        except OSError:
            return


def lost(address, port):
    """Wait for the process that listens there, then until it has ended or its host has been silent for SILENT."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5) as peer:
            peer.settimeout(None)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in SILENT.items():
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            with contextlib.suppress(OSError):
                peer.recv(1)  # nothing is ever said here
            return
        time.sleep(1)


def follow(address, port, words):
    """Run a command until it ends (its exit code) or node 0 is lost (1)."""
    running = subprocess.Popen(words)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: running.terminate())
    watch = threading.Thread(target=lost, args=(address, port), daemon=True)
    watch.start()
    while running.poll() is None and watch.is_alive():
        time.sleep(0.2)
    if running.poll() is None:
        print(f"✗ node 0 at {address}:{port} is lost: this node ends too", flush=True)
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(END_S)
        running.kill()
        running.wait()
        return 1
    return running.returncode


def main():
    """Print what was found; the exit code is 1 where something does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--addresses", nargs="+", required=True)
    parser.add_argument("--wait", type=float, default=300, help="seconds until every node has come")
    parser.add_argument("--follow", nargs=argparse.REMAINDER, help="PORT COMMAND...: run it while node 0 listens there")
    given = parser.parse_args()
    if given.follow:
        sys.exit(follow(given.addresses[0], int(given.follow[0]), given.follow[1:]))
    lines = check(given.rank, given.addresses, given.interface, given.port, given.wait)
    for holds, line in lines:
        print("✓" if holds else "✗", line, flush=True)
    sys.exit(0 if all(holds for holds, _ in lines) else 1)


if __name__ == "__main__":
    main()
