"""From users and their speed to GPUs: the cheapest layout of each target, steady and in bursts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from helpers.errors import CookbookError, UsageError
from helpers.paths import RECIPES, shown
from helpers.progress import bar
from helpers.recipes import check_parameters, load_model, load_target, target_names
from helpers.recipes.budget import memory_budget
from maintain.sizing.queueing import BURSTINESS, bursts, simulate
from maintain.sizing.speed import Layout, layouts

PRICES = RECIPES / "prices.yaml"
MOST = 1024  # requests in flight on one copy: vLLM's largest --max-num-seqs by default
COUNTS = sorted({round(1.03**power) for power in range(235)})  # of requests in flight that are tried, 1 to MOST
SIMULATED = 1500  # requests
# column -> whether it holds numbers
COLUMNS = {"target": False, "layout": False, "GPUs": True, "in bursts": True, "in flight": True}
COLUMNS |= {"tok/s user": True, "tok/s GPU": True, "USD/M tokens": True, "speed from": False}
STEP, TRIES = 1.15, 12  # more copies until bursts no longer hurt


@dataclass(frozen=True)
class Demand:
    """What is asked for: requests in flight at once, their lengths in tokens, the speed that each user is to get."""

    users: int
    inputs: int
    outputs: int
    tok_s_per_user: float

    def __str__(self) -> str:
        lengths = f"{self.inputs:,} in, {self.outputs:,} out"
        return f"{self.users} in flight, {lengths}, {self.tok_s_per_user:g} tok/s per user"

    def __post_init__(self) -> None:
        if min(self.users, self.inputs, self.tok_s_per_user) <= 0 or self.outputs < 2:
            raise UsageError(
                "the load cannot be sized",
                why="one of its numbers is too small",
                do="pass 1 or more, --output 2 or more",
            )


@dataclass(frozen=True)
class Sized:
    """A target's answer: copies of a layout."""

    layout: Layout
    copies: int
    in_flight: int  # on one copy
    tok_s_per_user: float
    copies_in_bursts: int | None  # so many give 95 % of the requests their speed; None: more copies did not help

    @property
    def gpus(self) -> int:
        return self.copies * self.layout.size

    @property
    def tok_s_per_gpu(self) -> float:
        return self.in_flight * self.tok_s_per_user / self.layout.size

    def cells(self, prices: Mapping[str, float]) -> list[str]:
        """Its row, a text for each of `COLUMNS`."""
        cost, burst, layout = self.usd_per_million(prices), self.copies_in_bursts, self.layout
        about = "" if layout.ran else "~"
        return [
            layout.target,
            f"{self.copies} x TP{layout.size}",
            f"{about}{self.gpus}",
            f"{about}{burst * layout.size}" if burst else "–",
            str(self.in_flight),
            f"{self.tok_s_per_user:.0f}",
            f"{self.tok_s_per_gpu:,.0f}",
            f"{cost:.2f}" if cost else "no price",
            layout.source,
        ]

    def usd_per_million(self, prices: Mapping[str, float]) -> float | None:
        """US dollars for a million output tokens with every copy at this load; None without a price."""
        price = prices.get(self.layout.target)
        return price / self.tok_s_per_gpu / 3600 * 1e6 if price else None


def load_prices(path: Any = PRICES) -> dict[str, float]:
    """US dollars per GPU and hour, by target; those without a price are left out. `CookbookError` names what is wrong."""
    try:
        found = yaml.safe_load(path.read_text()) or {}
        prices = {str(name): float(price) for name, price in found.items() if price is not None}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise CookbookError(
            f"{shown(path)} cannot be read", why=str(error), do="write TARGET: PRICE, one a line"
        ) from None
    if unknown := [name for name, price in prices.items() if name not in target_names() or price <= 0]:
        raise CookbookError(
            f"{shown(path)} is wrong about {', '.join(unknown)}", do="name targets, with prices above 0"
        )
    return prices


def size(demand: Demand, model: str, steady: bool = False) -> list[Sized]:
    """The layout of fewest GPUs on every target that can serve the demand, the fewest GPUs first. `steady` leaves the
    simulation of bursts out. `CookbookError` where no target can serve it."""
    best: dict[str, Sized] = {}
    about = load_model(model)
    if demand.inputs + demand.outputs > about.geometry.max_position:
        raise UsageError(
            f"{demand.inputs + demand.outputs:,} tokens are more than {model} takes",
            why=f"its context is {about.geometry.max_position:,} tokens, --input and --output together",
            do="pass shorter requests",
        )
    for layout in layouts(about.model):
        if found := fitted(layout, demand):
            kept = best.get(layout.target)
            if kept is None or (found.gpus, -found.tok_s_per_user) < (kept.gpus, -kept.tok_s_per_user):
                best[layout.target] = found
    if not best:
        raise CookbookError(
            f"no target can be sized for {model} at {demand.tok_s_per_user:g} tok/s per user",
            why="none is that fast by the records, or none has room for the lengths",
            do="ask for less speed or shorter requests",
        )
    if not steady:
        with bar("bursts on each target", len(best), " targets") as shown:
            for name, one in best.items():
                best[name] = in_bursts(one, demand)
                shown.update()
    return sorted(best.values(), key=lambda one: (one.gpus, -one.tok_s_per_user))


def fitted(layout: Layout, demand: Demand) -> Sized | None:
    """So many copies that each user gets the speed in a steady state; None where not even one user does, or memory lacks."""
    inputs, outputs = demand.inputs, demand.outputs
    given = {"model": layout.model, "tensor_parallel_size": layout.size, "concurrency": [1]}
    try:
        parameters = check_parameters(
            load_target(layout.target), given | {"input_tokens": inputs, "output_tokens": outputs}
        )
    except UsageError:  # nano's weights, or a size that the default profile does not allow
        return None
    budget = memory_budget(load_target(layout.target), layout.about, parameters)
    room = min(MOST, budget.fullest_concurrency) if budget.kv_cache >= budget.start else 0
    speed = lambda count: 1e3 / layout.tpot_ms(count, inputs, outputs)  # noqa: E731
    enough = [count for count in COUNTS if count <= room and speed(count) >= demand.tok_s_per_user]
    if not enough:
        return None
    copies = math.ceil(demand.users / max(enough))
    in_flight = math.ceil(demand.users / copies)
    return Sized(layout, copies, in_flight, speed(in_flight), None)


def in_bursts(found: Sized, demand: Demand, shape: float = BURSTINESS, count: int = SIMULATED) -> Sized:
    """The same with the copies that bursty arrivals of the same load want; `shape` 1 is Poisson, `count` requests."""
    copies, layout = found.copies, found.layout
    for _ in range(TRIES):
        own = demand.users / copies  # requests in flight on one copy, in the mean
        rate = own / (demand.outputs * layout.tpot_ms(own, demand.inputs, demand.outputs) / 1e3)
        served = simulate(layout, bursts(rate, count, demand.inputs, demand.outputs, shape), MOST)
        if served.tok_s_per_user(5) >= demand.tok_s_per_user:
            return Sized(layout, found.copies, found.in_flight, found.tok_s_per_user, copies)
        copies = max(copies + 1, math.ceil(copies * STEP))
    return found
