"""The first cause of logs that no signature was written for: every shape that vLLM's processes print."""

import io
import random
from textwrap import dedent

import pytest

from helpers.doctor import diagnose
from helpers.doctor.scan import scan
from helpers.logs import parse
from helpers.paths import ROOT

CORE = "(EngineCore pid=7) ERROR 11-22 14:05:14 [core.py:1510] "
WRAPPED = (
    "(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
)


def traceback(line, *frames, prefix=""):
    rows = ["Traceback (most recent call last):"]
    for source in frames or ("raise it",):
        rows += ['  File "/opt/vllm/x.py", line 3, in f', f"    {source}", "    ^^^^^^^^"]
    return "".join(f"{prefix}{row}\n" for row in [*rows, line])


def wrapper(prefix="(APIServer pid=5) "):
    return traceback(WRAPPED.strip().partition(") ")[2], prefix=prefix)


def first(text):
    return diagnose(io.BytesIO(text.encode() if isinstance(text, str) else text), []).exception


CASES = {
    "prefix on every line": (
        CORE + "EngineCore failed to start.\n" + traceback("ValueError: odd geometry", prefix=CORE) + wrapper(),
        "ValueError: odd geometry",
    ),
    "wrapper printed first": (
        wrapper() + traceback("TypeError: f() got an unexpected keyword", prefix="(EngineCore pid=7) "),
        "TypeError: f() got an unexpected keyword",
    ),
    "worker below executor below engine below server": (
        "(Worker_TP1 pid=9) ERROR 11-22 14:05:13 [multiproc_executor.py:953] WorkerProc failed to start.\n"
        + traceback(
            "torch.AcceleratorError: CUDA error: device-side assert",
            prefix="(Worker_TP1 pid=9) ERROR 11-22 14:05:13 [multiproc_executor.py:953] ",
        )
        + traceback(
            "Exception: WorkerProc initialization failed due to an exception in a background process. "
            "See stack trace for root cause.",
            prefix=CORE,
        )
        + wrapper(),
        "torch.AcceleratorError: CUDA error: device-side assert",
    ),
    "direct cause": (
        traceback("KeyError: 'o_proj'")
        + "\nThe above exception was the direct cause of the following exception:\n\n"
        + traceback("RuntimeError: could not load layer 3"),
        "KeyError: 'o_proj'",
    ),
    "while handling": (
        traceback("FileNotFoundError: [Errno 2] No such file: 'x'")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + traceback("OSError: no config"),
        "FileNotFoundError: [Errno 2] No such file: 'x'",
    ),
    "a look-up that the handler translates": (
        traceback("KeyError: 'gpt_oss'", "config = MAPPING[kind]")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + traceback("ValueError: the model type is not known", "raise ValueError("),
        "ValueError: the model type is not known",
    ),
    "chain with prefixes": (
        traceback("ZeroDivisionError: division by zero", prefix=CORE)
        + CORE
        + "\n"
        + CORE
        + "The above exception was the direct cause of the following exception:\n"
        + CORE
        + "\n"
        + traceback(
            "RuntimeError: Worker failed with error 'x', please check the stack trace above for the root cause",
            prefix=CORE,
        )
        + wrapper(),
        "ZeroDivisionError: division by zero",
    ),
    "argument parser": (
        "usage: vllm serve [model_tag] [options]\nvllm serve: error: argument --port: invalid int value: 'x'\n",
        "vllm serve: error: argument --port: invalid int value: 'x'",
    ),
    "pydantic": (
        traceback(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            prefix="(APIServer pid=5) ",
        )
        + "(APIServer pid=5)   Value error, a strange model [type=value_error, input_value=1, input_type=int]\n"
        + "(APIServer pid=5)     For further information visit https://errors.pydantic.dev/2.14/v/value_error\n",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, a strange model [type=value_error, input_value=1, input_type=int]",
    ),
    "killed by the shell's word": ("INFO 11-22 14:05:14 [x.py:1] Loading weights\nKilled\n", "Killed"),
    "killed by the kernel": (
        "[83011.442917] Out of memory: Killed process 88 (VLLM::EngineCor) total-vm:1kB\n" + wrapper(),
        "Out of memory: Killed process 88 (VLLM::EngineCor) total-vm:1kB",
    ),
    "core dump": (
        "/run.sh: line 3:  4711 Segmentation fault      (core dumped) vllm serve m\n",
        "/run.sh: line 3:  4711 Segmentation fault      (core dumped) vllm serve m",
    ),
    "compiler": (
        "ptxas fatal   : Unresolved extern function 'x'\n" + wrapper(),
        "ptxas fatal   : Unresolved extern function 'x'",
    ),
    "only the wrapper": (
        wrapper(),
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ),
    "exception group": (
        dedent("""\
          + Exception Group Traceback (most recent call last):
          |   File "a.py", line 1, in f
          |     async with TaskGroup():
          | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
          +-+---------------- 1 ----------------
            | Traceback (most recent call last):
            |   File "b.py", line 2, in g
            |     raise x
            | odd.ToolError: the tool went away
            +------------------------------------
        """),
        "odd.ToolError: the tool went away",
    ),
    "rich traceback": (
        "╭───────── Traceback (most recent call last) ─────────╮\n│ /x.py:3 in f                              │\n"
        "│ ❱ 3 raise ValueError()      │\n╰─────────────────────────────────────────────╯\nValueError: framed\n",
        "ValueError: framed",
    ),
    "colours": (
        "\x1b[0;36m(EngineCore pid=7)\x1b[0;0m \x1b[31mERROR\x1b[0m \x1b[90m11-22 14:05:14\x1b[0m \x1b[90m[core.py:9]\x1b[0m "
        "Traceback (most recent call last):\n"
        "\x1b[0;36m(EngineCore pid=7)\x1b[0;0m \x1b[31mERROR\x1b[0m \x1b[90m11-22 14:05:14\x1b[0m \x1b[90m[core.py:9]\x1b[0m "
        '  File "x"\n'
        "\x1b[0;36m(EngineCore pid=7)\x1b[0;0m \x1b[31mERROR\x1b[0m \x1b[90m11-22 14:05:14\x1b[0m \x1b[90m[core.py:9]\x1b[0m "
        "RuntimeError: in colour\n",
        "RuntimeError: in colour",
    ),
    "progress bars and carriage returns": (
        "Loading:   0%|   | 0/2\rLoading:  50%|█  | 1/2\rLoading: 100%|██ | 2/2\r\n"
        + traceback("MemoryError: after the bar").replace("\n", "\r\n"),
        "MemoryError: after the bar",
    ),
    "docker compose": (
        "".join(f"vllm-1  | {row}\n" for row in traceback("ValueError: in compose").splitlines()),
        "ValueError: in compose",
    ),
    "kubernetes times": (
        "".join(
            f"2026-11-22T14:05:14.123456789Z stderr F {row}\n" for row in traceback("ValueError: in a pod").splitlines()
        ),
        "ValueError: in a pod",
    ),
    "journal": (
        "".join(f"Nov 22 14:05:14 host vllm[77]: {row}\n" for row in traceback("ValueError: in a unit").splitlines()),
        "ValueError: in a unit",
    ),
    "rank prefix": (traceback("ValueError: on a rank", prefix="[rank0]: "), "ValueError: on a rank"),
    "a snippet without its head": (
        '  File "x.py", line 3, in f\n    raise it\nvllm.errors.Strange: cut out\nRuntimeError: later\n',
        "RuntimeError: later",
    ),
    "handled in a warning": (
        traceback("ImportError: no kernels", prefix="(Worker pid=9) WARNING 11-22 14:05:10 [k.py:1] ")
        + CORE
        + "EngineCore failed to start.\n"
        + traceback("ValueError: the real one", prefix=CORE),
        "ValueError: the real one",
    ),
    "ignored by python": (
        "Exception ignored in: <function A.__del__ at 0x7f>\n"
        + traceback("AttributeError: x")
        + traceback("OSError: the real one"),
        "OSError: the real one",
    ),
    "a request failed before the engine died": (
        "(APIServer pid=5) INFO:     Application startup complete.\n(APIServer pid=5) ERROR:    Exception in ASGI application\n"
        + traceback("ValueError: one bad request", prefix="(APIServer pid=5) ")
        + CORE
        + "EngineCore encountered a fatal error.\n"
        + traceback("RuntimeError: the engine's own", prefix=CORE)
        + traceback(
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", prefix="(APIServer pid=5) "
        ),
        "RuntimeError: the engine's own",
    ),
    "a request failed, then the engine without a heading": (
        "(APIServer pid=5) INFO:     Application startup complete.\n(APIServer pid=5) ERROR:    Exception in ASGI application\n"
        + traceback("ValueError: one bad request", prefix="(APIServer pid=5) ")
        + traceback("RuntimeError: the engine's own", prefix="(EngineCore pid=7) ")
        + traceback("vllm.v1.engine.exceptions.EngineDeadError: EngineCore died", prefix="(APIServer pid=5) "),
        "RuntimeError: the engine's own",
    ),
    "only a request failed": (
        "(APIServer pid=5) INFO:     Application startup complete.\n(APIServer pid=5) ERROR:    Exception in ASGI application\n"
        + traceback("ValueError: one bad request", prefix="(APIServer pid=5) "),
        "ValueError: one bad request",
    ),
    "logged and survived, then the engine died while it loaded": (
        traceback(
            "ConnectionError: the hub is away, the cache will do",
            prefix="(EngineCore pid=7) ERROR 11-22 14:05:10 [weight_utils.py:3] ",
        )
        + CORE
        + "EngineCore failed to start.\n"
        + traceback("ValueError: the real one", prefix=CORE)
        + wrapper(),
        "ValueError: the real one",
    ),
    "logged before a death without a word": (
        traceback("OSError: the only word", prefix="(Worker pid=9) ERROR 11-22 14:05:10 [weight_utils.py:3] ")
        + wrapper(),
        "OSError: the only word",
    ),
    "the same line again after a restart": (
        "(APIServer pid=5) INFO:     Shutting down\n"
        + traceback("ValueError: once more", prefix="(EngineCore pid=7) ")
        + "ERROR 11-22 14:05:14 [x.py:1] OSError: alone\n"
        + "(APIServer pid=5) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"
        + traceback("ValueError: once more", prefix="(EngineCore pid=7) "),
        "ValueError: once more",
    ),
    "the same single line again after a restart": (
        "(APIServer pid=5) INFO:     Shutting down\n"
        "(EngineCore pid=7) ERROR 11-22 14:05:14 [x.py:1] OSError: alone\n"
        "(APIServer pid=5) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"
        "(EngineCore pid=7) ERROR 11-22 14:06:14 [x.py:1] OSError: alone\n",
        "OSError: alone",
    ),
    "an error that names no exception, and no start": (
        "(APIServer pid=5) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"
        "(APIServer pid=5) ERROR 11-22 14:06:01 [run.py:9] the device went away while loading\n",
        "the device went away while loading",
    ),
    "an error that names no exception, and the server started": (
        "(APIServer pid=5) ERROR 11-22 14:06:01 [run.py:9] the device went away while loading\n"
        "(APIServer pid=5) INFO:     Application startup complete.\n",
        None,
    ),
    "an error that names no exception after a stop": (
        "(APIServer pid=5) INFO:     Shutting down\n"
        "(APIServer pid=5) ERROR 11-22 14:06:01 [run.py:9] the socket is closed\n",
        None,
    ),
    "after an announced shutdown": (
        "(APIServer pid=5) INFO:     Application startup complete.\n(APIServer pid=5) INFO:     Shutting down\n"
        + traceback(
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", prefix="(APIServer pid=5) "
        )
        + traceback("RuntimeError: cannot schedule new futures", prefix="(APIServer pid=5) "),
        None,
    ),
    "after a signal": (
        "(APIServer pid=5) INFO 11-22 14:05:14 [launcher.py:9] [shutdown] API server: shutdown triggered\n"
        + traceback("ValueError: too late", prefix="(EngineCore pid=7) "),
        None,
    ),
    "interrupted": (traceback("KeyboardInterrupt") + traceback("RuntimeError: cancelled late"), None),
    "the engine is told to stop because the server fails": (
        "(EngineCore pid=7) INFO 11-22 14:05:14 [core.py:1455] [shutdown] EngineCore: trigger received signal=SIGTERM\n"
        + traceback("OSError: [Errno 5] the server's own", prefix="(APIServer pid=5) "),
        "OSError: [Errno 5] the server's own",
    ),
    "the engine is told to stop, the server sees it dead": (
        "(EngineCore pid=7) INFO 11-22 14:05:14 [core.py:1455] [shutdown] EngineCore: trigger received signal=SIGTERM\n"
        + traceback(
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", prefix="(APIServer pid=5) "
        ),
        None,
    ),
    "failed again after a restart": (
        "(APIServer pid=5) INFO:     Shutting down\n"
        "(APIServer pid=6) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"
        + traceback("ValueError: the second start", prefix="(APIServer pid=6) "),
        "ValueError: the second start",
    ),
    "shutting down in a prompt is no announcement": (
        "(APIServer pid=5) INFO 11-22 14:05:14 [l.py:1] Received request x: prompt: 'is it Shutting down? CUDA out of memory'\n"
        + traceback("ValueError: still counts"),
        "ValueError: still counts",
    ),
    "errors in prompts are nobody's": (
        "(APIServer pid=5) INFO 11-22 14:05:14 [l.py:1] Received request x: prompt: 'explain Traceback and ValueError: x'\n",
        None,
    ),
    "an error logged without a traceback": (
        "(EngineCore pid=7) ERROR 11-22 14:05:14 [x.py:1] Loading failed: safetensors_rust.SafetensorError: header too large\n",
        "Loading failed: safetensors_rust.SafetensorError: header too large",
    ),
    "message on several lines": (
        traceback("RuntimeError: CUDA error: misaligned address")
        + "CUDA kernel errors might be asynchronously reported\n\n"
        + wrapper(),
        "RuntimeError: CUDA error: misaligned address",
    ),
    "an exception without a message": (traceback("AssertionError"), "AssertionError"),
    "a class of an unusual name": (traceback("odd.module.Boom: it went"), "odd.module.Boom: it went"),
    "notes between": (
        "INFO 11-22 14:05:14 [x.py:1] a\n"
        + traceback("ValueError: plain").replace(
            "    raise it\n", "    raise it\nINFO 11-22 14:05:14 [y.py:2] beside\n"
        ),
        "ValueError: plain",
    ),
    "no failure": ("(APIServer pid=5) INFO:     Application startup complete.\n", None),
    "empty": ("", None),
    "not text": (bytes(range(256)) * 50, None),
    "cut off in the middle": ('Traceback (most recent call last):\n  File "x", line 1\n', None),
}


@pytest.mark.parametrize("name", CASES)
def test_first_cause(name):
    text, expected = CASES[name]
    assert first(text) == expected


REQUESTS = {"only a request failed"}


@pytest.mark.parametrize("name", [name for name, (_, line) in CASES.items() if line and name not in REQUESTS])
def test_exit_code_is_one_when_there_is_a_cause(name):
    assert diagnose(io.BytesIO(CASES[name][0].encode())).exit_code == 1


UP = "(APIServer pid=5) INFO:     Application startup complete.\n"
BAD = "(APIServer pid=5) ERROR 11-22 14:07:00 [serving.py:9] Error in preprocessing prompt inputs\n" + traceback(
    "ValueError: max_tokens must be at least 1", prefix="(APIServer pid=5) ERROR 11-22 14:07:00 [serving.py:9] "
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            UP + BAD + '(APIServer pid=5) INFO:     127.0.0.1:1 - "POST /v1/responses HTTP/1.1" 400 Bad Request\n',
            "request",
        ),
        (UP + CASES["only a request failed"][0], "request"),
        (
            UP + BAD + CORE + "EngineCore encountered a fatal error.\n" + traceback("RuntimeError: x", prefix=CORE),
            "fatal",
        ),
        (UP + BAD + wrapper(), "fatal"),
        (BAD, "fatal"),
        (UP + traceback("RuntimeError: nobody caught it", prefix="(APIServer pid=5) "), "fatal"),
        (UP + traceback("RuntimeError: the engine's", prefix=CORE), "fatal"),
    ],
    ids=[
        "answered with 400",
        "in the application",
        "then the engine died",
        "then the server ended",
        "never started",
        "uncaught",
        "of the engine",
    ],
)
def test_a_failed_request_of_a_server_that_goes_on_is_not_fatal(text, kind):
    found = diagnose(io.BytesIO(text.encode()))
    assert found.kind == kind and found.exit_code == (kind == "fatal") and found.to_dict()["class"] == kind
    assert found.exception, "it is told all the same"
    assert ("the server went on" in found.verdict) == (kind == "request")


def test_a_known_failure_after_a_restart_is_found_though_its_shape_came_before():
    line = "Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization\n"
    line = "(EngineCore pid=7) ERROR 11-22 14:05:14 [x.py:1] ValueError: " + line
    stop = "(APIServer pid=5) INFO:     Shutting down\n"
    start = "(APIServer pid=5) INFO 11-22 14:06:00 [u.py:1] vLLM API server version 0.32.0\n"
    assert diagnose(io.BytesIO((stop + line).encode())).exit_code == 0
    found = diagnose(io.BytesIO((stop + line + start + line).encode()))
    assert found.exit_code == 1 and found.ids == ["F22"] and found.line == 4


def test_interleaved_processes():
    """Two workers write their tracebacks into each other, line by line, in many orders."""
    a = [f"(Worker_TP0 pid=8) {row}" for row in traceback("ValueError: from zero", "a()", "raise A").splitlines()]
    b = [f"(Worker_TP1 pid=9) {row}" for row in traceback("TypeError: from one", "b()", "raise B").splitlines()]
    for seed in range(50):
        mixed, left, right, chance = [], list(a), list(b), random.Random(seed)
        while left or right:
            side = left if left and (not right or chance.random() < 0.5) else right
            mixed.append(side.pop(0))
        # not the one whose traceback began first
        printed = next(row for row in mixed if "Error: from" in row)
        expected = printed.partition(") ")[2]
        assert first("\n".join(mixed) + "\n" + wrapper()) == expected


def test_pieces_do_not_change_the_answer(monkeypatch):
    text = CASES["worker below executor below engine below server"][0] * 3
    whole = first(text)
    for size in (7, 64, 1000):
        monkeypatch.setattr("helpers.doctor.scan.CHUNK", size)
        assert first(text) == whole


def test_a_storm_of_request_errors_does_not_hide_the_engine():
    storm = "".join(
        "(APIServer pid=5) ERROR:    Exception in ASGI application\n"
        + traceback(f"ValueError: bad {n}", prefix="(APIServer pid=5) ")
        for n in range(3000)
    )
    end = (
        CORE
        + "EngineCore encountered a fatal error.\n"
        + traceback("RuntimeError: at last", prefix=CORE)
        + traceback(
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", prefix="(APIServer pid=5) "
        )
    )
    assert first("(APIServer pid=5) INFO:     Application startup complete.\n" + storm + end) == "RuntimeError: at last"


def test_a_traceback_that_never_ends_is_given_up():
    text = "(Worker pid=9) Traceback (most recent call last):\n" + "(APIServer pid=5) INFO:     fine\n" * 5000
    found = scan(io.BytesIO(text.encode()))
    assert found.lines == 5001 and not found.tracker.opened
    assert first(text + traceback("ValueError: later", prefix="(EngineCore pid=7) ")) == "ValueError: later"


@pytest.mark.parametrize(
    ("raw", "stream", "level", "text"),
    [
        ("(EngineCore pid=7) ERROR 11-22 14:05:14 [core.py:559]   File", "EngineCore 7", "ERROR", "  File"),
        ("(Worker_TP0_EP0 pid=7) INFO 2026-11-22 14:05:14.123 [v1/a.py:5] x", "Worker_TP0_EP0 7", "INFO", "x"),
        (
            "**(VllmWorker TP0 pid=174579)** ERROR 08-05 07:31:10 [m.py:559] AssertionError: S",
            "VllmWorker TP0 174579",
            "ERROR",
            "AssertionError: S",
        ),
        (
            "(RayWorkerWrapper pid=1, ip=10.0.0.1) INFO 11-22 14:05:14 [a.py:5] x",
            "RayWorkerWrapper 1, ip=10.0.0.1",
            "INFO",
            "x",
        ),
        ("INFO:     127.0.0.1:5 - ok", "", "INFO", "127.0.0.1:5 - ok"),
        ("WARNING:root:careful", "", "WARNING", "careful"),
        ("[rank3]:[E1122 14:05:14.123456789 ProcessGroupNCCL.cpp:616] timed out", "rank3", "ERROR", "timed out"),
        ("plain", "", "", "plain"),
    ],
)
def test_lines_are_taken_apart(raw, stream, level, text):
    line = parse(raw.encode())
    assert (line.stream, line.level, line.text) == (stream, level, text)


START = """\
(APIServer pid=1) INFO 11-20 10:00:00 [api.py:286] non-default args: {'model_tag': 'openai/gpt-oss-20b', 'max_model_len': 8192}
(EngineCore pid=7) INFO 11-20 10:00:10 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='gpt-oss-20b'
"""
READY = START + "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"


@pytest.mark.parametrize(
    "echo",
    [
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:93, remote process exited or there was a network error",
        "RuntimeError: [pair.cc:553] Connection closed by peer [10.0.0.1]:34567",
    ],
)
def test_the_end_of_a_peer_is_not_the_cause(echo):
    """Tensor parallel: one worker runs out of memory, the other loses its connection, and may say so first."""
    oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.98 GiB. GPU 1 has a total capacity of 79.25 GiB"
    told = [(0, echo), (1, oom)]
    for order in (told, told[::-1]):
        log = START
        for rank, line in order:
            head = f"(Worker_TP{rank} pid={8 + rank}) ERROR 11-20 10:00:30 [multiproc_executor.py:953] "
            rows = ["WorkerProc failed to start.", *traceback(line, "f()", "raise").splitlines()]
            log += "".join(f"{head}{row}\n" for row in rows)
        found = diagnose(io.BytesIO((log + wrapper()).encode()))
        assert found.exception == oom and found.exit_code == 1 and "An issue you can file" not in found.text()


def test_what_one_request_sent_is_no_broken_checkpoint():
    """JSON that is cut off is a damaged file before the server is ready, and somebody's request body after it."""
    body = traceback(
        "json.decoder.JSONDecodeError: Unterminated string starting at: line 1 column 2 (char 1)", "f()", "raise"
    )
    at_start = diagnose(io.BytesIO((START + body + wrapper()).encode()))
    assert at_start.ids == ["S12"] and at_start.exit_code == 1
    later = "(APIServer pid=1) ERROR:    Exception in ASGI application\n" + "".join(
        f"(APIServer pid=1) {row}\n" for row in body.splitlines()
    )
    found = diagnose(io.BytesIO((READY + later).encode()))
    assert found.ids == [] and found.exit_code == 0 and "one request failed" in found.verdict


def test_a_client_that_asks_for_another_model_stops_no_server():
    head = "(APIServer pid=1) ERROR 11-20 10:05:00 [serving.py:300] "
    line = head + "Error with model error=ErrorInfo(message='The model `gpt-4` does not exist.', code=404)\n"
    found = diagnose(io.BytesIO((READY + line).encode()))
    assert found.ids == ["S3"] and found.exit_code == 0 and "the server went on" in found.verdict


def test_a_log_that_ends_before_the_server_is_ready_says_so():
    loading = "Loading safetensors checkpoint shards:  33% Completed | 1/3\n"
    found = diagnose(io.BytesIO((START + loading).encode()))
    assert (
        found.exit_code == 0 and "ends before the server was ready; its last line: Loading safetensors" in found.verdict
    )
    assert diagnose(io.BytesIO(READY.encode())).verdict == "no failure found"
    assert "nothing in it reads like a server's log" in diagnose(ROOT / "README.md").verdict


def test_a_limit_that_is_lower_already_is_not_raised():
    oom = traceback("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.98 GiB.", "f()", "raise") + "\n"
    found = diagnose(io.BytesIO((START + oom + wrapper()).encode()))
    assert found.ids == ["F20"] and "+--max-model-len" not in found.text(), "8,192 is less than what the change sets"


@pytest.mark.parametrize("form", ["gzip", "utf-16", "plain.gz"])
def test_a_log_is_read_whatever_its_form_and_name(tmp_path, form):
    import gzip

    text = START + traceback("torch.OutOfMemoryError: CUDA out of memory. Tried", "f()", "raise") + "\n" + wrapper()
    log = tmp_path / ("log.gz" if form == "plain.gz" else "log.txt")
    log.write_bytes(
        {"gzip": gzip.compress(text.encode()), "utf-16": text.encode("utf-16"), "plain.gz": text.encode()}[form]
    )
    assert diagnose(log).ids == ["F20"]


@pytest.mark.parametrize(("content", "why"), [(b"", "is empty"), (bytes(range(256)) * 64, "is no log")])
@pytest.mark.real
def test_what_is_no_log_is_refused(tmp_path, content, why):
    import subprocess
    import sys

    (tmp_path / "x.log").write_bytes(content)
    argv = [sys.executable, "-m", "helpers.cli", "doctor", str(tmp_path / "x.log")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and why in done.stderr and done.stdout == ""
