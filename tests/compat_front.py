"""The middleware of helpers/instack/compat in front of a server that runs already, and what went in and out of it."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import uvicorn

from helpers.instack.compat import Compatibility

HOP = (b"host", b"content-length", b"transfer-encoding", b"connection")


@dataclass
class Passage:
    """One request as it came and as it went on, its answer as it came back and as it went out."""

    path: str
    came: bytes = b""
    went_on: bytes = b""
    headers_on: list = field(default_factory=list)
    back: list[dict] = field(default_factory=list)
    out: list[dict] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        return any(name == b"x-compat" for name, _ in self.out[0]["headers"])


class Front:
    """An ASGI application: a recorder, the middleware, a recorder, and the server."""

    def __init__(self, base_url: str):
        self.base_url, self.passages, self.compat = base_url, [], Compatibility(self._inner)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        passage = Passage(scope["path"])
        self.passages.append(passage)

        async def heard():
            message = await receive()
            passage.came += message.get("body", b"")
            return message

        async def told(message):
            passage.out.append(message)
            await send(message)

        await self.compat(scope | {"passage": passage}, heard, told)

    async def _inner(self, scope, receive, send):
        passage, body, more = scope["passage"], b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        passage.went_on = body
        headers = [(name, value) for name, value in scope["headers"] if name not in HOP]

        async def back(message):
            passage.back.append(message)
            await send(message)

        url = self.base_url + scope["path"] + ("?" + scope["query_string"].decode()) * bool(scope["query_string"])
        async with (
            httpx.AsyncClient(timeout=120) as client,
            client.stream(scope["method"], url, content=body, headers=headers) as reply,
        ):
            kept = [(name.lower(), value) for name, value in reply.headers.raw if name.lower() not in HOP[2:]]
            await back({"type": "http.response.start", "status": reply.status_code, "headers": kept})
            async for chunk in reply.aiter_raw():
                await back({"type": "http.response.body", "body": chunk, "more_body": True})
            await back({"type": "http.response.body", "body": b"", "more_body": False})


@contextlib.contextmanager
def front_of(base_url: str) -> Iterator[tuple[str, list[Passage]]]:
    """(address, passages) of the middleware in front of a server, served by a thread."""
    front = Front(base_url)
    config = uvicorn.Config(front, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", front.passages
    finally:
        server.should_exit = True
        thread.join(10)
