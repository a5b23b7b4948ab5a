"""A Kubernetes Deployment with its Service and the claim that keeps the weights."""

import math
from typing import Any

from helpers.recipes import Model, Parameters, Target
from helpers.recipes.command import tools as tool_servers
from helpers.recipes.command.serve import Command

Document = dict[str, Any]  # a manifest, or a part of one
# Extended resources as the vendors' device plugins name them.
RESOURCE = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}
SECRET = "gpt-oss"  # holds HF_TOKEN and VLLM_API_KEY, both optional
STARTUP_S, PROBE_S = 2400, 10  # downloading, loading and graph capture before the first healthy answer
COMPILE_CACHE_GIB = 20  # vLLM's compile cache and the room that a download needs beside the weights
HOST_MEMORY = 1.25  # of the weights' bytes: they are read through host memory


def manifest_name(target: Target, model: Model) -> str:
    """The name of the Deployment and its Service."""
    return f"{model.model}-{target.target}".replace("_", "-").lower()


def manifests(
    target: Target, model: Model, parameters: Parameters, command: Command, folder: str = ""
) -> list[Document]:
    """Claim, Deployment and Service; `command` as it stands inside a container, `folder` the node's checkpoint.

    A command that names tool servers gets their documents, too.
    """
    name = manifest_name(target, model)
    labels = {"app.kubernetes.io/name": name}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{name}-cache", "labels": labels},
        "spec": {
            # Every replica mounts this claim: on several nodes that takes a storage class which many may write to.
            "accessModes": ["ReadWriteOnce" if parameters.replicas == 1 else "ReadWriteMany"],
            "resources": {"requests": {"storage": f"{_gib(model.weights.bytes) + COMPILE_CACHE_GIB}Gi"}},
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": parameters.replicas,
            "strategy": {"type": "Recreate"},  # a rolling update would need the GPUs twice
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(target, model, parameters, command, folder, name),
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": command.port, "targetPort": "http"}]},
    }
    beside = tool_servers.part("kubernetes", HOST=f"{name}-tools") if "--tool-server" in command.flags else []
    return [claim, deployment, service, *beside]


def _pod(target: Target, model: Model, parameters: Parameters, command: Command, folder: str, name: str) -> Document:
    environment: list[Document] = [{"name": key, "value": value} for key, value in command.env.items()]
    for key in ("HF_TOKEN", "VLLM_API_KEY"):
        reference = {"name": SECRET, "key": key, "optional": True}
        environment.append({"name": key, "valueFrom": {"secretKeyRef": reference}})
    mounts: list[Document] = [{"name": "cache", "mountPath": "/cache"}, {"name": "shm", "mountPath": "/dev/shm"}]
    volumes: list[Document] = [
        {"name": "cache", "persistentVolumeClaim": {"claimName": f"{name}-cache"}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},  # NCCL's shared memory; 64 MB by default
    ]
    if folder:  # mounted where the command looks
        mounts.append({"name": "weights", "mountPath": command.weights, "readOnly": True})
        volumes.append({"name": "weights", "hostPath": {"path": folder, "type": "Directory"}})
    memory = f"{_gib(model.weights.bytes * HOST_MEMORY) + 8}Gi"
    resources: Document = {"requests": {"memory": memory}}
    if target.match.vendor in RESOURCE:
        resources["limits"] = {RESOURCE[target.match.vendor]: parameters.tensor_parallel_size}
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PROBE_S}
    container = {
        "name": "vllm",
        "image": target.stack.image,
        "command": ["vllm"],
        "args": command.words,
        "env": environment,
        "ports": [{"name": "http", "containerPort": command.port}],
        "resources": resources,
        "startupProbe": {**probe, "failureThreshold": STARTUP_S // PROBE_S},
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
        "volumeMounts": mounts,
    }
    first = (
        [tool_servers.part("waiting", VLLM=target.stack.image, HOST=f"{name}-tools")]
        if "--tool-server" in command.flags
        else []
    )
    return {
        # Service links would put variables like VLLM_PORT into the pod, which vLLM reads or refuses.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "nodeSelector": {"kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}[target.stack.architecture]},
        **({"initContainers": first} if first else {}),
        "containers": [container],
        "volumes": volumes,
    }


def _gib(size: float) -> int:
    return math.ceil(size / 2**30)
