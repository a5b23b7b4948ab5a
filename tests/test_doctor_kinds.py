"""Six kinds of logs whose first cause is easily missed: native aborts, long messages, warnings that led to it, hangs."""

import io

import pytest

from helpers.doctor import Diagnosis, diagnose

CORE = "(EngineCore pid=7) ERROR 11-22 14:05:14 [core.py:1510] "
START = """\
(APIServer pid=1) INFO 11-20 10:00:00 [api.py:286] non-default args: {'model_tag': 'openai/gpt-oss-20b'}
(EngineCore pid=7) INFO 11-20 10:00:10 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='gpt-oss-20b'
"""
READY = (
    START
    + "(APIServer pid=1) INFO:     Started server process [1]\n(APIServer pid=1) INFO:     Application startup complete.\n"
)
WRAPPER = (
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
)


def traceback(*lines: str, prefix: str = CORE) -> str:
    rows = ["Traceback (most recent call last):", '  File "/opt/vllm/x.py", line 3, in f', "    raise it", *lines]
    return "".join(f"{prefix}{row}\n" for row in rows)


def judged(text: str) -> Diagnosis:
    return diagnose(io.BytesIO(text.encode()))


NATIVE = {
    "a memory fault of a HIP kernel": (
        "Memory access fault by GPU node-5 (Agent handle: 0x55) on address 0x7f00. Reason: Unknown.",
        "RuntimeError: cancelled",
    ),
    "a queue that the ROCm runtime gave up": (
        ":0:rocdevice.cpp :3020: 1us: Queue 0x7f aborting with error : HSA_STATUS_ERROR_EXCEPTION: code: 0x1016",
        "RuntimeError: cancelled",
    ),
    "a CUDA error that C++ printed": (
        "Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:453 'invalid argument'",
        "Exception: WorkerProc initialization failed due to an exception. See stack trace for root cause.",
    ),
    "a compiler before the error of its caller": (
        "/tmp/tmpx/launcher.c:3:10: fatal error: stdint2.h: No such file or directory",
        "torch._inductor.exc.InductorError: CalledProcessError: Command '['gcc', 'launcher.c']' returned non-zero exit status 1.",
    ),
    "nvcc below ninja": (
        "nvcc fatal   : Unknown option '--generate-line-infos'",
        "RuntimeError: Ninja build failed. Ninja output:",
    ),
    "the allocator of the C library": ("free(): invalid next size (normal)", "RuntimeError: cancelled"),
    "a panic of a Rust library": ("thread '<unnamed>' panicked at src/lib.rs:10:5:", "RuntimeError: cancelled"),
}


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_abort_is_the_cause_and_what_the_engine_saw_is_not(name):
    line, consequence = NATIVE[name]
    for prefix in ("", "(Worker_TP1 pid=9) "):
        found = judged(
            f"{START}{prefix}{line}\n" + CORE + "EngineCore failed to start.\n" + traceback(consequence) + WRAPPER
        )
        assert found.exception.splitlines()[0] == line and found.fatal
    assert judged(f"{START}INFO 11-20 10:01:00 [logger.py:41] Received request x: prompt: '{line}'\n").exit_code == 0


def test_a_compiler_error_that_a_server_outlived_is_no_failure():
    line = "/tmp/x.c:3:10: fatal error: numa.h: No such file or directory\n"
    ready = READY.removeprefix(START)
    assert judged(START + line).fatal and not judged(START + line + ready).fatal
    logged = traceback("ImportError: no fast kernels", prefix="(EngineCore pid=7) ERROR 11-20 10:00:20 [x.py:1] ")
    assert judged(START + logged).fatal
    found = judged(START + logged + ready)
    assert not found.fatal and found.exception is None


def test_a_container_that_never_started():
    daemon = (
        "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: runc create failed: unable to start container process: error during container init"
    )
    told = "nvidia-container-cli: ldcache error: process /sbin/ldconfig failed with error code: 1: unknown"
    assert judged(f"$ docker compose up\n{daemon}\n").exception == daemon
    found = judged(f"$ docker compose up\n{daemon}\n{told}\nvllm-1 exited with code 128\n$ nvidia-smi\n")
    assert found.fatal and found.exception == told
    inline = f"docker: {daemon}: {told}"
    assert judged(inline + "\n").exception == inline


@pytest.mark.parametrize(
    "wrapper",
    [
        "RuntimeError: cancelled",
        "RuntimeError: Error raised in subprocess:",
        "ValueError: Model architectures ['GptOssForCausalLM'] failed to be inspected. Please check the logs for more details.",
        "subprocess.CalledProcessError: Command '['/opt/venv/bin/python', '-m', 'x']' returned non-zero exit status 1.",
    ],
)
def test_wrappers_are_named_only_where_nothing_else_is(wrapper):
    assert judged(START + traceback(wrapper)).exception == wrapper
    found = judged(START + traceback(wrapper) + traceback("OSError: the cause", prefix="(Worker pid=9) "))
    assert found.exception == "OSError: the cause"


def test_a_traceback_inside_a_message_is_searched():
    """vLLM inspects a model in a process of its own and prints what that wrote to its standard error."""
    inner = "ImportError: libfancy.so.3: cannot open shared object file: No such file or directory"
    rows = [
        "ValueError: the plugin's process said:",
        "/usr/lib/python3.12/runpy.py:128: RuntimeWarning: found in sys.modules",
        "it printed this to its standard error:",
        "Traceback (most recent call last):",
        '  File "<frozen runpy>", line 198, in _run_module_as_main',
        "    import fancy",
        inner,
    ]
    assert judged(START + traceback(*rows) + WRAPPER).exception == inner
    apart = traceback("ValueError: one") + traceback("OSError: another")
    assert judged(START + apart).exception == "ValueError: one"


@pytest.mark.parametrize(
    ("rows", "telling"),
    [
        (
            [
                "triton.compiler.errors.CompilationError: at 1:0:",
                "def kernel(",
                "^",
                'ValueError("type odd8 is not known")',
            ],
            'ValueError("type odd8 is not known")',
        ),
        (
            [
                "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:",
                "AssertionError: odd layout",
                "",
                "Set TORCH_LOGS",
            ],
            "AssertionError: odd layout",
        ),
        (
            ["terminate called after throwing an instance of 'c10::Error'", "  what():  odd state of the allocator"],
            "  what():  odd state of the allocator",
        ),
    ],
    ids=["triton", "inductor", "c++"],
)
def test_the_telling_line_of_a_message_is_shown(rows, telling):
    text = traceback(*rows) if rows[0].startswith("t") and "terminate" not in rows[0] else "\n".join(rows) + "\n"
    found = judged(START + text + WRAPPER)
    assert found.exception == f"{rows[0]}\n{telling}"


def test_a_warning_that_led_to_the_exception_is_its_cause():
    def log(warning: str, exception: str, *between: str) -> Diagnosis:
        gap = "".join(f"(Worker_TP1 pid=9) INFO 11-20 10:00:{n:02} [x.py:1] {row}\n" for n, row in enumerate(between))
        head = "(Worker_TP0 pid=8) ERROR 11-20 10:00:15 [moe.py:33] "
        died = "(Worker_TP1 pid=9) ERROR 11-20 10:00:40 [multiproc_executor.py:671] "
        body = traceback(exception, prefix=died)
        return judged(f"{START}{head}{warning}\n{gap}{died}WorkerProc hit an exception.\n{body}{WRAPPER}")

    warning = "Failed to import Triton kernels. Error: No module named 'triton_kernels.topk'"
    found = log(warning, "NameError: name 'topk' is not defined", *["loading"] * 9)
    assert found.cause.signature.id == "F6" and found.cause.kind == "fatal" and found.fatal
    assert found.exception == f"{warning}\nNameError: name 'topk' is not defined" and found.line == 3
    other = log(warning, "NameError: name 'something_else' is not defined", *["loading"] * 9)
    assert other.cause is None and other.exception == "NameError: name 'something_else' is not defined"
    assert log(warning, "NameError: name 'something_else' is not defined").cause.signature.id == "F6", "just before it"


def test_a_known_failure_of_one_request_ends_no_server():
    head = "(APIServer pid=1) ERROR 11-20 10:05:00 [serving.py:830] "
    failed = (
        head
        + "Error in chat completion stream generator.\n"
        + traceback(
            'openai_harmony.HarmonyError: unexpected tokens remaining in message header: Some("to=functions.x")',
            prefix=head,
        )
    )
    found = judged(
        READY + failed + '(APIServer pid=1) INFO:     10.0.0.7:1 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    )
    assert found.ids == ["F30"] and found.kind == "request" and found.exit_code == 0
    died = judged(READY + failed + CORE + "EngineCore encountered a fatal error.\n" + traceback("RuntimeError: x"))
    assert died.fatal and died.exception == "RuntimeError: x"


def test_a_request_that_failed_is_not_what_ended_the_engine_later():
    failed = "ERROR:    Exception in ASGI application\n"
    failed += traceback("pyo3_runtime.PanicException: called `Result::unwrap()` on an `Err` value", prefix="")
    died = traceback(
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.",
        prefix="(APIServer pid=5) ERROR 11-27 12:22:31 [async_llm.py:906] ",
    )
    alone = judged(READY + failed)
    assert alone.request and not alone.fatal and "PanicException" in alone.exception
    both = judged(READY + failed + died)
    assert both.fatal and "EngineDeadError" in both.exception and both.cause.signature.id == "F23"


def test_a_signature_says_nothing_where_the_server_went_another_way():
    warning = "(EngineCore pid=7) WARNING 11-20 10:00:20 [x.py:1] Failed to import Triton kernels. Error: No module named 'x'\n"
    marlin = "(EngineCore pid=7) INFO 11-20 10:00:19 [mxfp4.py:412] Using 'MARLIN' Mxfp4 MoE backend.\n"
    assert judged(START + warning).ids == ["F6"] and judged(START + marlin + warning).ids == []


def test_of_two_that_fit_the_one_known_from_this_version_explains():
    said = "RuntimeError: FlashInfer requires GPUs with sm75 or higher"
    assert judged(START + traceback(said) + WRAPPER).cause.signature.id == "CU1"


BEAT = (
    "({name} pid={pid}) INFO 11-20 10:{minute:02}:10 [shm_broadcast.py:501] No available shared memory broadcast block found "
    "in 60 seconds. This typically happens when some processes are hanging or doing some time-consuming work.\n"
)
IDLE = '(APIServer pid=1) INFO:     10.0.0.9:1 - "GET /health HTTP/1.1" 200 OK\n'


def beats(count: int, *names: str) -> str:
    rows = (BEAT.format(name=name, pid=place + 7, minute=n) for n in range(count) for place, name in enumerate(names))
    return "".join(rows)


def test_a_log_that_ends_in_ten_minutes_of_heartbeats_is_a_hang():
    for text in (
        beats(10, "EngineCore"),
        beats(10, "Worker_TP0", "Worker_TP1"),
        beats(6, "EngineCore") + IDLE + beats(6, "EngineCore"),
    ):
        found = judged(READY + text + IDLE)
        assert found.fatal and found.cause.signature.id == "NC1" and found.cause.kind == "fatal"
        assert found.exception.startswith("No available shared memory broadcast block") and found.line == 5
    assert judged(START + beats(12, "EngineCore") + "(APIServer pid=1) INFO:     Shutting down\n").fatal, (
        "stopped by hand"
    )


def test_waiting_for_ray_is_a_hang_too():
    said = "(EngineCore pid=7) INFO 11-20 10:00:10 [r.py:2] Waiting for creating a placement group of specs for {} seconds.\n"
    for last, hangs in ((640, True), (320, False)):
        found = judged(START + "".join(said.format(10 * 2**n) for n in range(7) if 10 * 2**n <= last))
        assert found.fatal is hangs and found.ids == ["NC13"]


def test_heartbeats_of_a_server_that_goes_on_are_no_hang():
    more = "(EngineCore pid=7) INFO 11-20 10:20:00 [monitor.py:34] torch.compile takes 700.17 s in total\n"
    for text in (beats(9, "EngineCore"), beats(5, "Worker_TP0", "Worker_TP1"), beats(20, "EngineCore") + more):
        found = judged(START + text)
        assert not found.fatal and found.exception is None and found.ids == ["NC1"]
    died = judged(START + beats(12, "EngineCore") + traceback("ValueError: at last") + WRAPPER)
    assert died.exception == "ValueError: at last"


def test_a_second_start_does_not_hide_what_ended_the_first() -> None:
    """A container that is restarted writes on into the same log."""
    failed = traceback(
        "ValueError: Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization"
    )
    found = judged(START + failed + WRAPPER + READY)
    assert found.ids == ["F22"] and found.fatal


def test_the_end_that_srun_reports_is_not_its_cause() -> None:
    labelled = "".join(f"0: {line}\n" for line in (START + traceback("ValueError: it is made of chalk")).splitlines())
    found = judged(labelled + "srun: error: node1: task 0: Exited with exit code 1\n")
    assert found.exception == "ValueError: it is made of chalk"


def test_what_cmake_said_comes_before_what_pip_made_of_it() -> None:
    log = "  ╰─> [71 lines of output]\n      CMake Error at CMakeLists.txt:14 (project):\n        Running\n"
    found = judged(log + "  ERROR: Failed building wheel for vllm\nERROR: Failed to build installable wheels (vllm)\n")
    assert found.ids == ["IN9"] and "CMake Error at" in (found.exception or "")


@pytest.mark.parametrize(("minutes", "fatal"), [(9, False), (11, True)])
def test_waiting_for_the_engine_for_ten_minutes_is_a_hang(minutes: int, fatal: bool) -> None:
    wait = "(APIServer pid=1) DEBUG 11-20 10:00:20 [utils.py:776] Waiting for 1 local, 0 remote core engine proc(s) to start.\n"
    assert judged(START + wait * (6 * minutes)).fatal is fatal


@pytest.mark.parametrize(
    "line",
    [
        "run.sh: line 3: 77 Killed vllm serve m",
        "kernel: Out of memory: Killed process 77 (vllm)",
        "kernel: vllm invoked oom-killer: gfp_mask=0x1",
        "Reason: OOMKilled",
        "run.sh: line 3: 77 Aborted (core dumped)",
        "exit code -9 (SIGKILL)",
        "rocr: HSA_STATUS_ERROR_OUT_OF_RESOURCES",
        "  × No solution found when resolving dependencies",
        "run.sh: line 3: 77: Segmentation fault",
        "run.sh: line 3: 77: Illegal instruction",
        "run.sh: line 3: 77: Bus error",
        "run.sh: line 3: 77: Aborted",
        "      CMake Error at CMakeLists.txt:14 (project):",
        "bash: vllm: command not found",
        "a.cpp:12: void f(): Assertion `x' failed.",
    ],
)
def test_deaths_that_stand_within_a_line(line: str) -> None:
    """The words by which such lines are chosen hold for every kind of them."""
    assert judged(START + line + "\n").exception is not None
