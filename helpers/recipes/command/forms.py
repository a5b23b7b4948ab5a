"""One command in the forms people deploy it in: shell, docker run, compose, Kubernetes, vLLM's --config file."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from helpers.errors import UsageError
from helpers.paths import ROOT
from helpers.recipes import Model, Parameters, Target
from helpers.recipes.command import tools as tool_servers
from helpers.recipes.command.kubernetes import Document, manifest_name, manifests
from helpers.recipes.command.replicas import VISIBLE, devices, replica_commands, router_words
from helpers.recipes.command.serve import Command

# Inside a container: caches that survive it, and the folder of a checkpoint given by path.
HUB_CACHE, VLLM_CACHE, WEIGHTS = "/cache/huggingface", "/cache/vllm", "/weights"
SECRETS = ("HF_TOKEN", "VLLM_API_KEY")  # passed on by name, never written into a form
# What a container needs to reach the accelerators: vLLM's installation pages per vendor; the seed guide for AMD.
ACCESS = {  # as compose spells it
    "amd": {"devices": ["/dev/kfd", "/dev/dri"], "group_add": ["video"], "security_opt": ["seccomp=unconfined"]},
    "intel": {"devices": ["/dev/dri"], "volumes": ["/dev/dri/by-path:/dev/dri/by-path"]},
    "cpu": {"cap_add": ["SYS_NICE"], "security_opt": ["seccomp=unconfined"]},
}
HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health')"
HEALTH_WAIT = "40m"  # downloading, loading and graph capture before the first healthy answer


def render(
    form: str, target: Target, model: Model, parameters: Parameters, command: Command, tools: bool = False
) -> str:
    """The command in one of the forms of `FORMS`; with replicas, one server each on ports from `command.port`.

    `tools` puts the python and browser tool servers beside vLLM, where the form has a place for them.
    """
    if not command.port:
        raise UsageError("port 0 cannot be written into a form", do="name a port from 1024 to 65535")
    if not tools:
        return FORMS[form](target, model, parameters, command)
    if form not in ("compose", "k8s"):
        do = "choose compose or k8s; on this machine `cookbook tools serve` starts them"
        raise UsageError(f"the form {form} has no place for tool servers", do=do)
    hosts = tool_servers.COMPOSE
    if form == "k8s":
        hosts = dict.fromkeys(hosts, f"{manifest_name(target, model)}-tools")
    asked = command.with_tools(tool_servers.addresses(hosts), tool_servers.MCP_LABELS)
    return FORMS[form](target, model, parameters, asked)


def container_command(command: Command) -> Command:
    """The command as it stands inside a container: reachable from outside it, a checkpoint folder mounted."""
    host = {"--host": ("0.0.0.0",)} if "--host" in command.flags else {}  # the published port stays on loopback
    # What vLLM and Triton compile goes into the volume: the next container starts in half of the time.
    kept = {"HF_HOME": HUB_CACHE, "VLLM_CACHE_ROOT": VLLM_CACHE, "TRITON_CACHE_DIR": f"{VLLM_CACHE}/triton"}
    weights = WEIGHTS if _is_folder(command.weights) else command.weights
    return replace(command, weights=weights).changed(host, kept)


def _ports(parameters: Parameters, command: Command) -> range:
    return range(command.port, command.port + parameters.replicas)


def _router(parameters: Parameters, command: Command) -> str:
    """The block that puts the replicas behind the port after theirs; nothing for a single server."""
    if parameters.replicas == 1:
        return ""
    ports = _ports(parameters, command)
    address = ports.stop
    words = shlex.join(["vllm-router", *router_words(ports, address, address + 1)])
    return f"\n# one address for all of them, port {address} (pip install vllm-router), in another terminal\n{words}\n"


def _shell(target: Target, _: Model, parameters: Parameters, command: Command) -> str:
    if parameters.replicas == 1:
        return command.shell() + "\n"
    replicas = replica_commands(command, target, parameters, _ports(parameters, command))
    blocks = [f"# replica {n}, in a terminal of its own\n{own.shell()}\n" for n, own in enumerate(replicas)]
    return "\n".join(blocks) + _router(parameters, command)


def _docker(target: Target, _: Model, parameters: Parameters, command: Command) -> str:
    runs = []
    for replica, port in enumerate(_ports(parameters, command)):
        title = f"# replica {replica}, in a terminal of its own\n" if parameters.replicas > 1 else ""
        runs.append(title + _docker_run(target, parameters, replica, command.on_port(port)))
    return "\n".join(runs) + _router(parameters, command)


def _docker_run(target: Target, parameters: Parameters, replica: int, command: Command) -> str:
    inside, chosen = container_command(command), devices(target, parameters, replica)
    lines = ["docker run --rm", "--ipc=host", f"--publish 127.0.0.1:{command.port}:{command.port}"]
    if target.match.vendor == "nvidia":
        lines.append("--gpus '\"device=" + ",".join(chosen) + "\"'")
    access = ACCESS.get(target.match.vendor, {}).items()
    lines += [f"--{key.removesuffix('s').replace('_', '-')} {value}" for key, values in access for value in values]
    lines += [f'--volume "$HOME/.cache/huggingface:{HUB_CACHE}"', f"--volume vllm-cache:{VLLM_CACHE}"]
    if _is_folder(command.weights):
        lines.append(f"--volume {shlex.quote(str(Path(command.weights).absolute()))}:{WEIGHTS}:ro")
    if chosen and target.match.vendor != "nvidia":
        lines.append(f"--env {VISIBLE[target.match.vendor]}={','.join(chosen)}")
    lines += [f"--env {name}={shlex.quote(value)}" for name, value in inside.env.items()]
    lines += [f"--env {name}" for name in SECRETS]
    lines += ["--entrypoint vllm", target.stack.image]
    words = inside.lines()
    return " \\\n    ".join([*lines, words[0].removeprefix("vllm "), *words[1:]]) + "\n"


def _compose(target: Target, model: Model, parameters: Parameters, command: Command) -> str:
    services = {}
    for replica, port in enumerate(_ports(parameters, command)):
        name = model.model if parameters.replicas == 1 else f"{model.model}-{replica}"
        services[name] = _compose_service(target, parameters, replica, command.on_port(port))
    content: Document = {"name": f"{target.target}-{model.model}".replace("_", "-"), "services": services}
    if "--tool-server" in command.flags:
        for service in services.values():
            healthy = {"condition": "service_healthy"}
            service["depends_on"] = dict.fromkeys(tool_servers.COMPOSE.values(), healthy)
            service["networks"] = ["default", "tools"]
        services |= tool_servers.part("compose", CONTEXT=str(ROOT))
        content["networks"] = {"default": {}, "tools": {"internal": True}}
    return _dump({**content, "volumes": {"vllm-cache": {}}})


def _compose_service(target: Target, parameters: Parameters, replica: int, command: Command) -> Document:
    inside, chosen, vendor = (container_command(command), devices(target, parameters, replica), target.match.vendor)
    volumes = [f"${{HOME}}/.cache/huggingface:{HUB_CACHE}", f"vllm-cache:{VLLM_CACHE}"]
    if _is_folder(command.weights):
        volumes.append(f"{Path(command.weights).absolute()}:{WEIGHTS}:ro")
    environment: dict[str, str | None] = {name: _escaped(value) for name, value in inside.env.items()}
    environment |= dict.fromkeys(SECRETS)  # null: taken from the shell that runs compose, if set there
    service: Document = {
        "image": target.stack.image,
        "entrypoint": ["vllm"],
        "command": [_escaped(word) for word in inside.words],
        "ipc": "host",
        "ports": [f"127.0.0.1:{command.port}:{command.port}"],
        "environment": environment,
        "volumes": volumes,
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", "python3", "-c", HEALTH.format(port=command.port)],
            "interval": "10s",
            "start_period": HEALTH_WAIT,
        },
    }
    if vendor == "nvidia":
        device = {"driver": "nvidia", "device_ids": chosen, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    elif chosen:
        service["environment"][VISIBLE[vendor]] = ",".join(chosen)
    for key, values in ACCESS.get(vendor, {}).items():
        service[key] = [*service.get(key, []), *values]
    return service


def _kubernetes(target: Target, model: Model, parameters: Parameters, command: Command) -> str:
    folder = str(Path(command.weights).absolute()) if _is_folder(command.weights) else ""
    documents = manifests(target, model, parameters, container_command(command), folder)
    note = (
        "# the replicas share one claim: its storage class must offer ReadWriteMany\n"
        if parameters.replicas > 1
        else ""
    )
    if "--tool-server" in command.flags:
        lines = "".join(f"#   {line}\n" for line in tool_servers.part("dockerfile").splitlines())
        note += f"# {tool_servers.part('image')} is an image that you build in the cookbook's folder, from\n{lines}"
    return note + "---\n".join(_dump(document) for document in documents)


def _config(_target: Target, model: Model, _parameters: Parameters, command: Command) -> str:
    """vLLM's own configuration file; variables cannot stand in it, so they are named in comments."""
    exports = "".join(f"#   export {name}={shlex.quote(value)}\n" for name, value in command.env.items())
    content = {"model": command.weights, "port": command.port, "served-model-name": model.model}
    content |= {flag: setting.value for flag, setting in command.settings.args.items()}
    return f"# vllm serve --config THIS_FILE.yaml, after\n{exports}{_dump(content)}"


def _is_folder(weights: str) -> bool:
    return Path(weights).is_absolute() or Path(weights).is_dir()


def _escaped(value: str) -> str:
    return value.replace("$", "$$")  # compose would take it for a variable of its own


class _Plain(yaml.SafeDumper):
    """YAML without anchors: every part is written out where it stands."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _dump(content: Document) -> str:
    return str(yaml.dump(content, Dumper=_Plain, sort_keys=False, width=1000))


Form = Callable[[Target, Model, Parameters, Command], str]
FORMS: dict[str, Form] = {
    "shell": _shell,
    "docker": _docker,
    "compose": _compose,
    "k8s": _kubernetes,
    "config": _config,
}
