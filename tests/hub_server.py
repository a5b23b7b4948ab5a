"""A small server that speaks the hub's API on loopback, for one repository; it can refuse, fail and cut off."""

import hashlib
import json
import re
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """The hub with one repository in `folder`; `cut` closes the first transfer of that file half way."""

    def __init__(self, repository: str, folder: Path, token: str = "", cut: str = ""):
        self.repository, self.folder, self.token, self.cut = repository, folder, token, cut
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                hub.answer(self, body=False)

            def do_GET(self):
                hub.answer(self, body=True)

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def fetched(self) -> set[str]:
        """The files whose bytes were asked for."""
        found = (re.search(r"/resolve/[^/]+/(.*)$", path) for method, path, _ in self.requests if method == "GET")
        return {match.group(1) for match in found if match}

    def answer(self, http: BaseHTTPRequestHandler, body: bool) -> None:
        path = http.path.split("?")[0]
        self.requests.append((http.command, path, http.headers.get("Range", "")))
        if self.token and http.headers.get("Authorization") != f"Bearer {self.token}":
            return self.send(http, 401, b"{}", body, {"X-Error-Message": "Invalid credentials"})
        if path.startswith(f"/api/models/{self.repository}/tree/"):
            return self.send(http, 200, json.dumps([self.entry(file) for file in self.files()]).encode(), body)
        if path.startswith(f"/api/models/{self.repository}"):
            names = [{"rfilename": str(file.relative_to(self.folder))} for file in self.files()]
            info = {"id": self.repository, "modelId": self.repository, "sha": COMMIT, "siblings": names}
            return self.send(http, 200, json.dumps(info | {"tags": [], "downloads": 0}).encode(), body)
        match = re.fullmatch(rf"/{self.repository}/resolve/[^/]+/(.+)", path)
        if match and (self.folder / match.group(1)).is_file():
            return self.send_file(http, self.folder / match.group(1), body)
        return self.send(http, 404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    @cache  # noqa: B019 (one hub lives as long as its test)
    def entry(self, file: Path) -> dict:
        content = file.read_bytes()
        entry = {"type": "file", "path": str(file.relative_to(self.folder)), "size": len(content)}
        entry["oid"] = hashlib.sha1(content).hexdigest()
        if file.suffix == ".safetensors":
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def send_file(self, http: BaseHTTPRequestHandler, file: Path, body: bool) -> None:
        content, entry = file.read_bytes(), self.entry(file)
        etag = entry.get("lfs", entry)["oid"]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", http.headers.get("Range", ""))
        if wanted:
            start, status = int(wanted.group(1)), 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = body and entry["path"] == self.cut
        if cut:
            self.cut = ""
        part = content[start:]
        self.send(http, status, part, body, headers, len(part) // 2 if cut else None)

    def send(self, http, status: int, content: bytes, body: bool, headers: dict | None = None, only: int | None = None):
        http.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(content)))
        http.end_headers()
        if body:
            http.wfile.write(content[:only])
        if only is not None:
            http.wfile.flush()
            http.close_connection = True
