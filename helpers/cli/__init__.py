"""The `cookbook` command: one module per group of commands, each adding itself with `register(app)`."""

import errno
import importlib
import pkgutil
import sys
from pathlib import Path

import typer

from helpers.errors import CookbookError
from helpers.paths import shown


def application() -> typer.Typer:
    """The whole command line, assembled from the modules of this package."""
    app = typer.Typer(
        name="cookbook",
        help="Run, check and explain the gpt-oss on vLLM recipes.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps sub-commands even while there is only one
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")):
        importlib.import_module(f"{__name__}.{module}").register(app)
    return app


def main() -> None:
    """Run the command line: a `CookbookError` becomes one line on stderr and its exit code."""
    try:
        application()()
    except CookbookError as error:
        print(f"cookbook: {error.line()}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        failed = CookbookError(
            f"{shown(Path(error.filename))} cannot be written" if error.filename else "a file cannot be written",
            why=error.strerror,
            do="free some disk, or name a folder that you can write to",
        )
        print(f"cookbook: {failed.line()}", file=sys.stderr)
        sys.exit(failed.exit_code)
