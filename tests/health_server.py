"""A process with `/health`, a line of `/metrics` and two children: for tests of what is watched, not of what answers.

Arguments: `--port N`, then any of: `stubborn` (children ignore SIGTERM), `slow` (healthy after 2 s),
`crash` (a traceback and exit code 3 before it is healthy), `named` (a POST is answered with its port).
"""

import http.server
import signal
import subprocess
import sys
import time

CHILD = "import signal, time\nif {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/health", "/metrics") else 404)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(b"vllm:num_requests_running 2.0\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if "named" in sys.argv else 404)
        self.end_headers()
        self.wfile.write(str(self.server.server_port).encode())

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
