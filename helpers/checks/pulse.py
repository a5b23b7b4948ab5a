"""Whether a server that many requests wait for is still of any use.

Only the standard library and httpx: the workbench and the evaluations' stack both import it.
"""

import threading
import time

import httpx


class Pulse:
    """Watches the server: `gone()` says why it is of no use any more, or ''.

    It is gone when `/health` has not answered well for `PATIENCE_S`, or when it generates nothing while
    requests wait: vLLM's `/metrics` count tokens; where there are none, a small request of our own is tried.
    """

    PATIENCE_S, STALL_S, QUIET_S, PROBE_S, EVERY_S = 35.0, 40.0, 20.0, 15.0, 3.0

    def __init__(self, base_url: str, model: str, api_key: str):
        self.base_url, self.model = base_url.rstrip("/"), model
        self.root = self.base_url.removesuffix("/v1")
        self.well = self.moved = time.monotonic()  # `moved` is also set by whoever receives a sample
        self.count: float | None = None
        self.why = self.stalled = ""
        self.http = httpx.Client(timeout=8, headers={"Authorization": f"Bearer {api_key}"})
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                code = self.http.get(self.root + "/health").status_code
                if code in (200, 404):  # 404: not vLLM, but alive
                    self.well, self.why = time.monotonic(), ""
                else:
                    self.why = f"/health says {code}"
                self._progress()
            except (httpx.HTTPError, OSError, ValueError) as error:
                self.why = f"/health: {type(error).__name__} {error}".strip()
            self._ended.wait(max(0.0, self.EVERY_S - (time.monotonic() - began)))
        self.http.close()

    def _progress(self) -> None:
        reply = self.http.get(self.root + "/metrics")
        names = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
        counts = [float(line.rsplit(" ", 1)[1]) for line in reply.text.splitlines() if line.startswith(names)]
        if counts and reply.status_code == 200:
            if sum(counts) != self.count:
                self.moved = time.monotonic()
            self.count = sum(counts)
            quiet = time.monotonic() - self.moved
            self.stalled = f"it has generated nothing for {quiet:.0f} s" if quiet > self.STALL_S else ""
        elif time.monotonic() - self.moved > self.QUIET_S:
            self._probe()

    def _probe(self) -> None:
        body = {"model": self.model, "messages": [{"role": "user", "content": "What is 2 + 2?"}], "max_tokens": 8}
        try:
            self.http.post(self.base_url + "/chat/completions", json=body, timeout=self.PROBE_S)
            self.moved, self.stalled = time.monotonic(), ""
        except httpx.HTTPError as error:
            quiet = time.monotonic() - self.moved
            self.stalled = f"it has answered nothing for {quiet:.0f} s, nor a small request ({type(error).__name__})"

    def gone(self) -> str:
        """Why the server cannot be used any more, or ''."""
        silent = time.monotonic() - self.well
        if silent > self.PATIENCE_S:
            return f"it has not answered for {silent:.0f} s ({self.why})"
        return self.stalled
