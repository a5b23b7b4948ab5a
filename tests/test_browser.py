"""JupyterLab in a real browser: the panel from its first picture to a stopped server, the CPU page, the built site."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from lab import Lab, Window, lab, window

from helpers.paths import NOTEBOOKS, ROOT

READY_MS, ANSWER_MS, SHOWN_MS = 240_000, 60_000, 20_000
STOPPED = re.compile(r"tools\.stopped +✓")  # the last line of `run.stop()`: the tool servers end after vLLM


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


def panel_of(win: Window):
    """The panel on show, scrolled to."""
    panel = win.page.locator(".jp-OutputArea-output .widget-tab").first
    panel.wait_for(timeout=90_000)
    panel.scroll_into_view_if_needed()
    return panel


def tab(win: Window, name: str) -> None:
    win.page.get_by_role("tab", name=name, exact=True).click()


def press(win: Window, name: str) -> None:
    win.page.get_by_role("button", name=name, exact=True).click()


def reads(win: Window, text: str, timeout: float = SHOWN_MS) -> None:
    """Wait until the panel shows a text."""
    win.page.locator(".widget-tab").get_by_text(re.compile(text)).first.wait_for(timeout=timeout)


def barriers(win: Window, within: str = "body") -> list[str]:
    """What keeps people out who read by ear, by keyboard or with little contrast: axe's serious rules that are broken.

    Left out within the panel: ipywidgets gives a slider's handle no name. It takes keys, as the number beside it does.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {
        "resultTypes": ["violations"],
        "preload": False,
        "rules": {"aria-input-field-name": {"enabled": within == "body"}},
    }
    found = Axe().run(win.page, context={"include": [[within]]}, options=options).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    return [f"{rule['id']}: {node['html'][:160]}" for rule in serious for node in rule["nodes"]]


def launch(win: Window, until: str, port: int = 0) -> None:
    """Press Launch on a port, a free one unless it is given, and wait for what the panel then says."""
    field = win.page.get_by_label("port", exact=True)
    field.fill(str(port))
    field.press("Enter")
    press(win, "Launch")
    reads(win, until, READY_MS)


@pytest.mark.real
def test_the_panel_opens_and_follows_a_choice(running_lab: Lab) -> None:
    with window(width=1100) as win:
        win.run_all(running_lab.notebook("start_here.ipynb"))
        panel = panel_of(win)
        win.page.get_by_label("target", exact=True).select_option(label="NVIDIA H200")
        command = panel.locator(".cb-code").first
        command.get_by_text("vllm serve openai/gpt-oss-120b").wait_for()
        impossible = win.page.get_by_role("button", name="gpt-oss-nano", exact=True)
        assert impossible.is_disabled() and "allowed on h200" in impossible.get_attribute("title")
        assert win.page.get_by_role("button", name="Launch", exact=True).is_disabled()
        before = panel.get_by_role("img").first.get_attribute("aria-label")
        win.page.get_by_label("target", exact=True).focus()
        for _ in range(40):  # without a mouse: from the picker of the target to a button of another row
            win.page.keyboard.press("Tab")
            if win.page.evaluate("document.activeElement.textContent.trim()") == "4":
                break
        win.page.keyboard.press("Enter")
        command.get_by_text("--tensor-parallel-size 4").wait_for()
        assert panel.get_by_role("img").first.get_attribute("aria-label") != before, "the memory moves with the choice"
        win.picture("panel", panel)
        tab(win, "Kubernetes")
        panel.get_by_text("kind: Deployment").first.wait_for()
        tab(win, "Explore")
        panel.locator("img").first.wait_for()
        reads(win, "tok/s per user or more")
        records = win.page.get_by_label("records", exact=True)
        listed = records.locator("option")
        newest: dict[str, int] = {}  # of each tensor-parallel size: the list begins with the newest record
        for n, one in enumerate(listed.all_inner_texts()):
            if found := re.match(r"h200\s+gpt-oss-120b\s+(TP\d)", one):
                newest.setdefault(found[1], n)
        records.select_option(index=list(newest.values()))
        reads(win, "0.0 tok/s per user or more: TP2, throughput")
        track = panel.locator(".noUi-base").first
        track.click(position={"x": 0.3 * track.bounding_box()["width"], "y": 2})
        reads(win, r"[1-9][\d.]+ tok/s per user or more: TP4")
        panel.locator("pre:visible", has_text="vllm serve").first.wait_for()
        win.picture("explore", panel)
        tab(win, "Size")
        reads(win, "gpt-oss-120b: 500 in flight")
        row = panel.get_by_role("row", name=re.compile("^h200 "))
        before = row.inner_text()
        win.page.get_by_label("users", exact=True).fill("5000")
        win.page.get_by_label("users", exact=True).press("Enter")
        reads(win, "gpt-oss-120b: 5000 in flight")
        assert row.inner_text() != before, "ten times the users want other GPUs"
        win.picture("size", panel)
        for name in ("Serve", "Chat", "Explore", "Size"):
            tab(win, name)
            assert barriers(win, ".widget-tab") == [], name
        assert win.errors == []
        assert win.page.locator(".Toastify__toast").all_inner_texts() == [], "Lab asks nothing of who opens it first"


@pytest.mark.full
def test_launch_chat_with_a_tool_restart_the_kernel_and_stop(interpreter: Path, running_lab: Lab) -> None:
    from playwright.sync_api import expect

    with window(width=1100, height=1300) as win:
        win.run_all(running_lab.notebook("start_here.ipynb"))
        panel = panel_of(win)
        launch(win, "starting: .*imports")
        reads(win, "ready: gpt-oss-nano answers", READY_MS)
        reads(win, "output tok/s")
        win.picture("panel-ready", panel)
        tab(win, "Chat")
        win.page.get_by_label("tools", exact=True).select_option(label="functions: get_weather, add")
        temperature = win.page.get_by_label("temperature", exact=True)
        assert temperature.input_value() == "the model's", "what is chosen is on show"
        temperature.select_option(index=1)
        win.page.get_by_label("you", exact=True).fill("What is the weather in Paris?")
        press(win, "Ask")
        reads(win, "called get_weather", ANSWER_MS)
        reads(win, r"\d+ tokens", ANSWER_MS)
        answer = panel.locator(".cb-model").last
        expect(answer.locator(".cb-words").last).to_contain_text("18", timeout=ANSWER_MS)  # it streams
        counted = re.compile(r"TTFT [\d,]+ ms · [\d.,]+ tok/s · \d+ tokens")
        expect(answer).to_contain_text(counted, timeout=ANSWER_MS)
        assert not answer.locator("details").first.evaluate("one => one.open"), "reasoning is folded"
        press(win, "Show the code")
        reads(win, "tools = Toolbox")
        win.picture("chat", panel)
        before = {lease["id"] for lease in running_lab.servers()}
        win.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        win.page.get_by_text("Restart Kernel and Run All Cells…", exact=True).click()
        win.page.locator(".jp-Dialog .jp-mod-accept").click()
        panel.wait_for(state="detached")
        panel_of(win)
        reads(win, "ready: gpt-oss-nano answers", 90_000)
        assert {lease["id"] for lease in running_lab.servers()} == before, "the same servers"
        press(win, "Stop")
        reads(win, "stopped: port", ANSWER_MS)
        assert running_lab.servers() == [], "the server and its tools are gone"
        assert win.errors == []


@pytest.mark.full
def test_a_launch_that_fails_says_why_and_leaves_nothing(interpreter: Path, running_lab: Lab) -> None:
    """First a port that is taken, which preflight sees; then a file that only vLLM opens: the doctor reads its log."""
    with window(width=1100, height=1300) as win, socket.create_server(("127.0.0.1", 0)) as taken:
        spoilt = nbformat.read(NOTEBOOKS / "start_here.ipynb", as_version=4)
        for cell in spoilt.cells:
            if "panel" in cell.metadata.get("tags", []):
                cell.source = f"import os\n\nos.environ['VLLM_LOGGING_CONFIG_PATH'] = '/nowhere.json'\n{cell.source}"
        nbformat.write(spoilt, running_lab.folder / "notebooks" / "spoilt.ipynb")
        win.run_all(running_lab.notebook("spoilt.ipynb"))
        panel = panel_of(win)
        port = taken.getsockname()[1]
        launch(win, f"not ready for cpu.* Port.* {port} held by pid", port)
        launch(win, "What the doctor reads in the log")
        reads(win, "Could not load logging config")
        win.picture("launch-failed", panel)
        assert running_lab.servers() == [], "no server, and no tool server that nobody uses"
        assert win.errors == []


@pytest.mark.full
def test_run_all_of_the_cpu_page_reaches_its_end(interpreter: Path, running_lab: Lab) -> None:
    with window() as win:
        win.run_all(running_lab.notebook("targets/cpu.ipynb"))
        last = win.page.get_by_text(STOPPED).last
        last.wait_for(timeout=400_000)
        assert running_lab.servers() == [] and win.page.locator(".jp-RenderedText[data-mime-type*=stderr]").count() == 0
        last.scroll_into_view_if_needed()
        win.picture("cpu-page-end")
        assert win.errors == []


@pytest.mark.full
def test_a_sweep_can_be_interrupted_and_the_server_stopped(interpreter: Path, running_lab: Lab) -> None:
    """The CPU page's cells on the way to its sweep, and its stop: the contracts between them are another test's."""
    page = nbformat.read(NOTEBOOKS / "targets" / "cpu.ipynb", as_version=4)
    way = re.compile(r"run = start|run\.(install|weights|tools|launch|sweep|stop)\(")
    page.cells = [
        cell
        for cell in page.cells
        if cell.cell_type == "code" and (way.search(cell.source) or "parameters" in cell.metadata.get("tags", []))
    ]
    nbformat.write(page, running_lab.folder / "notebooks" / "targets" / "sweep.ipynb")
    with window() as win:
        win.run_all(running_lab.notebook("targets/sweep.ipynb"))
        sweep = win.page.locator(".jp-CodeCell", has_text="points = run.sweep()")
        sweep.get_by_text(re.compile(r"load: +\d+%")).first.wait_for(timeout=400_000)  # the bar below the cell
        sweep.get_by_text(re.compile("concurrency +1 ")).first.wait_for(timeout=60_000)
        win.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        win.page.get_by_text("Interrupt Kernel", exact=True).click()
        sweep.get_by_text("KeyboardInterrupt").first.wait_for(timeout=60_000)
        assert running_lab.servers(), "an interrupted cell ends no server"
        cell = win.page.locator(".jp-CodeCell", has_text="run.stop()").last
        cell.locator(".cm-content").click()
        win.page.keyboard.press("Control+Enter")
        cell.get_by_text(STOPPED).wait_for(timeout=60_000)
        assert running_lab.servers() == []


@pytest.mark.full
def test_the_site_is_whole_and_its_builder_copies_the_right_command(tmp_path: Path, cli) -> None:
    out = tmp_path / "site"
    words = [sys.executable, "-m", "maintain.site.build", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    with window() as win:
        win.page.goto(f"file://{out}/builder.html")
        win.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        win.page.get_by_label("target", exact=True).select_option("h100")
        win.page.get_by_label("model", exact=True).select_option("gpt-oss-20b")
        win.page.get_by_label("profile", exact=True).select_option("latency")
        win.page.get_by_role("button", name="docker", exact=True).click()
        win.page.get_by_role("button", name="Copy", exact=True).click()
        win.page.get_by_text("copied").wait_for()
        words = ["command", "h100", "--model", "gpt-oss-20b", "--profile", "latency", "--format", "docker"]
        assert win.page.evaluate("navigator.clipboard.readText()") == cli(*words).stdout.rstrip("\n")
        win.picture("site-builder")
        for page, scheme in (("builder", "light"), ("index", "dark"), ("notebooks/targets/cpu", "dark")):
            win.page.emulate_media(color_scheme=scheme)
            win.page.goto(f"file://{out}/{page}.html")
            assert barriers(win) == [], (page, scheme)
        win.page.goto(f"file://{out}/search.html?q=replicas")
        win.page.locator("#search-results li").first.wait_for()
        assert win.errors == []


@pytest.mark.full
def test_the_site_names_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    from maintain.site.build import broken

    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">x</a><a href="#gone">y</a><a href="b.html">z</a></p>'
    )
    assert broken(tmp_path) == ["a.html -> #gone", "a.html -> b.html"]
