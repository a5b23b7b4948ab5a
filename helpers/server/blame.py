"""An error that met a server of ours, with what the server's log says and where that log lies."""

from pathlib import Path

from helpers.errors import CookbookError, UsageError
from helpers.paths import shown


def with_log(error: CookbookError, log: Path, died: bool) -> CookbookError:
    """The error naming the log; where the server `died`, its first exception is why and the doctor what to do.

    A wrong request (`UsageError`) and an error that names the log already stay as they are.
    """
    place = shown(Path(log).resolve())
    if isinstance(error, UsageError) or place in error.line() or not Path(log).exists():
        return error
    if died:
        from helpers.doctor import first_exception

        return CookbookError(error.what, first_exception(log) or error.why, f"see `cookbook doctor {place}`")
    do = error.do or "look at the server's log"
    return CookbookError(error.what, error.why, f"{do} (its log: {place})")
