"""The python and browser tool servers beside a vLLM in a container: what compose and Kubernetes say of them."""

from typing import Any

Document = dict[str, Any]
PORTS = {"python": 8002, "browser": 8001}
# Lets a request ask for the built-in tools as {"type": "mcp", "server_label": ...}; vLLM ignores them otherwise.
MCP_LABELS = {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": "code_interpreter,web_search_preview"}
IMAGE = "cookbook-tools"  # nobody publishes it: built from this checkout
# WebAssembly needs no rights of the container; bubblewrap would need user namespaces.
DOCKERFILE = """\
FROM python:3.12-slim
WORKDIR /cookbook
COPY pyproject.toml README.md CONTRIBUTING.md ./
COPY docs docs
COPY recipes recipes
COPY helpers helpers
RUN pip install --no-cache-dir . && python -m helpers.tools.setup
USER 65534
"""
ALIVE = "import urllib.request as u; u.urlopen('http://{host}:{port}/health', timeout=5)"
WAIT = """\
import time, urllib.request as u
for place in {places!r}:
    while True:
        try:
            u.urlopen(f'http://{{place}}/health', timeout=5)
            break
        except OSError:
            time.sleep(1)
"""


def addresses(hosts: dict[str, str]) -> str:
    """The value of `--tool-server` for servers on these hosts."""
    return ",".join(f"{host}:{PORTS[name]}" for name, host in hosts.items())


def words(name: str, host: str) -> list[str]:
    """The command of one tool server inside its container, answering requests to `host`."""
    contained = ["--sandbox", "wasm"] if name == "python" else []
    place = ["--host", "0.0.0.0", "--port", str(PORTS[name]), "--allow-host", host]
    return ["python", "-m", f"helpers.tools.{name}_server", *place, *contained]


def compose_services(context: str) -> Document:
    """The two services; their own network reaches no other and is the only one of the python tool."""
    services: Document = {}
    for name, host in compose_hosts().items():
        services[host] = {
            "image": IMAGE,
            "build": {"context": context, "dockerfile_inline": DOCKERFILE},
            "command": words(name, host),
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "mem_limit": "4g",
            "pids_limit": 512,
            "networks": ["tools"] if name == "python" else ["tools", "default"],
            "restart": "unless-stopped",
            "healthcheck": {
                "test": ["CMD", "python", "-c", ALIVE.format(host="127.0.0.1", port=PORTS[name])],
                "interval": "5s",
                "start_period": "2m",
            },
        }
    return services


def compose_hosts() -> dict[str, str]:
    """The services' names, by which vLLM reaches them."""
    return {name: f"tools-{name}" for name in PORTS}


def kubernetes_documents(host: str) -> list[Document]:
    """A Deployment of both servers, the Service that names it, and a policy that lets it reach nothing."""
    labels = {"app.kubernetes.io/name": host}
    containers = [
        {
            "name": name,
            "image": IMAGE,
            "args": words(name, host),
            "ports": [{"name": name, "containerPort": port}],
            "readinessProbe": {"httpGet": {"path": "/health", "port": name}, "periodSeconds": 5},
            "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "4Gi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        for name, port in PORTS.items()
    ]
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": containers,
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": host, "labels": labels},
        "spec": {
            "replicas": 1,  # a conversation's state lives in one process
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in PORTS.items()]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": host, "labels": labels},
        "spec": {"selector": labels, "ports": ports},
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": host, "labels": labels},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"], "egress": []},
    }
    return [deployment, service, policy]


def waiting_container(image: str, host: str) -> Document:
    """vLLM asks its tool servers once, while it starts, and ends where one does not answer."""
    places = [f"{host}:{port}" for port in PORTS.values()]
    return {"name": "tools-first", "image": image, "command": ["python3", "-c", WAIT.format(places=places)]}
