"""The one error that a user of the cookbook meets."""

from helpers import redact


class CookbookError(Exception):
    """Something the user can act on: what happened, why, and what to do next.

    Raised by every layer; the command line prints it as one line and exits with `exit_code`,
    notebooks show the same line as the exception's message.

        raise CookbookError("port 8000 is taken", why="pid 4711 (jupyter) listens on it", do="pass port=0")
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", do: str = ""):
        self.what, self.why, self.do = what, why, do
        super().__init__(self.line())

    def line(self) -> str:
        """The whole message on one line, without secrets: an address, a log line or a parameter may carry one."""
        text = self.what
        if self.why:
            text += f" because {self.why}"
        if self.do:
            text += f"; {self.do}"
        return " ".join(redact.text(text).split())


class UsageError(CookbookError):
    """The request itself is wrong (an unknown target, an ill-typed parameter): nothing was started."""

    exit_code = 2
