"""A process with `/health`, a line of `/metrics` and two children: for tests of what is watched, not of what answers.

Arguments: `--port N`, then any of: `stubborn` (children ignore SIGTERM), `slow` (healthy after 2 s),
`crash` (a traceback and exit code 3 before it is healthy), `named` (a POST is answered with its port, after the seconds that
its `prompt` says, and `/metrics` counts those it still owes). Like vLLM it wants the key of VLLM_API_KEY below `/v1`.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

CHILD = "import signal, time\nif {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"


class Health(http.server.BaseHTTPRequestHandler):
    owed, finished, lock = 0, 0, threading.Lock()

    def do_GET(self) -> None:
        if self.refused():
            return
        self.send_response(200 if self.path in ("/health", "/metrics", "/v1/models") else 404)
        self.end_headers()
        if self.path == "/metrics":
            running = Health.owed if "named" in sys.argv else 2
            page = f"vllm:num_requests_running {running}.0\nvllm:num_requests_waiting 0.0\n"
            self.wfile.write(
                f'{page}vllm:request_success_total{{finished_reason="stop"}} {Health.finished}.0\n'.encode()
            )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        # A router asks every replica for a prompt's tokens; without, it takes the text.
        if self.path.endswith(("/render", "/tokenize")):
            return self.send_error(404)
        with self.lock:
            Health.owed += 1
        time.sleep(float(body["prompt"]) if str(body.get("prompt", "?"))[0].isdigit() else 0)
        with self.lock:
            Health.owed, Health.finished = Health.owed - 1, Health.finished + 1
        self.send_response(200 if "named" in sys.argv else 404)
        self.end_headers()
        self.wfile.write(str(self.server.server_port).encode())

    def refused(self) -> bool:
        key = os.environ.get("VLLM_API_KEY")
        wrong = bool(key) and self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {key}"
        if wrong:
            self.send_error(401)
        return wrong

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    words = sys.argv[1:]
    print("INFO non-default args: a test server", flush=True)
    if "crash" in words:
        raise ValueError("the weights are made of chalk")
    for _ in range(2):
        subprocess.Popen([sys.executable, "-c", CHILD.format(stubborn="stubborn" in words)])
    if "slow" in words:
        time.sleep(2)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Health)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
