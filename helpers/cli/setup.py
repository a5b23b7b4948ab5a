"""`cookbook install`: the serving environments."""

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def install(
        stack: str = typer.Argument(
            "cpu", help="cpu, cuda or evals: a lock in recipes/locks; rocm or xpu: recipes/stacks.yaml"
        ),
    ) -> None:
        """Install a serving stack (vLLM and everything under it) into .stacks/; a second call does nothing."""
        from helpers.stack import ensure

        typer.echo(f"stack {stack}: {ensure(stack)}")
