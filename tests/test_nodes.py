"""One server over several nodes: what is rendered, the nodes' check, and a server split over two hosts of the test's own."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.errors import UsageError
from helpers.processes import host
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from maintain.deploy import nodes as several
from maintain.deploy.nodes import Nodes
from maintain.deploy.order import Order
from tests.hosts import ADDRESSES, INTERFACE, as_host, inside, ip, two_hosts

PORT = 8000  # of hosts that nobody else shares
START_S, STEP_S = 200, 30
QUESTIONS = ("What is 2 + 2?", "Name a colour.", "Say hello to Ada.")
ASK = """
import json, sys, urllib.request as u
body = {"model": "gpt-oss-nano", "messages": [{"role": "user", "content": sys.argv[1]}], "temperature": 0, "max_tokens": 48}
request = u.Request("http://127.0.0.1:8000/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
print(u.urlopen(request, timeout=float(sys.argv[2])).read().decode())
"""


def rendered(name: str, total: int, count: int, form=several.scripts) -> dict[str, str]:
    hosts = Nodes(tuple(f"10.0.0.{one + 1}" for one in range(count)), "eth0")
    return form(spread_order(name, total, count, "openai/gpt-oss-20b"), hosts)


def spread_order(name: str, total: int, count: int, weights: str) -> Order:
    target = load_target(name)
    parameters = check_parameters(target, {})
    model = load_model(parameters.model)
    own = several.spread(target, model, parameters, total, count)
    return Order(target, model, own, serve_command(target, model, own, weights, PORT), count, total)


@pytest.mark.parametrize(
    ("name", "total", "count"), [("dgx_spark", 2, 2), ("h200", 8, 2), ("cpu", 2, 2), ("mi300x", 4, 4)]
)
def test_every_node_gets_its_own_script(name: str, total: int, count: int):
    texts = rendered(name, total, count)
    for rank in range(count):
        words = shlex.split(texts[f"node-{rank}.sh"].replace("\\\n", " "), comments=True)
        flags = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
        assert flags["--nnodes"] == str(count) and flags["--node-rank"] == str(rank)
        assert flags["--master-addr"] == "10.0.0.1" and flags["--tensor-parallel-size"] == str(total)
        assert ("--headless" in words) == bool(rank)
        exported = dict(word.split("=", 1) for word in words if "=" in word and word.split("=")[0].isupper())
        assert exported["VLLM_HOST_IP"] == f"10.0.0.{rank + 1}" and exported["GLOO_SOCKET_IFNAME"] == "eth0"
        assert ("NCCL_SOCKET_IFNAME" in exported) == (name != "cpu")
        assert words.index("./node_check.py") < words.index("vllm")


@pytest.mark.real
def test_ray_starts_the_head_waits_for_every_node_and_serves():
    texts = rendered("h200", 8, 2, several.ray_scripts)
    head, other = texts["node-0.sh"], texts["node-1.sh"]
    assert head.index("ray start --head") < head.index("= 8 ]") < head.index("vllm serve")
    assert "--distributed-executor-backend ray" in head and "--nnodes" not in head
    assert "ray start --address=10.0.0.1:6379 --node-ip-address=10.0.0.2 --block" in other and "vllm serve" not in other
    for text in texts.values():
        assert text.startswith('"""') or subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_what_cannot_be_spread_is_one_clear_line():
    with pytest.raises(UsageError, match=r"Ray cannot spread a CPU server.*ray_device_key"):
        rendered("cpu", 2, 2, several.ray_scripts)
    with pytest.raises(UsageError, match="multiple of 2"):
        rendered("h200", 3, 2)
    with pytest.raises(UsageError, match="does not divide gpt-oss's 64 attention heads"):
        rendered("h200", 6, 2)
    with pytest.raises(UsageError, match="2 devices a node are too many"):
        rendered("dgx_spark", 4, 2)
    for addresses, interface in (
        (("10.0.0.1",), "eth0"),
        (("10.0.0.1", "there"), "eth0"),
        (("10.0.0.1", "10.0.0.2"), "a b"),
    ):
        with pytest.raises(UsageError):
            Nodes(addresses, interface)


@pytest.mark.real
def test_the_check_names_what_differs_between_two_hosts(tmp_path: Path):
    with two_hosts() as hosts:
        layout = Nodes(ADDRESSES, INTERFACE)

        def checked(
            *wait: str, env: tuple[dict, dict] = ({}, {}), ranks: tuple[int, ...] = (0, 1)
        ) -> list[tuple[int, str]]:
            running = []
            for rank in ranks:
                words = [
                    sys.executable,
                    str(several.CHECK),
                    *several.check_words(layout, rank),
                    "--wait",
                    *(wait or ("20",)),
                ]
                argv = inside(hosts[rank], *words)
                running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | env[rank]))
            ends = [one.communicate(timeout=40)[0] for one in running]
            return [(one.returncode, text) for one, text in zip(running, ends, strict=True)]

        assert all(code == 0 and "a port of its choice: reached" in text for code, text in checked())
        for code, text in checked(env=({"NCCL_IB_DISABLE": "1"}, {})):
            assert code == 1 and "✗ NCCL_IB_DISABLE 1 | none" in text
        ((code, text),) = checked("1", ranks=(0,))
        assert code == 1 and f"did not come: {ADDRESSES[1]}" in text
        ((code, text),) = checked("1", ranks=(1,))
        assert code == 1 and "node 0 at" in text and "cannot be reached" in text
        ip("-n", hosts[1], "address", "del", f"{ADDRESSES[1]}/24", "dev", INTERFACE)
        ((code, text),) = checked("1", ranks=(1,))
        assert code == 1 and f"interface {INTERFACE} has no IPv4 address" in text and "lo" in text


@pytest.mark.real
def test_a_node_ends_with_the_head_and_by_itself(tmp_path: Path):
    """The check's `--follow` with a listener in the head's place and `sleep` in the server's."""
    listen = "import socket as k, time; s = k.create_server(('{}', {})); c = s.accept(); print('came', flush=1); time.sleep(60)"
    with two_hosts() as hosts:
        words = [sys.executable, str(several.CHECK), *several.check_words(Nodes(ADDRESSES, INTERFACE), 1), "--follow"]

        def follow(*command: str) -> subprocess.Popen:
            argv = inside(hosts[1], *words, str(several.MASTER_PORT), *command)
            return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

        ask = [sys.executable, "-c", "from helpers.processes import host; print(host())"]
        named = [subprocess.run([*inside(one), *ask], capture_output=True, text=True).stdout.strip() for one in hosts]
        assert len({host(), *named}) == 3 and all(named), "their servers' leases are told apart"
        assert follow("bash", "-c", "exit 7").wait(30) == 7, "the command's own end"
        asked = follow("bash", "-c", "trap 'kill $!; echo in order; exit 3' TERM; echo up; sleep 60 > /dev/null & wait")
        assert asked.stdout.readline() == "up\n"
        asked.terminate()
        assert asked.wait(30) == 3 and asked.stdout.read() == "in order\n", "a supervisor's signal reaches the server"
        node = follow("sleep", "60")
        time.sleep(0.5)
        assert node.poll() is None, "no head yet: it waits"
        words = inside(hosts[0], sys.executable, "-c", listen.format(ADDRESSES[0], several.MASTER_PORT))
        head = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert head.stdout.readline() == "came\n"
        time.sleep(1)
        assert node.poll() is None, "the head lives"
        head.kill()
        head.wait()
        assert node.wait(30) == 1
        assert f"node 0 at {ADDRESSES[0]}:{several.MASTER_PORT} is lost" in node.stdout.read()


@pytest.mark.real
def test_the_cpu_build_has_no_ray_resource(interpreter: Path):
    """Why the Ray form refuses a CPU: vLLM itself does. The day this fails, it need not any more."""
    package = next(interpreter.parents[1].glob("lib/python3*/site-packages/vllm"))
    assert 'ray_device_key: str = ""' in (package / "platforms" / "interface.py").read_text()
    assert "ray_device_key" not in (package / "platforms" / "cpu.py").read_text()
    refusal = (package / "v1" / "executor" / "ray_utils.py").read_text()
    assert "if not device_str:" in refusal and "does not support ray." in refusal


@contextlib.contextmanager
def spread_server(
    hosts: tuple[str, str], interpreter: Path, checkpoint: Path, folder: Path
) -> Iterator[list[subprocess.Popen]]:
    """The server of the rendered scripts, on both hosts; killed at the end, whatever is left."""
    layout = Nodes(ADDRESSES, INTERFACE, step_s=STEP_S)
    texts = several.scripts(spread_order("cpu", 2, 2, str(checkpoint)), layout)
    for name, text in texts.items():
        (folder / name).write_text(text.replace("vllm serve", f"{interpreter} -m vllm.entrypoints.cli.main serve"))
    running = []
    try:
        for rank, host in enumerate(hosts):
            with (folder / f"node-{rank}.log").open("w") as log:
                argv = as_host(host, "bash", str(folder / f"node-{rank}.sh"))
                running.append(subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True))
        yield running
    finally:
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def ask(host: str, question: str, patience_s: float = 60) -> subprocess.CompletedProcess:
    argv = inside(host, sys.executable, "-c", ASK, question, str(patience_s))
    return subprocess.run(argv, capture_output=True, text=True, timeout=patience_s + 30)


def answer(reply: str) -> tuple[str, str]:
    message = json.loads(reply)["choices"][0]["message"]
    return message.get("reasoning") or "", message.get("content") or ""


def healthy(host: str) -> bool:
    probe = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"
    return subprocess.run(inside(host, sys.executable, "-c", probe), capture_output=True).returncode == 0


def until(holds, seconds: float, why: str) -> float:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, why
        time.sleep(0.5)
    return time.monotonic() - began


@pytest.mark.full
def test_a_server_over_two_hosts_answers_as_one_and_ends_when_a_host_is_lost(
    client, interpreter: Path, checkpoint: Path, tmp_path: Path
):
    expected = []
    for question in QUESTIONS:
        message = [{"role": "user", "content": question}]
        reply = client.chat.completions.create(model="gpt-oss-nano", messages=message, temperature=0, max_tokens=48)
        expected.append(answer(reply.model_dump_json()))
    with two_hosts() as hosts, spread_server(hosts, interpreter, checkpoint, tmp_path) as (head, other):

        def logs() -> str:
            return "\n".join((tmp_path / f"node-{rank}.log").read_text()[-3000:] for rank in (0, 1))

        def ready() -> bool:
            assert head.poll() is None and other.poll() is None, logs()
            return healthy(hosts[0])

        until(ready, START_S, logs())
        assert [answer(ask(hosts[0], question).stdout) for question in QUESTIONS] == expected
        ip("-n", hosts[1], "link", "set", INTERFACE, "down")  # the host is gone without a word
        began = time.monotonic()
        lost = ask(hosts[0], QUESTIONS[0], patience_s=STEP_S + 30)
        assert lost.returncode != 0 and "HTTP Error 500" in lost.stderr, lost.stderr + logs()
        until(lambda: head.poll() is not None, 60, "the head goes on without its node")
        until(lambda: other.poll() is not None, 60, "the other node goes on without the head")
        assert time.monotonic() - began < STEP_S + 60
        assert "RPC call to execute_model timed out" in (tmp_path / "node-0.log").read_text()
