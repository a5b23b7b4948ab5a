"""A small HTTP server that answers evaluations in many wrong ways: it tries our counting of errors, and is no vLLM."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str, int], str]  # (prompt, number of the request) -> the answer's text, or a wrong way


def solve(prompt: str) -> str:
    """The right answer of an arithmetic question of the embedded set, in the format that its prompt asks for."""
    question = prompt.strip().split("\n")[0]
    numbers = re.findall(r"\d+", question)
    if "sum of" in question:
        value = sum(map(int, numbers))
    elif terms := re.search(r"\d+(?: [+-] \d+)+", question):
        value = eval(terms[0])  # digits, plus and minus, by the expression above
    else:
        value = None
    options = dict(re.findall(r"^\(([A-D])\) (.*)$", prompt, re.M))
    if options:
        letter = next((letter for letter, text in options.items() if text == str(value)), "A")
        return f"Answer: {letter}"
    return f"\\boxed{{{value}}}"


class EvalServer(ThreadingHTTPServer):
    """Serves `model`; `answer` decides about each request: a text, or one of

    400, 404, 500, hang, empty, truncated, garbage (not JSON), reset (the connection is dropped), die (the server ends).
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, answer: Answer, model: str = "gpt-oss-nano", length: int | None = 8192, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.answer, self.model, self.length = answer, model, length
        self.requests: list[dict] = []
        self.dead, self.reason = False, "refused on purpose"
        self.guard = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address) -> None:
        pass  # clients that give up are the point

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self) -> None:
        self.dead = True
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, value, status: int = 200) -> None:
        body = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self):
        if self.server.dead:
            return self.hang_up()
        if self.path == "/v1/models":
            entry = {"id": self.server.model, "object": "model"}
            if self.server.length:
                entry["max_model_len"] = self.server.length
            return self.say({"object": "list", "data": [entry]})
        if self.path == "/version":
            return self.say({"version": "0.0.0-test"})
        return self.say({}, 200 if self.path == "/health" else 404)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("/chat/completions")
        prompt = (body["messages"] if chat else body["input"])[-1]["content"]
        with self.server.guard:
            number = len(self.server.requests)
            self.server.requests.append(body)
        if self.server.dead:
            return self.hang_up()
        what = self.server.answer(prompt, number)
        if what in ("400", "404", "500"):
            return self.say({"error": {"message": f"{self.server.reason} with {what}"}}, int(what))
        if what == "hang":
            time.sleep(600)
        if what == "garbage":
            return self.say("<html>")
        if what in ("reset", "die"):
            if what == "die":
                threading.Thread(target=self.server.end, daemon=True).start()
            return self.hang_up()
        text = "" if what in ("empty", "truncated") else what
        return self.say((chat_reply if chat else response)(self.server.model, text, what == "truncated"))


def response(model: str, text: str, truncated: bool) -> dict:
    """A Responses reply."""
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": model,
        "output": [message] if text else [],
        "status": "incomplete" if truncated else "completed",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "incomplete_details": {"reason": "max_output_tokens"} if truncated else None,
        "usage": {
            "input_tokens": 20,
            "output_tokens": 10,
            "total_tokens": 30,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 4},
        },
    }


def chat_reply(model: str, text: str, truncated: bool) -> dict:
    """A chat completion."""
    choice = {
        "index": 0,
        "finish_reason": "length" if truncated else "stop",
        "message": {"role": "assistant", "content": text or None},
    }
    return {
        "id": "chat_1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }
