"""Requests on their way: alone, twenty at once, or left in the middle; and what came back."""

import asyncio
import random
import time
from dataclasses import dataclass

import httpx

from helpers.keys import authorised
from hunt.request import Request

AT_ONCE = 20
HANG_S = 60.0  # a request that takes longer hangs
KEEP_S = 2.0  # the server closes an idle connection after 5 s (uvicorn): one that is used again just then fails
KEPT = 200_000  # bytes of an answer that are looked at


@dataclass(frozen=True)
class Outcome:
    """What became of a request: `status` 0 where no answer came, and `lost` says why."""

    request: Request
    status: int
    seconds: float
    kind: str = ""  # content type
    text: str = ""
    lost: str = ""
    cancelled: bool = False
    response: httpx.Response | None = None


async def send(client: httpx.AsyncClient, request: Request, leave_after: float | None = None) -> Outcome:
    """One request; with `leave_after` (seconds) the client goes away then, whatever has come.

    A connection that the server closed after the answer before is not held against it: the request is sent once more.
    """
    began = time.monotonic()
    took = lambda: time.monotonic() - began  # noqa: E731
    headers = {"Content-Type": "application/json"} if request.body is not None else {}
    ask = lambda: client.request(request.method, request.path, content=request.content(), headers=headers)  # noqa: E731
    try:
        async with asyncio.timeout(HANG_S if leave_after is None else leave_after):
            try:
                reply = await ask()
            except (httpx.ReadError, httpx.RemoteProtocolError):
                reply = await ask()
    except TimeoutError:
        left = leave_after is not None
        return Outcome(request, 0, took(), lost="" if left else f"no answer within {HANG_S:.0f} s", cancelled=left)
    except httpx.HTTPError as error:
        return Outcome(request, 0, took(), lost=f"{type(error).__name__}: {error}"[:200])
    kind = reply.headers.get("content-type", "").split(";")[0]
    return Outcome(
        request, reply.status_code, took(), kind, reply.content[:KEPT].decode(errors="replace"), response=reply
    )


async def _sent(base_url: str, batch: list[Request], mode: str, seed: int) -> list[Outcome]:
    chance, gate = random.Random(seed), asyncio.Semaphore(1 if mode == "alone" else AT_ONCE)
    limits = httpx.Limits(max_connections=2 * AT_ONCE, keepalive_expiry=KEEP_S)
    async with httpx.AsyncClient(base_url=base_url, headers=authorised(), timeout=None, limits=limits) as client:

        async def one(request: Request, leave_after: float | None) -> Outcome:
            async with gate:
                return await send(client, request, leave_after)

        leave = [chance.choice((0.01, 0.05, 0.2, 0.5, 1.0)) if mode == "cancelled" else None for _ in batch]
        return await asyncio.gather(*(one(*pair) for pair in zip(batch, leave, strict=True)))


def sent(base_url: str, batch: list[Request], mode: str, seed: int = 0) -> list[Outcome]:
    """Every outcome, in the order of the batch; `mode` is one of hunt.drawing.draw.MODES, `seed` says when clients go away."""
    return asyncio.run(_sent(base_url, batch, mode, seed))
