"""`cookbook nano eval`: measure what gpt-oss-nano can do. `helpers/cli/nano.py` loads it where this folder is there."""

from pathlib import Path

import typer

from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.keys import keyless


def _table(result) -> None:
    """Show success per skill, and per task below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table("skill", "task", "passed", "total", "share")
    for skill, row in result.skills.items():
        table.add_row(skill, "", str(row["passed"]), str(row["total"]), f"{row['passed'] / row['total']:.1%}")
        for task, part in sorted(result.tasks.items()):
            name = task.split("/", 1)
            if name[0] == skill and name[1] != skill:
                table.add_row(
                    "", name[1], str(part["passed"]), str(part["total"]), f"{part['passed'] / part['total']:.1%}"
                )
    Console().print(table)
    if sampled := result.extra.get("sampled"):
        typer.echo(
            f"malformed Harmony: {sampled['malformed']} of {sampled['samples']} answers sampled at temperature 1.0"
        )


def _on_own_server(temperature: float, sampling: bool, skills: set[str], progress):
    """The evaluation against a server of its own, with both tools; where it fails, the server's log stays under runs/."""
    from helpers.doctor import with_log
    from helpers.runs.folder import kept_on_failure
    from helpers.runs.run import Run
    from nano.evaluation.cases import builtin_cases
    from nano.evaluation.measure import evaluate

    with kept_on_failure("nano-eval") as folder:
        builtin = builtin_cases(folder / "corpus")
        session = Run("cpu", {"port": 0, "run_dir": str(folder / "run")})
        tools = session.tools(corpus=folder / "corpus")
        try:
            server = session.begin()
            return evaluate(server.base_url, server.model, temperature, builtin, sampling, skills, progress)
        except CookbookError as error:
            if session.server is None:
                raise  # the launch has named its log
            raise with_log(error, session.server.log, died=not session.server.healthy()) from error
        finally:
            session.stop() if session.server else tools.stop()


def register(group: typer.Typer) -> None:
    """Add the commands to the group `nano`."""

    @group.command()
    def eval(
        json_file: Path | None = typer.Option(None, "--json", help="write the result here"),
        base_url: str | None = typer.Option(None, help="a running server; without it one is started, with both tools"),
        model: str = typer.Option("gpt-oss-nano", help="the served name"),
        temperature: float = typer.Option(0.0, min=0.0, max=2.0, help="0 is greedy"),
        sampling: bool = typer.Option(True, help="also 100 arbitrary prompts and the malformed rate of 1,000 samples"),
        skill: list[str] = typer.Option([], help="only this skill (repeatable): answers, domain, python, ..."),
        failures: int = typer.Option(0, help="show so many failed cases"),
        strict: bool = typer.Option(False, help="exit with 1 where a skill misses its bar"),
    ) -> None:
        """Ask the held-out cases over chat completions and Responses; print success per skill."""
        from helpers.progress import bar
        from nano.evaluation.cases import COUNTS
        from nano.evaluation.measure import document, evaluate, missed

        if base_url:
            keyless(base_url)
        known = {*COUNTS, "python", "browser"}
        if unknown := set(skill) - known:
            raise CookbookError(f"there is no skill {min(unknown)!r}", do=f"choose from {', '.join(sorted(known))}")
        if json_file and not json_file.resolve().parent.is_dir():
            raise CookbookError(f"the folder of {json_file} is not there", do="create it, or give another path")
        with bar("evaluation", unit=" requests") as asked:
            if base_url:
                result = evaluate(base_url, model, temperature, [], sampling, set(skill), asked.update)
            else:
                result = _on_own_server(temperature, sampling, set(skill), asked.update)
        _table(result)
        for line in result.failures[:failures]:
            typer.echo(line)
        if json_file:
            write_whole(json_file, document(result))
        below = missed(result)
        for line in below:
            typer.echo(f"below its bar: {line}")
        if strict and below:
            raise typer.Exit(1)
