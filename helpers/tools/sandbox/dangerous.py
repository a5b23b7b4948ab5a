"""No sandbox at all: model-written code with this account's rights. Only for whoever asks for it by its name."""

import os
import tempfile
from pathlib import Path

from helpers.tools.sandbox.bubblewrap import ISOLATED, config, interpreter, source
from helpers.tools.sandbox.interpreter import Launch
from helpers.tools.sandbox.limits import Limits

WARNING = (
    "DANGER: code that the model writes runs unsandboxed, as this account: it can read and delete your files, use "
    "your network and your credentials on disk. Use a throw-away machine or account"
)


class Unsandboxed:
    """What the reference tool calls `dangerously_*`; the environment is emptied and the limits stay, no more."""

    name = "dangerously-unsandboxed"
    slow_start = False

    def describe(self) -> str:
        """One line for people: the danger."""
        return WARNING

    def why_not(self) -> str:
        return ""

    def launch(self, limits: Limits, data: Path | None = None, packages: Path | None = None) -> Launch:
        """A plain process in a directory of its own."""
        place = tempfile.mkdtemp(prefix="gpt-oss-python-")
        settings = config(limits, False, own_pids=False)
        argv = [str(interpreter()), *ISOLATED, source(), settings]
        env = {"PATH": os.defpath, "HOME": place, "LANG": "C.UTF-8"}
        return Launch(argv=argv, env=env, options={"cwd": place}, tree_bytes=limits.tree_bytes(), count_limit=256)
