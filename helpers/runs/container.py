"""A run's command as `docker run`, wherever the kernel was started."""

from dataclasses import replace

from helpers.command.forms import render
from helpers.command.serve import Command
from helpers.paths import ROOT
from helpers.recipes import Model, Parameters, Target


def docker_run(target: Target, model: Model, parameters: Parameters, command: Command) -> str:
    """The command in a container. A checkpoint named relative to the checkout is found from any folder.

    The checkout is written as `$PWD`, as for a shell in it: the text stands in pages that others read.
    """
    if (ROOT / command.weights).is_dir():
        command = replace(command, weights=str(ROOT / command.weights))
    return render("docker", target, model, parameters, command).replace(f"{ROOT}/", '"$PWD"/').rstrip()
