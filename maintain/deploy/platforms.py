"""The same server for other schedulers: production-stack's chart, Dynamo, SkyPilot, Slurm."""

from helpers.errors import UsageError
from helpers.recipes.command import Command
from helpers.recipes.command.forms import container_command
from helpers.recipes.command.kubernetes import SECRET, Document, manifests
from maintain.deploy.nodes import CHECK, CHECK_PORT, MASTER_PORT, STEP_S
from maintain.deploy.order import Order, dumped

# Flags of the process that answers HTTP: Dynamo's own frontend stands in its place.
ANSWERING = (
    "--host",
    "--port",
    "--tool-call-parser",
    "--enable-auto-tool-choice",
    "--tool-server",
    "--served-model-name",
)
# NVIDIA's recipe of gpt-oss-120b on H200 (ai-dynamo/dynamo, recipes/gpt-oss-120b/vllm/agg-h200-agentic) names this image.
DYNAMO_IMAGE = "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.3.1"
DYNAMO_PARSERS = ["--dyn-reasoning-parser", "gpt_oss", "--dyn-tool-call-parser", "harmony"]
CLOUD_NAMES = {
    "a100": "A100-80GB",
    "b200": "B200",
    "b300": "B300",
    "gb200": "GB200",
    "h100": "H100",
    "h200": "H200",
    "l40s": "L40S",
    "mi300x": "MI300X",
    "rtx4090": "RTX4090",
    "rtx5090": "RTX5090",
    "rtx_pro_6000": "RTXPRO6000",
}  # a target as SkyPilot's catalogue calls its accelerator


def _pod(order: Order) -> tuple[Document, Document]:
    """(claim, pod) of the plain manifests: what the other forms say in words of their own."""
    claim, deployment, *_ = manifests(order.target, order.model, order.parameters, container_command(order.command))
    pod: Document = deployment["spec"]["template"]["spec"]
    requests = pod["containers"][0]["resources"]["requests"]
    requests["memory"] = f"{int(requests['memory'].removesuffix('Gi')) + order.host_gib}Gi"
    return claim, pod


def helm(order: Order) -> dict[str, str]:
    """Values of vLLM's production-stack chart; the chart itself passes host and port."""
    claim, pod = _pod(order)
    container, tag = pod["containers"][0], order.target.stack.image.rpartition(":")[2]
    flags = container_command(order.command).options
    extra = [word for name, value in flags.items() if name not in ("--host", "--port") for word in (name, *value)]
    engine: Document = {
        "name": order.name,
        "repository": order.target.stack.image.rpartition(":")[0],
        "tag": tag,
        "modelURL": order.command.weights,
        "replicaCount": order.parameters.replicas,
        "requestCPU": 4,
        "requestMemory": container["resources"]["requests"]["memory"],
        "requestGPU": 0 if order.target.match.vendor == "cpu" else order.size,
        "pvcStorage": claim["spec"]["resources"]["requests"]["storage"],
        "pvcAccessMode": claim["spec"]["accessModes"],
        "shmSize": "16Gi",
        "hf_token": {"secretName": SECRET, "secretKey": "HF_TOKEN"},
        "vllmConfig": {"enablePrefixCaching": "--no-enable-prefix-caching" not in flags, "extraArgs": extra},
        "env": [{"name": name, "value": value} for name, value in order.command.env.items()],
    }
    probe = {"httpGet": {"path": "/health", "port": order.command.port}, "periodSeconds": 10, "failureThreshold": 240}
    values = {
        "servingEngineSpec": {
            "enableEngine": True,
            "containerPort": order.command.port,
            "runtimeClassName": "",
            "startupProbe": {"initialDelaySeconds": 10, **probe},
            "serviceMonitor": {"enabled": True},
            "modelSpec": [engine],
        },
        "routerSpec": {"enableRouter": True, "replicaCount": 1, "routingLogic": "prefixaware"},
    }
    return {"production-stack.values.yaml": dumped(values)}


def dynamo(order: Order) -> dict[str, str]:
    """A DynamoGraphDeployment: Dynamo's frontend, which routes by what is cached where, and vLLM workers."""
    if order.target.match.vendor != "nvidia":
        raise UsageError("Dynamo's runtime image is NVIDIA's", do="choose kubernetes for this target")
    claim, pod = _pod(order)
    inside = container_command(order.command)
    own = [word for name, value in inside.flags.items() if name not in ANSWERING for word in (name, *value)]
    served = ["--model", order.command.weights, "--served-model-name", order.model.model]
    environment = [one for one in pod["containers"][0]["env"] if one["name"] != "VLLM_API_KEY"]
    worker = {
        "name": "main",
        "image": DYNAMO_IMAGE,
        "command": ["python3", "-m", "dynamo.vllm"],
        "args": [*served, *own, *DYNAMO_PARSERS],
        "env": environment,
        "resources": pod["containers"][0]["resources"],
        "startupProbe": {"httpGet": {"path": "/live", "port": 9090}, "periodSeconds": 60, "failureThreshold": 60},
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    volume = {"name": "cache", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
    front = {
        "name": "main",
        "image": DYNAMO_IMAGE,
        "command": ["python3"],
        "args": ["-m", "dynamo.frontend", "--router-mode", "kv", "--router-kv-events"],
        "resources": {"requests": {"cpu": "8", "memory": "16Gi"}},
    }
    graph = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": order.name},
        "spec": {
            "backendFramework": "vllm",
            "components": [
                {
                    "name": "Frontend",
                    "type": "frontend",
                    "replicas": 1,
                    "podTemplate": {"spec": {"containers": [front]}},
                },
                {
                    "name": "gpt-oss",
                    "type": "worker",
                    "replicas": order.parameters.replicas,
                    "sharedMemorySize": "16Gi",
                    "podTemplate": {"spec": {"containers": [worker], "volumes": [volume]}},
                },
            ],
        },
    }
    return {"dynamo.yaml": dumped(claim, graph)}


def skypilot(order: Order) -> dict[str, str]:
    """A SkyPilot task, also a SkyServe service where copies are asked for."""
    if order.target.target not in CLOUD_NAMES:
        known = ", ".join(sorted(CLOUD_NAMES))
        raise UsageError(f"SkyPilot's catalogue has no {order.target.title}", do=f"choose one of {known}")
    inside = container_command(order.command)
    count = order.size // order.nodes
    task: Document = {
        "name": order.name,
        "resources": {
            "accelerators": {CLOUD_NAMES[order.target.target]: count},
            "image_id": f"docker:{order.target.stack.image}",
            "disk_size": max(100, 3 * order.model.weights.bytes // 10**9),
            "ports": [order.command.port],
        },
        "secrets": {"HF_TOKEN": None, "VLLM_API_KEY": None},
    }
    probe = {"path": "/health", "initial_delay_seconds": 2400}
    if order.nodes == 1:
        task["service"] = {"readiness_probe": probe, "replica_policy": _policy(order)}
        task["run"] = inside.shell() + "\n"
    else:
        task["num_nodes"] = order.nodes
        setup = _own_address("$SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK")
        task["run"] = setup + _on_node(order, inside, "$SKYPILOT_NODE_RANK")
    return {"skypilot.yaml": dumped(task)}


def _policy(order: Order) -> Document:
    if len(order.copies) == 1:
        return {"min_replicas": order.copies[0]}
    return {"min_replicas": order.copies[0], "max_replicas": order.copies[-1], "target_qps_per_replica": 2}


def _own_address(addresses: str, rank: str) -> str:
    """Shell lines: the head, this node's address and its interface, from the nodes' addresses, a line each."""
    return f"""HEAD=$(echo "{addresses}" | head -n 1)
export VLLM_HOST_IP=$(echo "{addresses}" | sed -n "$(({rank} + 1))p")
export GLOO_SOCKET_IFNAME=$(ip -o -4 address show | awk -v own="$VLLM_HOST_IP/" 'index($4, own) == 1 {{print $2}}')
export NCCL_SOCKET_IFNAME=$GLOO_SOCKET_IFNAME VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS={STEP_S}
"""


def _on_node(order: Order, inside: Command, rank: str) -> str:
    """Shell lines: the part of one server that a node with this rank runs."""
    spread = {"--tensor-parallel-size": (str(order.size),), "--distributed-executor-backend": ("mp",)}
    lines = inside.changed(spread).shell()
    more = f'--nnodes {order.nodes} --node-rank "{rank}" --master-addr "$HEAD" --master-port {MASTER_PORT}'
    return f"""HEADLESS=()
[ "{rank}" = 0 ] || HEADLESS=(--headless)
{lines} \\
    {more} \\
    "${{HEADLESS[@]}}"
"""


def slurm(order: Order) -> dict[str, str]:
    """A batch script: one task a node, which ends as a whole when one of them does."""
    share = order.size // order.nodes
    gpus = f"#SBATCH --gpus-per-node={share}\n" if order.target.match.vendor != "cpu" else ""
    if order.nodes == 1:
        return {"gpt-oss.sbatch": _batch(order, gpus) + f"srun bash -s << 'SERVER'\n{order.command.shell()}\nSERVER\n"}
    check = f'python3 {CHECK.name} --rank "$SLURM_NODEID" --interface "$GLOO_SOCKET_IFNAME" --port {CHECK_PORT}'
    body = _own_address("$ADDRESSES", "SLURM_NODEID") + f"{check} --addresses $ADDRESSES\n"
    body += _on_node(order, order.command, "$SLURM_NODEID")
    text = f"""{_batch(order, gpus)}export ADDRESSES=$(for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    getent ahostsv4 "$host" | awk 'NR == 1 {{print $1}}'
done)
srun --kill-on-bad-exit=1 bash -euo pipefail -s << 'NODE'
{body}NODE
"""
    return {"gpt-oss.sbatch": text, CHECK.name: CHECK.read_text(encoding="utf-8")}


def _batch(order: Order, gpus: str) -> str:
    return f"""#!/bin/bash
#SBATCH --job-name={order.name}
#SBATCH --nodes={order.nodes}
#SBATCH --ntasks-per-node=1
{gpus}#SBATCH --output=%x-%j.log
set -euo pipefail  # the vLLM environment is active where this is submitted; keys are in its environment
"""
