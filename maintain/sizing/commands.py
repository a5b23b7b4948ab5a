"""`cookbook size`."""

from typing import Annotated

import typer
from rich.table import Table

from helpers.cli._matrix import table_text

Option = typer.Option
NOTES = """
~: no record of that machine and layout. Its speed is carried over, as the last column says: measure before you buy. In flight and
tok/s per user are those of a steady load. GPUs in bursts: so many give 95 % of the requests their speed when as many arrive in
bursts (gamma-distributed gaps of shape 0.25), by a simulation that gives the measured tok/s of records that it was not fitted on
within 16 %. Rows from two vLLM releases compare the releases too. Prices: recipes/prices.yaml."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def size(
        users: Annotated[int, Option(help="requests in flight at once")],
        input: Annotated[int, Option(help="prompt tokens of a request")],
        output: Annotated[int, Option(help="output tokens of a request")],
        tok_s_per_user: Annotated[float, Option(help="output tokens per second that each user is to get")],
        model: Annotated[str, Option(help="gpt-oss-20b or gpt-oss-120b")] = "gpt-oss-120b",
        steady: Annotated[
            bool, Option("--steady", help="leave the simulation of bursts out, which takes minutes for long prompts")
        ] = False,
    ) -> None:
        """How many GPUs of each target a load needs, in which layout, and what a million tokens costs."""
        from maintain.sizing.plan import COLUMNS, Demand, load_prices
        from maintain.sizing.plan import size as sized

        demand, prices = Demand(users, input, output, tok_s_per_user), load_prices()
        table = Table(title=f"{model}: {demand}")
        for name, counts in COLUMNS.items():
            table.add_column(name, justify="right" if counts else "left")
        for one in sized(demand, model, steady):
            table.add_row(*one.cells(prices))
        typer.echo(table_text(table) + "\n" + NOTES)
