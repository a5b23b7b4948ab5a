"""`cookbook size`."""

from typing import Annotated

import typer
from rich.table import Table

from helpers.cli._matrix import table_text

Option = typer.Option
NOTES = """
In flight and tok/s per user are those of a steady load. GPUs in bursts: so many give 95 % of the requests their speed when as
many arrive in bursts (gamma-distributed gaps of shape 0.25), by a simulation that gives the measured tok/s of records that it
was not fitted on within 15 %. Prices: recipes/prices.yaml."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def size(
        users: Annotated[int, Option(help="requests in flight at once")],
        input: Annotated[int, Option(help="prompt tokens of a request")],
        output: Annotated[int, Option(help="output tokens of a request")],
        tok_s_per_user: Annotated[float, Option(help="output tokens per second that each user is to get")],
        model: Annotated[str, Option(help="gpt-oss-20b or gpt-oss-120b")] = "gpt-oss-120b",
        steady: Annotated[bool, Option("--steady", help="leave the simulation of bursts out")] = False,
    ) -> None:
        """How many GPUs of each target a load needs, in which layout, and what a million tokens costs."""
        from helpers.errors import CookbookError
        from maintain.sizing.plan import Demand, load_prices
        from maintain.sizing.plan import size as sized

        demand, prices = Demand(users, input, output, tok_s_per_user), load_prices()
        found = sized(demand, model, steady)
        if not found:
            raise CookbookError(
                f"no target can be sized for {model} at {tok_s_per_user:g} tok/s per user",
                why="none is that fast by the records, or none has room for the lengths",
                do="ask for less speed or shorter requests",
            )
        table = Table(
            title=f"{model}: {users} in flight, {input:,} in, {output:,} out, {tok_s_per_user:g} tok/s per user"
        )
        for name in (
            "target",
            "layout",
            "GPUs",
            "in bursts",
            "in flight",
            "tok/s user",
            "tok/s GPU",
            "USD/M tokens",
            "speed from",
        ):
            table.add_column(name, justify="left" if name in ("target", "layout", "speed from") else "right")
        for one in found:
            cost, burst = one.usd_per_million(prices), one.copies_in_bursts
            table.add_row(
                one.layout.target,
                f"{one.copies} x TP{one.layout.size}",
                str(one.gpus),
                str(burst * one.layout.size) if burst else "–",
                str(one.in_flight),
                f"{one.tok_s_per_user:.0f}",
                f"{one.tok_s_per_gpu:,.0f}",
                f"{cost:.2f}" if cost else "no price",
                one.layout.source,
            )
        typer.echo(table_text(table) + "\n" + NOTES)
