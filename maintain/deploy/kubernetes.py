"""Kubernetes: servers, a router before them, autoscaling on the queue, what watches them; several nodes as a LeaderWorkerSet."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from helpers.paths import ROOT
from helpers.recipes.command import tools as tool_servers
from helpers.recipes.command.forms import container_command
from helpers.recipes.command.kubernetes import RESOURCE, SECRET, Document, manifests
from helpers.recipes.command.replicas import CARE, POLICY
from maintain.deploy import observe
from maintain.deploy.nodes import connection, flags
from maintain.deploy.order import Order, dumped

PART_OF = "app.kubernetes.io/part-of"  # its value is the `job` of every series, which the alerts name
ROUTER_PORT, METRICS_PORT = 8000, 29000
ROUTER_IMAGE = "cookbook-router"  # nobody publishes one with this release: built from DOCKERFILE
DOCKERFILE = "FROM python:3.12-slim\nRUN pip install --no-cache-dir vllm-router==0.1.17\nUSER 65534\n"
# As helpers/server/router.py starts it, and for the same reason: the program passes a key on to two endpoints alone.
ROUTER = """import os, sys
from vllm_router.launch_router import launch_router, parse_router_args

words = parse_router_args(sys.argv[1:])
if key := os.environ.get("VLLM_API_KEY"):
    words.api_key, words.api_key_validation_urls = key, [os.environ["SERVERS"] + "/v1/models"]
launch_router(words)
"""
SHM_GIB = 16  # /dev/shm counts to the memory that a pod may use
DRAIN_S = 15  # between leaving the Service and the signal to end
QUEUE = "vllm_num_requests_waiting"  # as prometheus-adapter publishes it: an API name holds no colon
QUEUE_EACH = 5  # requests in the queue of a copy above which another one is started
SLOW_DOWN_S = 900  # a copy takes minutes to start: an idle one is kept for a while
INTERFACE = "eth0"  # a pod's own
POD = "127.0.0.1"  # what the containers of a pod share


def cluster(order: Order) -> dict[str, str]:
    """File name -> text: the servers with router and autoscaler, monitoring, the adapter's values, the router's image."""
    own = _servers(order)
    files = {
        "gpt-oss.yaml": dumped(*own, *_router(order), *_scaler(order)),
        "monitoring.yaml": dumped(*_monitoring(order)),
        "prometheus-adapter.values.yaml": dumped(_adapter()),
        "router.Dockerfile": DOCKERFILE,
    }
    return _guided(order, files)


def leader_worker_set(order: Order) -> dict[str, str]:
    """File name -> text: one server over several nodes."""
    claim, deployment, service, *rest = _servers(_spread(order))
    claim["spec"]["accessModes"] = ["ReadWriteMany"]
    pod = deployment["spec"]["template"]["spec"]
    address = {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    pod["containers"][0]["env"].insert(0, address)
    limits = pod["containers"][0]["resources"]["limits"]
    if order.target.match.vendor in RESOURCE:
        limits[RESOURCE[order.target.match.vendor]] = order.size // order.nodes
    labels = service["spec"]["selector"]
    worker = json.loads(json.dumps(pod))
    worker.pop("initContainers", None)  # tool servers are the leader's: it answers
    for key in ("startupProbe", "readinessProbe", "livenessProbe", "ports", "lifecycle"):
        worker["containers"][0].pop(key)  # it answers nobody
    worker["containers"][0]["args"].append("--headless")
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": order.name, "labels": {**labels, PART_OF: observe.JOB}},
        "spec": {
            "replicas": order.parameters.replicas,
            "leaderWorkerTemplate": {
                "size": order.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",  # a server cannot go on without one of its nodes
                "leaderTemplate": {"metadata": {"labels": {**labels, "role": "leader"}}, "spec": pod},
                "workerTemplate": {"metadata": {"labels": {**labels, "role": "worker"}}, "spec": worker},
            },
        },
    }
    service["spec"]["selector"] = {**labels, "role": "leader"}
    files = {"gpt-oss.yaml": dumped(claim, group, service, *rest), "monitoring.yaml": dumped(*_monitoring(order))}
    return _guided(order, files)


def _servers(order: Order) -> list[Document]:
    """Claim, Deployment, Service and tool servers as `cookbook command --format k8s` has them, made fit for many."""
    folder = str(Path(order.command.weights).absolute()) if Path(order.command.weights).is_dir() else ""
    inside = container_command(order.command)
    claim, deployment, service, *rest = manifests(order.target, order.model, order.parameters, inside, folder)
    many = len(order.copies) > 1 or order.parameters.replicas > 1
    if many:
        claim["spec"]["accessModes"] = ["ReadWriteMany"]
        rolling = {"maxSurge": 0, "maxUnavailable": 1}  # no GPUs beyond those of the copies
        deployment["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    if len(order.copies) > 1:
        del deployment["spec"]["replicas"]  # the autoscaler's
    service["metadata"]["labels"] = {**service["metadata"]["labels"], PART_OF: observe.JOB}
    pod = deployment["spec"]["template"]["spec"]
    if order.sidecars:
        tools, *_ = rest
        pod["automountServiceAccountToken"] = False  # model-written code runs in this pod
        pod["initContainers"], rest = [_sidecar(one) for one in tools["spec"]["template"]["spec"]["containers"]], []
    pod["terminationGracePeriodSeconds"] = 300  # answers in flight are finished
    container = pod["containers"][0]
    requested = int(container["resources"]["requests"]["memory"].removesuffix("Gi")) + order.host_gib
    container["resources"]["requests"] |= {"memory": f"{requested}Gi", "cpu": "4"}
    container["resources"].setdefault("limits", {})["memory"] = f"{requested + SHM_GIB}Gi"
    next(one for one in pod["volumes"] if one["name"] == "shm")["emptyDir"]["sizeLimit"] = f"{SHM_GIB}Gi"
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN_S}}}
    if order.target.match.vendor == "nvidia":
        container["securityContext"] = {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"}}
    return [claim, deployment, service, *rest]


def _sidecar(container: Document) -> Document:
    """A tool server as Kubernetes' own sidecar: up before vLLM, which asks it once, on the pod's loopback alone."""
    (port,), words = (one["containerPort"] for one in container["ports"]), list(container["args"])
    for flag in ("--host", "--allow-host"):
        words[words.index(flag) + 1] = POD
    ask = f"import urllib.request as u; u.urlopen('http://{POD}:{port}/health', timeout=5)"
    probe = {"exec": {"command": ["python", "-c", ask]}, "periodSeconds": 5, "timeoutSeconds": 10}
    account = {**container["securityContext"], "runAsNonRoot": True, "runAsUser": 65534}
    own = {name: container[name] for name in ("name", "image", "imagePullPolicy", "resources")}
    own |= {"args": words, "restartPolicy": "Always", "securityContext": account}
    return own | {"startupProbe": {**probe, "failureThreshold": 60}, "livenessProbe": {**probe, "periodSeconds": 30}}


def _spread(order: Order) -> Order:
    """The server of one node, filled in by Kubernetes from what LeaderWorkerSet puts into a pod's environment."""
    own = flags(order.size, "$(LWS_GROUP_SIZE)", "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)")
    return replace(order, command=order.command.changed(own, connection(order.target, INTERFACE)))


def _router(order: Order) -> list[Document]:
    """The router, which finds the servers by their label: account, right to list pods, Deployment, Service."""
    name = f"{order.name}-router"
    labels = {"app.kubernetes.io/name": name}
    meta = {"name": name, "labels": labels}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    words = ["--host", "0.0.0.0", "--port", str(ROUTER_PORT), "--policy", POLICY]
    words += ["--service-discovery", "--selector", f"app.kubernetes.io/name={order.name}"]
    words += ["--service-discovery-port", str(order.command.port), "--service-discovery-namespace", "$(NAMESPACE)"]
    words += ["--prometheus-host", "0.0.0.0", "--prometheus-port", str(METRICS_PORT), *CARE]
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5}
    container = {
        "name": "router",
        "image": ROUTER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", ROUTER],
        "args": words,
        "env": [
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "SERVERS", "value": f"http://{order.name}:{order.command.port}"},
            {
                "name": "VLLM_API_KEY",
                "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "VLLM_API_KEY", "optional": True}},
            },
        ],
        "ports": [{"name": "http", "containerPort": ROUTER_PORT}, {"name": "metrics", "containerPort": METRICS_PORT}],
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_S}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "serviceAccountName": name,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 300,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": reference,
            "subjects": [{"kind": "ServiceAccount", "name": name}],
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}},
    ]


def _scaler(order: Order) -> list[Document]:
    """The autoscaler on the queue, where more copies may be started; how many may be missing at once."""
    labels = {"app.kubernetes.io/name": order.name}
    meta = {"name": order.name, "labels": labels}
    spare = {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spare}
    if len(order.copies) == 1:
        return [budget]
    metric = {"metric": {"name": QUEUE}, "target": {"type": "AverageValue", "averageValue": str(QUEUE_EACH)}}
    step = {"type": "Pods", "value": 1, "periodSeconds": 300}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": order.name},
            "minReplicas": order.copies[0],
            "maxReplicas": order.copies[-1],
            "metrics": [{"type": "Pods", "pods": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": SLOW_DOWN_S, "policies": [step]}},
        },
    }
    return [budget, scaler]


def _monitoring(order: Order) -> list[Document]:
    """For Prometheus' operator and Grafana's sidecar: what to scrape, the rules, the dashboard."""
    labels = {"app.kubernetes.io/name": order.name}
    monitor = {
        "jobLabel": PART_OF,
        "selector": {"matchLabels": {PART_OF: observe.JOB}},
        "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    meta = {"name": order.name, "labels": labels}
    board = {"gpt-oss.json": json.dumps(observe.dashboard(), indent=1)}
    return [
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": meta, "spec": monitor},
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": meta, "spec": observe.rules()},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{order.name}-dashboard", "labels": {**labels, "grafana_dashboard": "1"}},
            "data": board,
        },
    ]


def _adapter() -> Document:
    """Values of the chart prometheus-adapter: the queue as a metric of a pod."""
    query = "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)"
    names = {"matches": "^vllm:num_requests_waiting$", "as": QUEUE}
    places = {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}}
    series = 'vllm:num_requests_waiting{namespace!="",pod!=""}'
    return {"rules": {"custom": [{"seriesQuery": series, "resources": places, "name": names, "metricsQuery": query}]}}


def _guided(order: Order, files: dict[str, str]) -> dict[str, str]:
    """The files with those of the images that nobody publishes, and a README of the steps."""
    several, key = order.nodes > 1, "With VLLM_API_KEY the servers want the key on every path"
    images = {} if several else {ROUTER_IMAGE: "router.Dockerfile ."}
    if "--tool-server" in order.command.flags:
        files = files | {"tools.Dockerfile": str(tool_servers.part("dockerfile"))}
        images[str(tool_servers.part("image"))] = f"tools.Dockerfile {shlex.quote(str(ROOT))}"
    service = f"{order.name} 8000:{order.command.port}" if several else f"{order.name}-router 8000:80"
    first = "Install LeaderWorkerSet: `kubectl get crd leaderworkersets.leaderworkerset.x-k8s.io` names it."
    scaling = "; install prometheus-adapter with the values beside it, and\n   the autoscaler sees the queue"
    steps = [
        *([first] if several else []),
        *(
            f"Build `{name}` and give it to the cluster: `docker build -t {name} -f {file}`."
            for name, file in images.items()
        ),
        f"Write the keys once: `kubectl create secret generic {SECRET} --from-literal=HF_TOKEN=... "
        "--from-literal=VLLM_API_KEY=...`."
        f"\n   Both are optional. {key}{'' if several else ', and the router too'}.",
        "`kubectl apply -f gpt-oss.yaml`. The claim wants a storage class that many nodes may write to (ReadWriteMany).",
        f"Where Prometheus' operator runs: `kubectl apply -f monitoring.yaml`{'' if several else scaling}.",
        f"Ask: `kubectl port-forward service/{service}`, then http://127.0.0.1:8000/v1/models.",
    ]
    names = ", ".join(f"`{name}`" for name in sorted(files))
    listed = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    text = f"# {order.model.title} on {order.target.title}\n\nFiles: {names}.\n\n{listed}\n"
    return files | {"README.md": text}
