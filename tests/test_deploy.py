"""`cookbook deploy`: what is rendered for clusters holds by the schemas of those who read it, and says what the recipe says."""

import json
import re
import time
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry, Resource

from helpers.paths import RECIPES, ROOT
from helpers.recipes import check_parameters, load_model, load_target, target_names
from helpers.recipes.command import serve_command
from maintain.deploy import forms, kubernetes, observe, platforms
from maintain.deploy.commands import FORMS
from maintain.deploy.order import Order
from tests.control_plane import apply, control_plane, place
from tests.hosts import ADDRESSES, INTERFACE
from tests.slurm_cluster import cluster

SCHEMAS = RECIPES / "schema" / "deploy"
KUBERNETES = "1.37"
CUSTOM = ("LeaderWorkerSet", "ServiceMonitor", "PrometheusRule", "DynamoGraphDeployment")


def order(name: str, nodes: int = 1, most: int = 0, size: int = 0, **given) -> Order:
    target = load_target(name)
    parameters = check_parameters(target, given)
    model = load_model(parameters.model)
    command = serve_command(target, model, parameters, model.hub_id or "/models/nano", 8000)
    return Order(target, model, parameters, command, nodes, size or parameters.tensor_parallel_size * nodes, most=most)


FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"


@cache
def validator(path: Path) -> jsonschema.Draft202012Validator:
    """A schema's validator; what it says of pods is Kubernetes' own."""
    pods = Resource.from_contents(json.loads((FOLDER / "_definitions.json").read_text()))
    registry = pods @ Registry().with_resource("/api/_definitions.json", pods)
    return jsonschema.Draft202012Validator(json.loads(path.read_text()), registry=registry)


def checked(document: dict, name: str) -> None:
    """Raises `ValidationError` where a document breaks one of our schemas."""
    validator(SCHEMAS / f"{name}.json").validate(document)


def valid(document: dict) -> None:
    """Raises `ValidationError` where a document breaks its kind's schema."""
    if document.get("kind") in CUSTOM:
        return checked(document, document["kind"])
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", document["apiVersion"])  # rbac.authorization.k8s.io/v1: rbac-v1
    return validator(FOLDER / f"{document['kind'].lower()}-{api}.json").validate(document)


def documents(files: dict[str, str], *names: str) -> list[dict]:
    return [one for name in names for one in yaml.safe_load_all(files[name])]


@pytest.mark.parametrize("name", target_names())
def test_every_target_has_valid_manifests(name: str):
    files = kubernetes.cluster(order(name, most=4))
    found = documents(files, "gpt-oss.yaml", "monitoring.yaml")
    for one in found:
        valid(one)
    kinds = [one["kind"] for one in found]
    assert {"PersistentVolumeClaim", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceMonitor"} <= set(kinds)
    assert kinds.count("Deployment") == 2 and kinds.count("Service") == 2
    server, router = (one for one in found if one["kind"] == "Deployment")
    container = server["spec"]["template"]["spec"]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert "replicas" not in server["spec"], "the autoscaler counts"
    memory = [int(container["resources"][kind]["memory"].removesuffix("Gi")) for kind in ("requests", "limits")]
    assert memory[0] < memory[1]
    scaler = next(one for one in found if one["kind"] == "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 4)
    assert scaler["scaleTargetRef"]["name"] == server["metadata"]["name"]
    adapter = yaml.safe_load(files["prometheus-adapter.values.yaml"])["rules"]["custom"][0]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == adapter["name"]["as"]
    words = router["spec"]["template"]["spec"]["containers"][0]["args"]
    assert words[words.index("--selector") + 1] == f"app.kubernetes.io/name={server['metadata']['name']}"


def test_the_routers_words_are_taken_by_the_router():
    from vllm_router.launch_router import parse_router_args

    found = documents(kubernetes.cluster(order("h200")), "gpt-oss.yaml")
    container = next(
        one for one in found if one["metadata"]["name"].endswith("-router") and one["kind"] == "Deployment"
    )
    parsed = parse_router_args(container["spec"]["template"]["spec"]["containers"][0]["args"])
    compile(kubernetes.ROUTER, "router", "exec")
    assert parsed.service_discovery and parsed.selector == {"app.kubernetes.io/name": "gpt-oss-120b-h200"}
    locked = (RECIPES / "locks" / "workbench.txt").read_text()
    assert (
        re.search(r"vllm-router==([\d.]+)", kubernetes.DOCKERFILE)[1]
        == re.search(r"^vllm-router==([\d.]+)", locked, re.M)[1]
    )


def test_monitoring_finds_the_servers_service_under_the_job_that_the_alerts_name():
    found = documents(kubernetes.cluster(order("h200")), "gpt-oss.yaml", "monitoring.yaml")
    monitor = next(one for one in found if one["kind"] == "ServiceMonitor")["spec"]
    ((key, value),) = monitor["selector"]["matchLabels"].items()
    matched = [one for one in found if one["kind"] == "Service" and one["metadata"]["labels"].get(key) == value]
    assert [one["metadata"]["name"] for one in matched] == ["gpt-oss-120b-h200"] and monitor["jobLabel"] == key
    assert value == observe.JOB and f'job="{value}"' in json.dumps(observe.rules()).replace('\\"', '"')
    ports = {port["name"] for port in matched[0]["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports


@pytest.mark.parametrize(("name", "nodes", "size"), [("dgx_spark", 2, 2), ("h200", 2, 16), ("mi300x", 4, 4)])
def test_several_nodes_are_a_leader_worker_set(name: str, nodes: int, size: int):
    files = kubernetes.leader_worker_set(order(name, nodes=nodes, size=size))
    found = documents(files, "gpt-oss.yaml", "monitoring.yaml")
    for one in found:
        valid(one)
    group = next(one for one in found if one["kind"] == "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    leader, worker = (group[role]["spec"]["containers"][0] for role in ("leaderTemplate", "workerTemplate"))
    assert group["size"] == nodes and group["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert worker["args"] == [*leader["args"], "--headless"] and "readinessProbe" in leader and "ports" not in worker
    assert leader["args"][leader["args"].index("--nnodes") + 1] == "$(LWS_GROUP_SIZE)"
    gpus = [value for key, value in leader["resources"]["limits"].items() if key != "memory"]
    assert gpus == [size // nodes]
    names = [one["name"] for one in leader["env"]]
    assert {"VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} <= set(names)
    service = next(one for one in found if one["kind"] == "Service")["spec"]["selector"]
    assert service.items() <= group["leaderTemplate"]["metadata"]["labels"].items()
    assert not service.items() <= group["workerTemplate"]["metadata"]["labels"].items()


@pytest.mark.parametrize("nodes", [1, 2])
def test_tool_servers_are_a_deployment_or_sidecars(nodes: int):
    given = {"model": "gpt-oss-120b"}
    apart, inside = (
        forms.rendered("kubernetes", "h200", given, forms.Asked(nodes=nodes, tools=True, sidecars=sidecars))
        for sidecars in (False, True)
    )
    for files in (apart, inside):
        found = documents(files, "gpt-oss.yaml")
        for one in found:
            valid(one)
        assert "tools.Dockerfile" in files and "docker build -t cookbook-tools" in files["README.md"]
    assert "NetworkPolicy" in apart["gpt-oss.yaml"] and "NetworkPolicy" not in inside["gpt-oss.yaml"]
    if nodes == 1:
        pod = found[1]["spec"]["template"]["spec"]
    else:
        template = found[1]["spec"]["leaderWorkerTemplate"]
        pod = template["leaderTemplate"]["spec"]
        assert "initContainers" not in template["workerTemplate"]["spec"]
    words = pod["containers"][0]["args"]
    assert words[words.index("--tool-server") + 1] == "127.0.0.1:8002,127.0.0.1:8001"
    assert [one["name"] for one in pod["initContainers"]] == ["python", "browser"]
    for one in pod["initContainers"]:
        assert one["restartPolicy"] == "Always" and {"startupProbe", "livenessProbe"} <= one.keys()
        assert one["args"].count("127.0.0.1") == 2 and "0.0.0.0" not in one["args"]
    pod["initContainers"][0]["restartPolicies"] = "Always"
    with pytest.raises(jsonschema.ValidationError):
        valid(found[1])


@pytest.mark.parametrize("name", [name for name in target_names() if load_target(name).match.vendor == "nvidia"])
def test_dynamo_graphs_are_valid(name: str):
    claim, graph = documents(platforms.dynamo(order(name)), "dynamo.yaml")
    valid(claim)
    valid(graph)
    worker = graph["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0]
    assert not set(worker["args"]) & set(platforms.ANSWERING[:5])
    graph["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
    with pytest.raises(jsonschema.ValidationError):
        valid(graph)


@pytest.mark.parametrize("name", target_names())
def test_production_stacks_values_say_what_the_recipe_says(name: str):
    given = order(name)
    values = yaml.safe_load(platforms.helm(given)["production-stack.values.yaml"])
    checked(values, "production-stack")
    (engine,) = values["servingEngineSpec"]["modelSpec"]
    words = engine["vllmConfig"]["extraArgs"]
    flags = {name for name in given.command.flags if name not in ("--host", "--port")}
    assert flags <= set(words) and not {"--host", "--port"} & set(words), "the chart passes these itself"
    assert f"{engine['repository']}:{engine['tag']}" == given.target.stack.image
    values["servingEngineSpec"]["modelSpec"][0]["replicas"] = 2
    with pytest.raises(jsonschema.ValidationError):
        checked(values, "production-stack")


@pytest.mark.parametrize("name", sorted(platforms.CLOUD_NAMES))
def test_skypilots_tasks_are_valid(name: str):
    task = yaml.safe_load(platforms.skypilot(order(name, most=3))["skypilot.yaml"])
    checked(task, "skypilot")
    assert task["service"]["replica_policy"]["max_replicas"] == 3 and task["secrets"] == {
        "HF_TOKEN": None,
        "VLLM_API_KEY": None,
    }
    with pytest.raises(jsonschema.ValidationError):
        checked({**task, "acelerators": 1}, "skypilot")


VLLM = """#!/bin/bash
echo "VLLM $(hostname) $VLLM_HOST_IP $GLOO_SOCKET_IFNAME $*"
[ "$SLURM_NODEID" = "$LOST" ] && exit 7
[ -z "$LOST" ] || sleep 300
"""


@pytest.mark.full
def test_a_real_slurm_starts_a_part_on_every_node_and_ends_all_with_one():
    """Slurm's own programs and the nodes' check, on two hosts; a stand-in for vLLM tells what it was started with."""
    with cluster() as slurm:
        for file, text in platforms.slurm(order("cpu", nodes=2, size=2)).items():
            (slurm.folder / file).write_text(text)
        (slurm.folder / "bin" / "vllm").write_text(VLLM)
        (slurm.folder / "bin" / "vllm").chmod(0o755)
        done = slurm.run("sbatch", "--wait", "--output=whole.txt", "gpt-oss.sbatch")
        told = (slurm.folder / "whole.txt").read_text()
        assert done.returncode == 0, done.stderr + told
        assert told.count("a port of its choice: reached") == 2 and "✗" not in told
        started = sorted(line.split() for line in told.splitlines() if line.startswith("VLLM"))
        for rank, words in enumerate(started):
            assert words[1:4] == [slurm.hosts[rank], ADDRESSES[rank], INTERFACE]
            assert words[words.index("--node-rank") + 1] == str(rank) and ("--headless" in words) == bool(rank)
            assert words[words.index("--master-addr") + 1] == ADDRESSES[0]
        assert len(started) == 2
        began = time.monotonic()
        lost = slurm.run("sbatch", "--wait", "--export=ALL,LOST=1", "--output=lost.txt", "gpt-oss.sbatch", timeout=120)
        assert lost.returncode != 0 and time.monotonic() - began < 100, "the head goes on without its node"


def test_offloaded_memory_is_asked_for(cli):
    words = ("deploy", "kubernetes", "h200", "--model", "gpt-oss-120b")
    asked = [
        re.findall(r"memory: (\d+)Gi", cli(*words, *more).stdout)
        for more in ((), ("--with", "kv-offload", "--host-gib", "64"))
    ]
    assert [int(more) - int(plain) for plain, more in zip(*asked, strict=True)][:2] == [64, 64]
    helm = cli("deploy", "helm", *words[2:], "--with", "kv-offload", "--host-gib", "64").stdout
    assert f"requestMemory: {asked[1][0]}Gi" in helm


def test_the_command_line_writes_every_form(cli, tmp_path: Path):
    for form in ("kubernetes", "helm", "dynamo", "skypilot", "slurm"):
        done = cli("deploy", form, "h200", "--model", "gpt-oss-120b", "--most", "4", "--out", str(tmp_path / form))
        assert done.returncode == 0 and list((tmp_path / form).iterdir()), done.stderr
    done = cli("deploy", "kubernetes", "h200", "--tools")
    assert "tools.Dockerfile" in done.stdout and "--tool-server" in done.stdout
    assert "restartPolicy: Always" in cli("deploy", "kubernetes", "h200", "--sidecars").stdout
    for words, told in (
        (("deploy", "kubernetes"), "needs a target"),
        (("deploy", "helm", "h200", "--tools"), "no place for tool servers"),
        (("deploy", "dynamo", "mi300x"), "choose kubernetes"),
        (("deploy", "skypilot", "arc_pro_b60"), "catalogue has no"),
        (("deploy", "nodes", "h200", "--address", "10.0.0.1", "--interface", "eth0"), "two nodes or more"),
        (("deploy", "kubernetes", "h200", "--replicas", "3", "--most", "2"), "counted from 1"),
        (("deploy", "kubernetes", "h200", "--port", "0"), "--port"),
        (("deploy", "server", "h200", "--size", "-2"), "--size"),
        (("deploy", "prometheus", "--server", "nonsense"), "HOST:PORT"),
    ):
        done = cli(*words)
        assert done.returncode == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1


PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("scale.md", "fragments.md"))
LINES = re.findall(r"^\.venv/bin/cookbook (deploy .* --out \w.*)$", PAGES, re.M)


@pytest.mark.parametrize("line", LINES)
def test_the_pages_lines_run(line: str, cli, tmp_path: Path):
    words = line.split()
    done = cli(*words[:-1], str(tmp_path / words[-1]))
    assert done.returncode == 0 and list((tmp_path / words[-1]).iterdir()), done.stderr


def test_the_page_has_a_line_for_every_form():
    assert {line.split()[1] for line in LINES} == set(FORMS) - {"prometheus"}
    assert all(f"`.venv/bin/cookbook deploy {form}" in PAGES for form in FORMS)


def definition(name: str) -> dict:
    """A kind that is not Kubernetes' own, for a control plane: its structure is ours, a pod in it any object."""
    whole = json.loads((SCHEMAS / f"{name}.json").read_text())
    example = json.loads((SCHEMAS / f"{name}.json").read_text())["$comment"]
    group, version = re.search(r"(?:of|from) ([\w.-]+\.[\w.-]+)/(v\w+),", example).groups()

    def structural(node: dict) -> dict:
        if "$ref" in node or (
            node.get("type") == "object" and not node.keys() & {"properties", "additionalProperties"}
        ):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        if isinstance(node.get("type"), list):
            return {"x-kubernetes-int-or-string": True}
        if node.get("type") == "array" and "items" not in node:
            return {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        made = {key: value for key, value in node.items() if key not in ("additionalProperties", "$comment")}
        if "properties" in node:
            made["properties"] = {key: structural(value) for key, value in node["properties"].items()}
        elif isinstance(node.get("additionalProperties"), dict):
            made["additionalProperties"] = structural(node["additionalProperties"])
        return made | ({"items": structural(node["items"])} if "items" in node else {})

    plain = structural(whole)
    for own in ("apiVersion", "kind", "metadata"):
        plain["properties"][own] = {"type": "object" if own == "metadata" else "string"}
    plural = f"{name.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": name, "plural": plural, "singular": name.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": plain}}],
        },
    }


@pytest.mark.full
def test_a_real_control_plane_takes_the_manifests_and_gives_them_back(tmp_path: Path):
    shapes = [
        documents(kubernetes.cluster(order("h200", most=4)), "gpt-oss.yaml", "monitoring.yaml"),
        documents(kubernetes.leader_worker_set(order("dgx_spark", nodes=2, size=2)), "gpt-oss.yaml", "monitoring.yaml"),
        documents(platforms.dynamo(order("h100")), "dynamo.yaml"),
        documents(forms.rendered("kubernetes", "b200", {}, forms.Asked(sidecars=True)), "gpt-oss.yaml"),
    ]
    with control_plane(tmp_path) as client:
        for name in CUSTOM:
            done = apply(client, definition(name))
            assert done.status_code in (200, 201), done.text
        for name in CUSTOM:
            until_served(client, definition(name))
        for one in (document for shape in shapes for document in shape):
            done = apply(client, one)
            assert done.status_code in (200, 201), done.text
            kept = client.get(place(client, one)).raise_for_status().json()
            assert within(one.get("spec", {}), kept.get("spec", {})), (one, kept)
        wrong = json.loads(json.dumps(shapes[0][1]))
        wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Always"
        refused = apply(client, wrong)
        assert refused.status_code >= 400 and "imagePullPolicies" in refused.text
        bare = json.loads(json.dumps(shapes[0][1]))
        bare["spec"]["selector"]["matchLabels"] = {"app.kubernetes.io/name": "another"}
        refused = apply(client, bare)  # what no schema says: only the API itself knows
        assert refused.status_code == 422 and "selector" in refused.text


def until_served(client, definition: dict) -> None:
    group, version = definition["spec"]["group"], definition["spec"]["versions"][0]["name"]
    for _ in range(60):
        reply = client.get(f"/apis/{group}/{version}")
        if reply.status_code == 200 and definition["spec"]["names"]["kind"] in reply.text:
            return
        time.sleep(0.5)
    raise AssertionError(client.get(place(client, definition)).text)


def within(asked: object, kept: object) -> bool:
    """Whether all that was asked for was kept; the API adds defaults and writes quantities in its own way."""
    if isinstance(asked, dict):
        return isinstance(kept, dict) and all(within(value, kept.get(key)) for key, value in asked.items())
    if isinstance(asked, list):
        return isinstance(kept, list) and len(asked) == len(kept) and all(map(within, asked, kept))
    return str(asked) == str(kept)
