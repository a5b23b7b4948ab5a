"""A simulated server: continuous batching, prompts read in parts, requests that arrive in bursts or one after the other."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from maintain.sizing.speed import Layout

BATCHED_TOKENS = 8192  # prompt tokens that a step reads at most: vLLM's --max-num-batched-tokens on these devices
BURSTINESS = 0.25  # shape of the gamma distribution of the gaps, as of `vllm bench serve --burstiness`; 1 is Poisson
SEED = 5


@dataclass
class Request:
    """One request on its way; times in seconds."""

    arrived: float
    to_read: int  # prompt tokens
    to_write: int  # output tokens
    written: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass
class Served:
    """What the simulated server did."""

    done: list[Request] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def tok_s(self) -> float:
        """Output tokens per second."""
        return sum(request.written for request in self.done) / self.seconds

    def tok_s_per_user(self, percent: float) -> float:
        """A percentile of the speeds after the first token: 5 is what all but the slowest twentieth get."""
        speeds = [(one.written - 1) / (one.last - one.first) for one in self.done if one.written > 1]
        return percentile(speeds, percent)


def bursts(rate: float, count: int, inputs: int, outputs: int, burstiness: float = BURSTINESS) -> Iterator[Request]:
    """`count` requests at a mean `rate` per second, the gaps gamma-distributed."""
    draw, now = Random(SEED), 0.0
    for _ in range(count):
        now += draw.gammavariate(burstiness, 1 / (rate * burstiness))
        yield Request(now, inputs, outputs)


def percentile(values: list[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def simulate(layout: Layout, requests: Iterable[Request], most: int = 1024, closed: int = 0) -> Served:
    """Serve the requests on one copy, at most `most` at once. With `closed`, that many clients ask, each its next request
    when the one before has ended, whatever the requests say about their arrival."""
    coming, waiting, running = deque(requests), deque[Request](), list[Request]()
    served, now = Served(), 0.0
    prompt, outputs = (coming[0].to_read, coming[0].to_write) if coming else (1, 1)
    while coming or waiting or running:
        while coming and (len(waiting) + len(running) < closed if closed else coming[0].arrived <= now):
            waiting.append(coming.popleft())
            waiting[-1].arrived = now if closed else waiting[-1].arrived
        if not (waiting or running):
            now = coming[0].arrived
            continue
        room, read = BATCHED_TOKENS, 0
        while waiting and room and len(running) < most:
            taken = min(room, waiting[0].to_read)
            waiting[0].to_read -= taken
            room, read = room - taken, read + taken
            if not waiting[0].to_read:
                running.append(waiting.popleft())
        now += layout.step_ms(len(running), prompt + outputs / 2, read, prompt) / 1e3
        for request in running:
            request.written += 1
            request.first = request.first or now
            request.last = now
        served.done += [request for request in running if request.written >= request.to_write]
        running = [request for request in running if request.written < request.to_write]
    served.seconds = now
    return served
