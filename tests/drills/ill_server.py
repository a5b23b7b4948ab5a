"""A server that misbehaves, for drills: `--port N MODE [WORD ...]`.

Modes: `e500` (every answer is a 500), `hang` (accepts and never answers), `cut` (closes in the middle of a
stream, `/health` is well), `short` (ends a stream in order, but before its last chunk), `garbage` (no HTTP), `stuck`
(never listens), `bye` (exits with 0 at once), `flood` (40 MB of log before it is well), `family` (ends when its child
ends, as vLLM's API server does with its engine).
"""

import http.server
import json
import signal
import subprocess
import sys
import threading
import time

LINE = "INFO 11-22 12:00:00 [core.py:1] " + "the same words again " * 4
CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-oss-nano",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "half"}, "finish_reason": None}],
}


class Answer(http.server.BaseHTTPRequestHandler):
    mode = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.mode == "hang":
            time.sleep(600)
        if self.mode == "garbage":
            self.wfile.write(b"\x00\x01 this is no HTTP \xff\r\n\r\n")
            self.close_connection = True
            return
        if self.mode == "e500":
            return self.reply(500, b'{"error": {"message": "the engine is gone", "code": 500}}')
        if self.mode in ("cut", "short") and self.command == "POST":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            data = f"data: {json.dumps(CHUNK)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            if self.mode == "short":
                self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
            self.close_connection = True
            return
        if self.path.endswith("/models"):
            body = json.dumps({"object": "list", "data": [{"id": "gpt-oss-nano", "max_model_len": 4096}]})
            return self.reply(200, body.encode())
        if self.path.endswith("/version"):
            return self.reply(200, b'{"version": "0.0"}')
        self.reply(200 if self.path == "/health" else 404, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def reply(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    words = sys.argv[1:]
    port, mode = int(words[words.index("--port") + 1]), words[words.index("--port") + 2]
    print("INFO non-default args: an ill server", flush=True)
    if mode == "bye":
        return
    if mode == "stuck":
        time.sleep(600)
    if mode == "flood":
        for _ in range(400):
            sys.stdout.write((LINE + "\n") * 850)
    Answer.mode = mode
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if mode == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        threading.Thread(target=lambda: (child.wait(), server.shutdown()), daemon=True).start()
    server.serve_forever()
    sys.exit(1)


if __name__ == "__main__":
    main()
