"""The forms of one command: equal among themselves, and valid by the schemas of the tools that read them."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from helpers.cli import application
from helpers.errors import UsageError
from helpers.recipes import check_parameters, load_model, load_target, target_names
from helpers.recipes.command import serve_command
from helpers.recipes.command.forms import FORMS, container_command, render

CASES = [
    *((name, {}) for name in target_names()),
    ("h200", {"model": "gpt-oss-120b", "tensor_parallel_size": 2}),
    ("h200", {"replicas": 2, "tensor_parallel_size": 2}),
    ("mi300x", {"replicas": 2}),
    ("arc_pro_b60", {"tensor_parallel_size": 2}),
    ("b200", {"activations": "mxfp8"}),
]


def made(name: str, given: dict, form: str, weights: str = "", port: int = 8000, tools: bool = False):
    target = load_target(name)
    parameters = check_parameters(target, given)
    model = load_model(parameters.model)
    command = serve_command(target, model, parameters, weights or model.hub_id or "/models/nano", port)
    return target, parameters, command, render(form, target, model, parameters, command, tools)


@pytest.mark.parametrize(("name", "given"), CASES)
def test_shell_says_what_the_launch_runs(name: str, given: dict):
    _, parameters, command, text = made(name, given, "shell")
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert words.count("serve") == parameters.replicas
    if parameters.replicas == 1:
        start = words.index("vllm")
        assert words[start:] == command.argv
        exported = [word for word in words[:start] if word != "export"]
        assert dict(word.split("=", 1) for word in exported) == command.env
    else:
        ports = [words[at + 1] for at, word in enumerate(words) if word == "--port"]
        assert ports == ["8000", "8001", "8002"] and words[words.index("vllm-router") + 4] == "8002"


@pytest.mark.parametrize(("name", "given"), CASES)
def test_docker_stays_on_loopback_and_sees_its_devices(name: str, given: dict):
    target, parameters, command, text = made(name, given, "docker")
    runs = text.partition("\n# one address")[0].split("docker run")[1:]
    behind_the_router = parameters.replicas if parameters.replicas > 1 else 0
    assert len(runs) == parameters.replicas and text.count("http://127.0.0.1:") == behind_the_router
    for replica, run in enumerate(runs):
        words = shlex.split(run.replace("\\\n", " "), comments=True)
        image = words.index(target.stack.image)
        options, inside = words[:image], words[image + 1 :]
        assert f"127.0.0.1:{8000 + replica}:{8000 + replica}" in options and "--ipc=host" in options
        assert inside[inside.index("--host") + 1] == "0.0.0.0" and inside[0] == "serve"
        expected = container_command(command).argv[1:]
        expected[expected.index("--port") + 1] = str(8000 + replica)
        assert inside == expected
        assert options[-2:] == ["--entrypoint", "vllm"]
        assert any(word.endswith(":/cache/huggingface") for word in options)
        given_env = {options[at + 1] for at, word in enumerate(options) if word == "--env"}
        assert {"HF_TOKEN", "VLLM_API_KEY"} <= given_env  # by name: no secret is written down
        assert {f"{key}={value}" for key, value in command.env.items()} <= given_env
        vendor, size = target.match.vendor, parameters.tensor_parallel_size
        chosen = ",".join(str(replica * size + one) for one in range(size))
        if vendor == "nvidia":
            assert options[options.index("--gpus") + 1] == f'"device={chosen}"'
        elif vendor == "amd":
            assert {"/dev/kfd", "/dev/dri"} <= set(options) and f"HIP_VISIBLE_DEVICES={chosen}" in given_env
        elif vendor == "intel":
            assert "/dev/dri" in options and f"ZE_AFFINITY_MASK={chosen}" in given_env


@pytest.mark.real
def test_compose_files_are_valid(tmp_path: Path):
    files = []
    for number, (name, given) in enumerate(CASES):
        _, parameters, command, text = made(name, given, "compose")
        path = tmp_path / f"{number}-{name}.yaml"
        path.write_text(text)
        files.append(path)
        content = yaml.safe_load(text)
        assert len(content["services"]) == parameters.replicas
        files.append(tmp_path / f"{number}-{name}-tools.yaml")
        files[-1].write_text(made(name, given, "compose", tools=True)[-1])
        for replica, service in enumerate(content["services"].values()):
            assert service["ports"] == [f"127.0.0.1:{8000 + replica}:{8000 + replica}"]
            assert [word.replace("$$", "$") for word in service["command"]][:2] == container_command(command).argv[1:3]
            assert service["environment"]["VLLM_API_KEY"] is None
    assert validate_compose(files).returncode == 0, validate_compose(files).stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text(files[0].read_text().replace("ipc: host", "ipcc: host"))
    assert validate_compose([broken]).returncode != 0


def validate_compose(files: list[Path]) -> subprocess.CompletedProcess:
    """The compose specification's own schema, as check-jsonschema carries it."""
    argv = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*argv, *map(str, files)], capture_output=True, text=True)


@pytest.mark.parametrize(("name", "given"), CASES)
def test_kubernetes_manifests_are_valid(name: str, given: dict):
    import kubernetes_validate

    target, parameters, command, text = made(name, given, "k8s")
    documents = list(yaml.safe_load_all(text))
    assert [document["kind"] for document in documents] == ["PersistentVolumeClaim", "Deployment", "Service"]
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    deployment, service = documents[1:]
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert deployment["spec"]["replicas"] == parameters.replicas
    # all replicas mount the one claim
    modes = ["ReadWriteMany" if parameters.replicas > 1 else "ReadWriteOnce"]
    assert documents[0]["spec"]["accessModes"] == modes
    assert ("must offer ReadWriteMany" in text) == (parameters.replicas > 1)
    assert container["args"] == container_command(command).argv[1:]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert not pod["enableServiceLinks"]
    resource = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}
    if target.match.vendor in resource:
        assert container["resources"]["limits"] == {resource[target.match.vendor]: parameters.tensor_parallel_size}
    assert "&id" not in text


@pytest.mark.parametrize(("name", "given"), [("cpu", {}), ("h200", {"replicas": 2}), ("mi300x", {})])
def test_compose_puts_tool_servers_beside_vllm_under_names_that_they_answer_to(name: str, given: dict):
    *_, text = made(name, given, "compose", tools=True)
    content = yaml.safe_load(text)
    servers = [service for key, service in content["services"].items() if not key.startswith("tools-")]
    for service in servers:
        words = service["command"]
        asked = [place.split(":") for place in words[words.index("--tool-server") + 1].split(",")]
        assert sorted(host for host, _ in asked) == ["tools-browser", "tools-python"] == sorted(service["depends_on"])
        for host, port in asked:
            own = content["services"][host]["command"]
            assert own[own.index("--allow-host") + 1] == host and own[own.index("--port") + 1] == port
            assert "ports" not in content["services"][host], "nothing of it is published"
    assert content["services"]["tools-python"]["networks"] == ["tools"] and content["networks"]["tools"]["internal"]
    assert len(servers) == given.get("replicas", 1)


def test_kubernetes_puts_tool_servers_beside_vllm():
    import kubernetes_validate

    *_, text = made("h200", {}, "k8s", tools=True)
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    _, server, _, tools, service, policy = documents
    host = service["metadata"]["name"]
    pod = server["spec"]["template"]["spec"]
    words = pod["containers"][0]["args"]
    asked = words[words.index("--tool-server") + 1]
    assert asked == f"{host}:8002,{host}:8001" and host.endswith("-tools")
    (first,) = pod["initContainers"]
    compile(first["command"][2], "wait", "exec")
    assert f"{host}:8002" in first["command"][2]
    for container in tools["spec"]["template"]["spec"]["containers"]:
        own = container["args"]
        assert own[own.index("--allow-host") + 1] == host
    assert (
        service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] and policy["spec"]["egress"] == []
    )
    assert "initContainers" not in made("h200", {}, "k8s")[-1]


@pytest.mark.parametrize("form", ["shell", "docker", "config"])
def test_forms_without_a_place_for_tool_servers_say_so(form: str):
    with pytest.raises(UsageError, match=f"the form {form} has no place for tool servers"):
        made("h200", {}, form, tools=True)


def test_a_broken_manifest_is_refused():
    import kubernetes_validate

    *_, text = made("h200", {}, "k8s")
    deployment = list(yaml.safe_load_all(text))[1]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


def test_a_checkpoint_folder_is_mounted_read_only(tmp_path: Path):
    folder = str(tmp_path)
    *_, docker = made("h200", {"weights": folder}, "docker", folder)
    assert f"{folder}:/weights:ro" in docker and "serve /weights" in docker
    *_, compose = made("h200", {"weights": folder}, "compose", folder)
    service = next(iter(yaml.safe_load(compose)["services"].values()))
    assert f"{folder}:/weights:ro" in service["volumes"] and service["command"][1] == "/weights"
    *_, k8s = made("h200", {"weights": folder}, "k8s", folder)
    assert {"name": "weights", "mountPath": "/weights", "readOnly": True} in list(yaml.safe_load_all(k8s))[1]["spec"][
        "template"
    ]["spec"]["containers"][0]["volumeMounts"]


def test_port_zero_cannot_be_written_down():
    for form in FORMS:
        with pytest.raises(UsageError, match="port 0"):
            made("h200", {"port": 0}, form, port=0)


@pytest.mark.real
def test_a_command_names_weights_that_exist(cli_process, checkpoint: Path, tmp_path: Path):
    """No hub has gpt-oss-nano or synthetic weights: a built folder is named and mounted, or the line that builds it."""
    for form in FORMS:
        text = cli_process("command", "cpu", "--format", form).stdout
        mounted = form in ("docker", "compose", "k8s")
        named = str(checkpoint) in text or str(checkpoint.resolve()) in text  # one of two workers has a link to it
        assert named and (not mounted or "/weights" in text), (form, text)
        assert "serve gpt-oss-nano" not in text
    empty = {"COOKBOOK_CACHE": str(tmp_path)}
    synthetic = "helpers.instack.synthetic --model gpt-oss-120b --out DIR`"
    for words, way in ((("cpu",), "`cookbook nano build DIR`"), (("h200", "--weights", "synthetic"), synthetic)):
        done = cli_process("command", *words, env=empty)
        assert done.returncode == 2 and way in done.stderr and "--weights DIR" in done.stderr and not done.stdout
    done = cli_process("command", "cpu", "--weights", str(tmp_path))
    assert done.returncode == 2 and "is not a model folder because it has no config.json" in done.stderr


def test_the_command_line_renders_every_form(cli):
    base = ["command", "h200", "--model", "gpt-oss-120b", "--tensor-parallel-size", "2"]
    for form in FORMS:
        done = cli(*base, "--format", form)
        assert (
            done.returncode == 0
            and done.stdout == made("h200", {"model": "gpt-oss-120b", "tensor_parallel_size": 2}, form)[-1]
        )
    bad = cli(*base, "--format", "helm")
    assert bad.returncode == 2 and "choose one of shell, docker, compose, k8s, config" in bad.stderr
    assert len(bad.stderr.strip().splitlines()) == 1
    reasons = cli(*base, "--reasons")
    assert "# fail-on-environ-validation: " in reasons.stdout


def test_the_command_says_a_profiles_risk_beside_what_is_pasted() -> None:
    def said(*words: str) -> tuple[str, str]:
        done = CliRunner().invoke(application(), ["command", "h200", *words])
        assert done.exit_code == 0
        return done.stdout, done.stderr

    pasted, risk = said("--profile", "latency-speculative")
    assert (
        risk.startswith("# risk of latency-speculative: ") and "risk" not in pasted and "--speculative-config" in pasted
    )
    assert said()[1] == "", "a profile without a risk says nothing"
    pasted, risk = said("--profile", "latency-speculative", "--model", "gpt-oss-safeguard-20b")
    assert "no head drafts for it" in risk and "--speculative-config" not in pasted
