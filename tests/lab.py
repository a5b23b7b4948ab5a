"""A real `jupyter lab` and Debian's Chromium for tests: notebooks copied, a token, loopback, leases and runs of its own.

Playwright's own context is used, not pytest-playwright's session-long one: its event loop would stay in the main thread, where
later tests call `asyncio.run`.
"""

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.paths import CACHE, NOTEBOOKS, ROOT, RUNS
from helpers.server import free_port

CHROMIUM = os.environ.get("COOKBOOK_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "no Chromium: run `apt-get install -y chromium`, or set COOKBOOK_CHROMIUM to a browser built from it"
PICTURES = RUNS / "browser"  # what the tests saw, newest run only
# What Chromium or Lab itself say on a healthy page.
HARMLESS = re.compile(r"favicon|ResizeObserver loop")


@dataclass
class Lab:
    """A running Lab: its address, token, folder, and what its environment adds."""

    url: str
    token: str
    folder: Path
    env: dict[str, str]

    def servers(self) -> list[dict]:
        """The leases of the servers that run, tool servers included."""
        return [json.loads(path.read_text()) for path in (self.folder / "cache" / "leases").glob("*.json")]

    def notebook(self, path: str) -> str:
        """The address of a notebook below `notebooks/`, in a workspace of its own."""
        return f"{self.url}/lab/workspaces/w{secrets.token_hex(3)}/tree/notebooks/{path}?token={self.token}"


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """Start Lab on copies of the notebooks; it ends with the block, and its kernels with it."""
    shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns("kernel-*"))  # sockets of other runs
    shutil.copytree(ROOT / "docs" / "img", folder / "docs" / "img")
    cache = folder / "cache"  # leases of its own: a server that other tests share is not attached to
    (CACHE / "models").mkdir(parents=True, exist_ok=True)
    cache.mkdir()
    (cache / "models").symlink_to(CACHE / "models")
    port, token = free_port(), secrets.token_hex(8)
    own = {"COOKBOOK_CACHE": str(cache), "COOKBOOK_RUNS": str(folder / "runs"), "JUPYTER_PREFER_ENV_PATH": "1"}
    own |= {
        name: str(folder / where)
        for name, where in (("JUPYTER_CONFIG_DIR", "config"), ("JUPYTER_RUNTIME_DIR", "runtime"))
    }
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    words = made("lab", f"--no-browser --port={port} --IdentityProvider.token={token} --ServerApp.port_retries=0")
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env=os.environ | own)
    try:
        url = f"http://127.0.0.1:{port}"
        answers(f"{url}/api/status?token={token}", server)
        yield Lab(url, token, folder, own)
    finally:
        server.terminate()
        server.wait(30)
        stop = [sys.executable, "-m", "helpers.cli", "stop"]  # the panel's servers outlive their kernels
        subprocess.run(stop, cwd=ROOT, env=os.environ | own, timeout=60, check=True, stdout=subprocess.DEVNULL)


def made(goal: str, args: str) -> list[str]:
    """The last command of `make GOAL ARGS=...`, so that tests run what a reader runs."""
    words = ["make", "-n", "--no-print-directory", goal, f"BIN={Path(sys.executable).parent}", f"ARGS={args}"]
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }  # `make test` is one itself
    said = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=30).stdout
    return shlex.split(said.splitlines()[-1])


def answers(url: str, server: subprocess.Popen, seconds: float = 60) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).read()
            return
        time.sleep(0.2)
    raise AssertionError(f"jupyter lab did not answer within {seconds:.0f} s")


@dataclass
class Window:
    """A page of the browser and the errors that its console showed."""

    page: object
    errors: list[str] = field(default_factory=list)

    def picture(self, name: str, of: object = None) -> Path:
        """Keep what is on show, or one part of it, as `runs/browser/NAME.png`."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        size = self.page.viewport_size
        if of:  # a part is seen whole in a window that holds it
            self.page.set_viewport_size({"width": size["width"], "height": int(of.bounding_box()["height"]) + 300})
            of.scroll_into_view_if_needed()
        (of or self.page).screenshot(path=path)
        self.page.set_viewport_size(size)
        return path

    def run_all(self, address: str) -> None:
        """Open a notebook, wait for its kernel, run every cell."""
        self.page.goto(address)
        self.page.get_by_text("| Idle").wait_for(timeout=90_000)
        self.page.keyboard.press("Control+b")  # the file browser makes room
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_text("Run All Cells", exact=True).click()


@contextlib.contextmanager
def window(width: int = 1360, height: int = 1000, dark: bool = False) -> Iterator[Window]:
    """A fresh page of Chromium. Where there is none the test is skipped, or fails with COOKBOOK_BROWSER=needed."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("COOKBOOK_BROWSER") == "needed" else pytest.skip)(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        found = Window(page)

        def heard(kind: str, text: str) -> None:
            if kind == "error" and not HARMLESS.search(text):
                found.errors.append(text)

        page.on("console", lambda message: heard(message.type, f"{message.text} ({message.location.get('url')})"))
        page.on("pageerror", lambda error: heard("error", str(error)))
        yield found
        browser.close()
