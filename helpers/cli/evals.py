"""`cookbook eval`: accuracy on a target, against the seed's reference scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from helpers.checks.known_answers import Gate
    from helpers.runs.evaluation import EvalRun


def register(app: typer.Typer) -> None:
    @app.command(name="eval")
    def evaluate(
        target: Annotated[str, typer.Argument(help="a target of recipes/targets")],
        model: Annotated[str, typer.Option(help="one that the target offers; its own otherwise")] = "",
        evals: Annotated[
            str,
            typer.Option(
                "--eval", help="gpqa, aime25, nano-choice, nano-integer, quick; the model's own set otherwise"
            ),
        ] = "",
        effort: Annotated[str, typer.Option(help="low, medium, high")] = "low,medium,high",
        examples: Annotated[int | None, typer.Option(min=1, help="questions of each; all otherwise")] = None,
        repeats: Annotated[
            int | None, typer.Option(min=1, help="times that each is asked; the eval's own otherwise")
        ] = None,
        json_file: Annotated[Path | None, typer.Option("--json", help="where the results go as JSON")] = None,
        base_url: Annotated[str, typer.Option(help="a server that runs already; launched otherwise")] = "",
        weights: Annotated[str, typer.Option(help="hub, nano, or the path of a checkpoint")] = "",
        tensor_parallel_size: Annotated[int, typer.Option(min=0, help="0: the recipe's")] = 0,
        data: Annotated[
            Path | None, typer.Option(exists=True, file_okay=False, help="a folder with the data sets")
        ] = None,
        offline: Annotated[bool, typer.Option(help="fetch nothing, not even before the run")] = False,
        sampler: Annotated[str, typer.Option(help="responses or chat_completions")] = "responses",
        temperature: Annotated[
            float | None, typer.Option(min=0, max=2, help="1.0 for the real evals otherwise")
        ] = None,
        max_tokens: Annotated[
            int | None, typer.Option(min=16, help="of one answer; the reference's 131072 otherwise")
        ] = None,
        concurrency: Annotated[int | None, typer.Option(min=1, help="requests in flight")] = None,
        request_timeout: Annotated[float, typer.Option(min=1, help="seconds for one request")] = 7200.0,
        run_dir: Annotated[Path | None, typer.Option(help="where the samples lie; a run found there goes on")] = None,
        fresh: Annotated[bool, typer.Option(help="begin anew, though an unfinished run is there")] = False,
        record: Annotated[bool, typer.Option(help="keep the record under recipes/records/evals")] = False,
        dry_run: Annotated[bool, typer.Option(help="only say what it would take")] = False,
    ) -> None:
        """Score a model on a target. Exit code 1 when a score is withheld or a gate fails."""
        from helpers.checks.known_answers import takes as gate_takes
        from helpers.errors import CookbookError
        from helpers.evals.estimate import text as estimate_text
        from helpers.paths import shown
        from helpers.runs.evaluation import EvalRun

        options = {
            "examples": examples,
            "repeats": repeats,
            "sampler": sampler,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "timeout_s": request_timeout,
            "data": str(data or ""),
        }
        options |= {"concurrency": concurrency} if concurrency else {}
        run = EvalRun(
            target,
            model,
            words(evals),
            words(effort),
            weights=weights,
            base_url=base_url,
            tensor_parallel_size=tensor_parallel_size,
            **options,
        )
        if json_file:
            need_writable(json_file)
        if run.quick_asked:
            typer.echo(gate_takes())
        if not run.nothing_but_quick:
            typer.echo(estimate_text(run.estimate()))
        if dry_run:
            return
        try:
            run.serve()
            gate = gated(run, json_file) if run.quick_asked else None
            whole = True
            if not run.nothing_but_quick and (gate is None or gate.passed):
                whole = scored(run, json_file, offline, run_dir, fresh)
                if record:
                    typer.echo(f"kept: {shown(run.publish())}")
            if gate:
                gate.raise_if_failed()
        except CookbookError as error:
            raise run.with_log(error) from error
        finally:
            if run.server:
                typer.echo(run.stop())
        if not whole:
            raise typer.Exit(1)


def words(text: str) -> list[str]:
    """`a, b` as a list.

    >>> words("gpqa, aime25")
    ['gpqa', 'aime25']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def need_writable(path: Path) -> None:
    """Hours of evaluation must not end at a folder that is not there."""
    from helpers.errors import UsageError

    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be written", do="name a file in a folder that exists")


def scored(run: "EvalRun", json_file: Path | None, offline: bool, run_dir: Path | None, fresh: bool) -> bool:
    """Ask the samples of a run whose server answers, and show their table; whether every evaluation has a score."""
    from helpers.evals.evaluation import write_json
    from helpers.evals.table import text
    from helpers.paths import shown

    found = run.preflight(offline)
    typer.echo(found.text())
    found.raise_if_failed()
    results = run.run(run_dir, fresh)
    typer.echo(text(results))
    if json_file:
        write_json(json_file, results)
    typer.echo(f"samples and record in {shown(run.folder)}")
    return all(result.score is not None for result in results)


def gated(run: "EvalRun", json_file: Path | None) -> "Gate":
    """Ask the known answers; where they are all that was asked for, they go into the file in the shape of a result."""
    gate = run.quick()
    typer.echo(gate.text())
    if json_file and run.nothing_but_quick:
        write_gate(json_file, gate)
    return gate


def write_gate(path: Path, gate: "Gate") -> None:
    """The gate in the same shape as a result."""
    import json

    # The shares of right answers are no score where requests failed: they would be taken for one.
    rounds = [] if gate.gone or gate.faulty else [gate.share(number) for number in range(gate.rounds)]
    value = {
        "eval": "quick",
        "effort": "low",
        "score": gate.score,
        "stderr": None,
        "samples": len(gate.replies),
        "failures": len(gate.faults),
        "causes": gate.causes,
        "rounds": rounds,
        "why": gate.why(),
        "seconds": gate.seconds,
        "output_tokens": gate.tokens,
    }
    path.write_text(json.dumps([value], indent=1) + "\n")
