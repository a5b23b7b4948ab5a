"""Keys that a person holds: from the environment, else from a prompt that does not echo, never from an address."""

import getpass
import os
import re
import sys
import warnings

from helpers.errors import UsageError


def key(name: str, what_for: str) -> str:
    """The key in the environment variable `name`; a person at a terminal or a notebook is asked for one that is missing.

    What is typed goes into this process's environment, where the programs that it starts find it, and nowhere else.
    Empty where there is no key and nobody to ask.
    """
    return os.environ.get(name, "").strip() or ask(name, what_for)


def ask(name: str, what_for: str) -> str:
    """Ask for a key without showing it, also in place of one that was refused; empty where nobody can be asked."""
    if not (_terminal() or "ipykernel" in sys.modules):
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on and echo
            value = getpass.getpass(f"{name} ({what_for}; what you type is not shown): ").strip()
    except (getpass.GetPassWarning, EOFError, NotImplementedError):  # the last: a notebook that nobody looks at
        return ""
    if value:
        os.environ[name] = value
    return value


def authorised() -> dict[str, str]:
    """The header with the key of the server, where one is set."""
    secret = os.environ.get("VLLM_API_KEY")
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def _terminal() -> bool:
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())


def keyless(address: str) -> str:
    """The address, or `UsageError` where it carries a user name or password: those end up in logs and process lists."""
    if re.match(r"(?:[\w+.-]+://)?[^/?#]*@", address):
        raise UsageError(
            "an address with a user name or password is not taken",
            why="it would stand in logs, records and the list of processes",
            do="pass it without, and put the server's key into VLLM_API_KEY",
        )
    return address
