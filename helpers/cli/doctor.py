"""`cookbook doctor`: what went wrong, why, and the exact change."""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.errors import CookbookError, UsageError
from helpers.files import read_json
from helpers.paths import RUNS, shown


def register(app: typer.Typer) -> None:
    """Add `doctor`."""

    @app.command()
    def doctor(
        log: Annotated[
            str, typer.Argument(help="a server's log, `-` for standard input (default: the last run's)")
        ] = "",
        run: Annotated[str, typer.Option(help="a run: its name under runs/, or its folder")] = "",
        live: Annotated[str, typer.Option(help="the address of a running server, to find what no log shows")] = "",
        model: Annotated[str, typer.Option(help="with --live: the served model name to expect")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
        as_report: Annotated[bool, typer.Option("--report", help="print one Markdown block for an issue")] = False,
        watch: Annotated[str, typer.Option(help="a run whose log to follow, or a log: says what is new in it")] = "",
    ) -> None:
        """Find the first cause of a failure, why it happened, and the exact change.

        Exit code 0: nothing fatal; 1: something fatal; 2: the input cannot be read.
        """
        if sum(map(bool, (log, run, live, watch))) > 1 or as_json + as_report + bool(watch) > 1 or (as_report and live):
            why = "doctor reads one of LOG, --run, --live, --watch; of --json, --report and --watch it takes one"
            raise UsageError("too many inputs or forms", why=why, do="pass one; --report goes with a log or a run")
        if model and not live:
            raise UsageError(
                "--model goes with --live", why="a log names its model itself", do="add --live, or leave it out"
            )
        if watch:
            raise typer.Exit(follow(watch))
        if live:
            from helpers.doctor.live import examine

            report = examine(live, os.environ.get("VLLM_API_KEY", ""), model)
        else:
            folder = None if log else run_folder(run)
            report = diagnosed(log or folder / "server.log", folder)
            if not report.size:
                raise UsageError(
                    f"{report.log} is empty", why="nothing was written to it", do="name the server's log file"
                )
            if report.garbled:
                raise UsageError(f"{report.log} is no log", why="it holds no text", do="name the server's log file")
            if as_report:
                from helpers.machine.preflight import detect

                print(report.report(detect().report_line(), recorded(folder).get("argv")))
                raise typer.Exit(report.exit_code)
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if as_json else report.text())
        raise typer.Exit(report.exit_code)


def diagnosed(log: str | Path, folder: Path | None):
    """The diagnosis of a log, with what the run's record knows of its command and its backends."""
    from helpers.doctor import diagnose

    record = recorded(folder)
    found = diagnose(log, argv=record.get("argv"))
    found.expected = expected_backends(record.get("target", ""))
    return found


def follow(name: str) -> int:
    """Say what is new in a log until its server ended; the exit code: 1 after a failure."""
    from helpers.doctor.watch import watch

    log = Path(name) if Path(name).is_file() else run_folder(name, "run or log") / "server.log"
    codes = [0]
    try:
        for text in watch(log, lambda path: diagnosed(path, path.parent), codes):
            print(time.strftime("%H:%M:%S"), text, flush=True)
    except KeyboardInterrupt:
        print()
    return codes[-1]


def run_folder(name: str, what: str = "run") -> Path:
    """The folder of a run by name or path; with no name, the latest run that has a log."""
    if name:
        for folder in (RUNS / name, Path(name)):
            if folder.is_dir():
                return folder
        places = " or ".join(dict.fromkeys((shown(RUNS / name), name)))
        raise UsageError(f"there is no {what} {name}", why=f"no folder is at {places}", do="`ls runs` lists them")
    latest = (RUNS / "latest").resolve()
    record = recorded(latest)
    if record.get("state") == "failed" and not any(latest.glob("**/server.log")):  # no older run speaks for it
        why = record.get("why", "").partition("\n")[0]
        raise UsageError(f"{shown(latest)} started no server", why=why, do="or name another with --run")
    logs = sorted(RUNS.glob("**/server.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise UsageError("nothing to read", why=f"{shown(RUNS)} holds no server.log", do="name a log, --run or --live")
    return logs[-1].parent


def recorded(folder: Path | None) -> dict[str, Any]:
    """The run's record, as far as it can be read: its launch command and target serve the report."""
    record = read_json(folder / "record.json") if folder else None
    if record is None:
        return {}
    argv = record.get("argv")
    sound = isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv)
    return record | {"argv": argv if sound else None}


def expected_backends(target: str) -> dict[str, str]:
    """The attention and MoE backends that the run's recipe counts on; none for a target that is gone."""
    from helpers.recipes import load_target

    try:
        expect = load_target(target).expect if target else None
    except CookbookError:
        return {}
    return {kind: name for kind in ("attention", "moe") if (name := getattr(expect, kind, None))}
