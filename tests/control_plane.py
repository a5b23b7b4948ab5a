"""A real Kubernetes control plane on loopback: etcd and kube-apiserver, for a test; no node, nothing runs."""

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from helpers.server import free_port
from tests.programs import needed

ASSETS = "KUBEBUILDER_ASSETS"  # the folder that Kubernetes' own envtest keeps kube-apiserver in
READY_S = 60


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[httpx.Client]:
    """A client with every right; skips, with what is missing, where there is no kube-apiserver."""
    program = _apiserver()
    etcd_port, peer_port, port, token = free_port(), free_port(), free_port(), secrets.token_hex(16)
    etcd, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    (folder / "tokens.csv").write_text(f"{token},test,1,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", "key", "2048"], cwd=folder, check=True, capture_output=True)
    store = [needed("etcd", "etcd-server"), "--data-dir=store", f"--listen-client-urls={etcd}"]
    store += [f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}"]
    store += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
    api = [program, f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"]
    api += [f"--secure-port={port}", "--cert-dir=certs", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC"]
    api += ["--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=key"]
    api += ["--service-account-signing-key-file=key", "--service-cluster-ip-range=10.96.0.0/16"]
    running = []
    try:
        for words in (store, api):
            with (folder / f"{Path(words[0]).name}.log").open("w") as log:
                running.append(subprocess.Popen(words, cwd=folder, stdout=log, stderr=log))
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", headers=headers, verify=False, timeout=30) as client:
            _wait(client, folder)
            yield client
    finally:
        for one in reversed(running):
            one.terminate()
            one.wait(30)


def _apiserver() -> str:
    found = shutil.which("kube-apiserver", path=os.pathsep.join([os.environ.get(ASSETS, ""), os.environ["PATH"]]))
    if not found:
        pytest.skip(f"no kube-apiserver: put Kubernetes' own binary on the PATH, or name its folder in {ASSETS}")
    return found


def _wait(client: httpx.Client, folder: Path) -> None:
    ends = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/readyz").text == "ok":
                return
        assert time.monotonic() < ends, (folder / "kube-apiserver.log").read_text()[-2000:]
        time.sleep(0.5)


def place(client: httpx.Client, document: dict) -> str:
    """Where the API keeps a document, asked of the API itself."""
    group = document["apiVersion"]
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    kinds = client.get(root).raise_for_status().json()["resources"]
    own = next(one for one in kinds if one["kind"] == document["kind"] and "/" not in one["name"])
    space = "/namespaces/default" if own["namespaced"] else ""
    return f"{root}{space}/{own['name']}/{document['metadata']['name']}"


def apply(client: httpx.Client, document: dict) -> httpx.Response:
    """Server-side apply that refuses fields which the kind does not have."""
    asked = {"fieldManager": "cookbook", "fieldValidation": "Strict"}
    kind = {"Content-Type": "application/apply-patch+yaml"}
    return client.patch(place(client, document), params=asked, headers=kind, content=yaml.safe_dump(document))
