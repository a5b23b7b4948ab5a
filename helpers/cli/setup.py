"""`cookbook install`: the serving environments."""

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def install(stack: str = typer.Argument("cpu", help="cpu or cuda: a lock in recipes/locks")) -> None:
        """Install a serving stack (vLLM and everything under it) into .stacks/; a second call does nothing."""
        from helpers.stack import ensure

        typer.echo(f"stack {stack}: {ensure(stack)}")
