"""A streaming completions server of known latency: the ruler that our own measurements are held against.

It speaks just enough of `/v1/completions` for a load client and runs no model. Every answer's first token is
sent `--ttft-ms` after the request was read and each further one `--itl-ms` after the one before, at absolute
deadlines, so that lateness does not add up. Standard library only. Used by `benchmarks/` and the tests of the
measurement; nothing in the cookbook itself ever talks to it.
"""

import argparse
import asyncio
import json

END = b"data: [DONE]\n\n"


def chunk(text: str, finish: str | None = None) -> bytes:
    """One server-sent completion event."""
    body = {
        "id": "cmpl-0",
        "object": "text_completion",
        "choices": [{"index": 0, "text": text, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def usage(prompt_tokens: int, completion_tokens: int) -> bytes:
    """The closing event with token counts."""
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    counts["total_tokens"] = prompt_tokens + completion_tokens
    body = {"id": "cmpl-0", "object": "text_completion", "choices": [], "usage": counts}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def framed(payload: bytes) -> bytes:
    """An HTTP/1.1 chunk."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """Path and body of the next request on a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
    return lines[0].split()[1], await reader.readexactly(length) if length else b""


class LatencyServer:
    """Answers with a first token after `ttft` seconds and the others `itl` seconds apart; fails on request.

    The first `bursts` requests get all their tokens at once, as a client sees them that had no core.
    """

    def __init__(self, ttft: float, itl: float, fail_every: int = 0, bursts: int = 0):
        self.ttft, self.itl, self.fail_every, self.bursts, self.requests = ttft, itl, fail_every, bursts, 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one keep-alive connection."""
        try:
            while (request := await read_request(reader)) is not None:
                path, body = request
                if path == "/v1/completions":
                    await self.complete(json.loads(body), writer)
                else:
                    found = path in ("/health", "/v1/models")
                    status = b"200 OK" if found else b"404 Not Found"
                    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def complete(self, request: dict, writer: asyncio.StreamWriter) -> None:
        """Stream one completion at its deadlines."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.requests += 1
        if self.fail_every and self.requests % self.fail_every == 0:
            message = b'{"error": {"message": "failed on purpose", "code": 500}}'
            writer.write(
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message)
            )
            return await writer.drain()
        tokens = int(request["max_tokens"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        frames = [framed(chunk(" a", "length" if index == tokens - 1 else None)) for index in range(tokens)]
        if self.requests <= self.bursts:
            frames = [b"".join(frames)]
        for index, frame in enumerate(frames):
            await asyncio.sleep(began + self.ttft + index * self.itl - loop.time())
            writer.write(frame)
        writer.write(framed(usage(len(str(request["prompt"]).split()), tokens)) + framed(END) + b"0\r\n\r\n")
        await writer.drain()


async def serve(options: argparse.Namespace) -> None:
    """Listen on loopback and say where."""
    server = LatencyServer(options.ttft_ms / 1e3, options.itl_ms / 1e3, options.fail_every, options.bursts)
    listener = await asyncio.start_server(server.connection, "127.0.0.1", options.port, backlog=1024)
    port = listener.sockets[0].getsockname()[1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}"}), flush=True)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft-ms", type=float, default=50)
    parser.add_argument("--itl-ms", type=float, default=10)
    parser.add_argument("--fail-every", type=int, default=0, help="answer every Nth request with an error")
    parser.add_argument("--bursts", type=int, default=0, help="give the first N requests all their tokens at once")
    asyncio.run(serve(parser.parse_args()))
