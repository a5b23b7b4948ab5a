"""The `cookbook` command: one module per group of commands, each adding itself with `register(app)`."""

import errno
import importlib
import os
import pkgutil
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.models import CommandInfo, TyperInfo

from helpers.errors import CookbookError, UsageError
from helpers.paths import shown


def application() -> typer.Typer:
    """The whole command line, assembled from the modules of this package."""
    app = typer.Typer(
        name="cookbook",
        help="Run, check and explain the gpt-oss on vLLM recipes. `cookbook COMMAND --help` has examples.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps sub-commands even while there is only one
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")):
        importlib.import_module(f"{__name__}.{module}").register(app)
    groups = tomllib.loads(HELP.read_text(encoding="utf-8"))
    order = {name: (group, examples) for group, named in groups.items() for name, examples in named.items()}
    app.registered_commands.sort(key=lambda one: [*order].index(named(one)))
    every: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for one in every:
        one.rich_help_panel, examples = order[named(one)]
        one.epilog = "\n\n".join(filter(None, [one.epilog, "For example:" if examples else "", *examples]))
    return app


def named(one: CommandInfo | TyperInfo) -> str:
    """The word that calls a command, or a group of commands."""
    return str(one.name or getattr(one.callback, "__name__", ""))


HELP = Path(__file__).with_name("help.toml")  # of each command its group and examples
FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def main() -> None:
    """Run the command line: whatever is wrong with the request or the machine becomes one line on stderr."""
    try:
        code = typer.main.get_command(application()).main(prog_name="cookbook", standalone_mode=False)
    except CookbookError as error:
        _end(error)
    except OSError as error:
        _end(system_error(error))
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # Typer carries a copy of click whose error classes are its own: what they share is how they are shown.
        if not hasattr(error, "format_message"):
            raise
        if not error.format_message().strip():  # `cookbook` alone, which has printed its help
            sys.exit(getattr(error, "exit_code", 1))
        _end(_usage_error(error))
    sys.exit(code if isinstance(code, int) else 0)


def _end(error: CookbookError) -> NoReturn:
    print(f"cookbook: {error.line()}", file=sys.stderr)
    sys.exit(error.exit_code)


def _usage_error(error: Any) -> UsageError:
    """What Typer would print as a box: a missing argument, an ill-typed option, an unknown command."""
    message = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "cookbook"
    return UsageError(message[:1].lower() + message[1:], do=f"see `{command} --help`")


def system_error(error: OSError) -> CookbookError:
    """The one line for a system's refusal: a full disk, a folder that may not be written."""
    path = shown(Path(os.fsdecode(error.filename))) if isinstance(error.filename, str | bytes) else ""
    if error.errno in FULL_OR_CLOSED:
        return CookbookError(
            f"{path or 'a file'} cannot be written",
            why=error.strerror or "",
            do="free some disk, or name a folder that you can write to",
        )
    if path:
        return CookbookError(f"{path} cannot be used", why=error.strerror or "", do="name another file or folder")
    return CookbookError(
        "the system refused a request", why=error.strerror or str(error), do="see `cookbook preflight`"
    )
