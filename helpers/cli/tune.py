"""`cookbook tune`: the flags that matter, searched on real servers against bare `vllm serve`."""

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def register(app: typer.Typer) -> None:
    @app.command()
    def tune(
        target: Annotated[str, typer.Argument(help="a target of recipes/targets")],
        objective: Annotated[str, Option(help="throughput, latency or throughput-under-tpot")] = "throughput",
        tpot: Annotated[float | None, Option(help="the limit of throughput-under-tpot, in ms")] = None,
        model: Annotated[str, Option(help="the target's own otherwise")] = "",
        weights: Annotated[str, Option(help="hub, synthetic, nano or the path of a checkpoint")] = "",
        tensor_parallel_size: Annotated[int, Option(min=0, help="0: the recipe's default")] = 0,
        concurrency: Annotated[
            str, Option(help="requests in flight per GPU, e.g. 1,16,256; the recipe's otherwise")
        ] = "",
        input_tokens: Annotated[int, Option(min=0, help="0: the recipe's")] = 0,
        output_tokens: Annotated[int, Option(min=0, help="0: the recipe's")] = 0,
        trials: Annotated[int | None, Option(min=1, help="configurations at most, earlier calls' included")] = None,
        minutes: Annotated[float | None, Option(min=0, help="no configuration begins after them")] = None,
        start_minutes: Annotated[
            float, Option(min=0.1, help="a server that is not ready by then counts as failed")
        ] = 30,
        space: Annotated[Path | None, Option(help="another file than recipes/tuning.yaml")] = None,
        study: Annotated[Path | None, Option(help="the study's folder; one under runs/tuning otherwise")] = None,
        install: Annotated[str, Option(help="stack, or existing (the Python that already holds vLLM)")] = "stack",
        fresh: Annotated[bool, Option("--fresh", help="put an earlier study aside")] = False,
        write: Annotated[
            bool, Option("--write", help="keep the study among the records, as the profile's evidence")
        ] = False,
    ) -> None:
        """Find the fastest configuration of a target; call it again to go on after an interruption."""
        from helpers.bench.tune import TuningPlan, chosen, profile, table
        from helpers.bench.tune.session import tuning
        from helpers.machine import facts
        from helpers.paths import TARGETS, shown

        given = {
            "model": model,
            "weights": weights,
            "concurrency": concurrency,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "tensor_parallel_size": tensor_parallel_size,
            "install": install,
        }
        given = {name: value for name, value in given.items() if value}
        plan = TuningPlan(target, objective, tpot, given, space, gpus=len(facts.machine().gpus))
        for reason in plan.left_out.values():
            typer.echo(f"left out: {reason}")
        try:
            with tuning(plan, study, fresh, report=typer.echo, start_s=60 * start_minutes) as tuner:
                found = tuner.run(trials, minutes)
        except KeyboardInterrupt:
            typer.echo("cookbook: the tuning was interrupted; call it again to go on", err=True)
            raise typer.Exit(130) from None
        typer.echo("\n" + table.text(found))
        typer.echo(shown(tuner.file))
        if chosen(found) is None:
            return
        typer.echo(f"\nfor {shown(TARGETS / target)}.yaml:\n{profile.block(plan, found)}")
        if write:
            typer.echo(f"written: {shown(found.write(profile.record_path(found)))}")
            typer.echo(f"next: paste the lines above, cookbook check --target {target}, cookbook render {target}")
        else:
            typer.echo("nothing was written: pass --write to keep the study that these lines name")
