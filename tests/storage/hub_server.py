"""A small Hugging Face hub on this machine, for tests: datasets in memory, with the routes that huggingface_hub uses.

It knows commits (one for each change of a dataset), trees, paths, files with ranges, gated and private datasets, and
commits by upload of small files.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


@dataclass
class FakeHub:
    """The server's datasets and what was asked of it.

    Attributes:
        commits: the files of each commit, by dataset, then by commit.
        branches: the commit of each branch or tag, by dataset.
        closed: "gated" or "private", by dataset; the token `TOKEN` opens both.
        failing: an HTTP status that every answer has, if it is set.
        asked: method and path of every request.
        tokens: the Authorization headers seen.
    """

    commits: dict[str, dict[str, Files]] = field(default_factory=dict)
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    failing: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    address: str = ""

    def put(self, name: str, files: Files, branch: str = "main") -> str:
        """Make a commit with these files alone, let a branch be at it, and return it."""
        commits = self.commits.setdefault(name, {})
        commit = hashlib.sha1(f"{name} {branch} {len(commits)}".encode()).hexdigest()
        commits[commit] = dict(files)
        self.branches.setdefault(name, {})[branch] = commit
        return commit

    def put_folder(self, name: str, folder: Path, branch: str = "main") -> str:
        """Make a commit of a folder's files."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        return self.put(name, files, branch)

    def fetched(self) -> list[str]:
        """Return the paths of the files whose content was asked for."""
        return [path for method, path in self.asked if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, given: Any) -> None:
        self._send(200, json.dumps(given).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path).strip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path))
        self.hub.tokens.add(self.headers.get("Authorization"))
        if self.hub.failing:
            self._send(self.hub.failing, b"https://cdn.example/file?Signature=secret")
            return
        parts = path.split("/")
        if path == "api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
            if name not in self.hub.commits:
                self.hub.put(name, {})
            self._json({"url": f"{self.hub.address}/datasets/{name}"})
        elif path == "api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif parts[0] == "api" and parts[1] == "datasets":
            self._api("/".join(parts[2:4]), parts[4:], url.query, body)
        elif parts[0] == "datasets" and parts[3] == "resolve":
            self._resolve("/".join(parts[1:3]), parts[4:])
        else:
            self._send(404)

    def _open(self, name: str, content: bool) -> bool:
        """Return whether a request may see a dataset; otherwise answer it. Of a gated one all but content is seen."""
        closed = self.hub.closed.get(name)
        known = name in self.hub.commits
        if known and (self.headers.get("Authorization") == f"Bearer {TOKEN}" or closed is None):
            return True
        if known and closed == "gated":
            if content:
                self._refuse(401, "GatedRepo")
            return not content
        # as the hub does, which does not tell the anonymous whether there is such a dataset
        self._refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
        return False

    def _commit(self, name: str, parts: list[str]) -> tuple[str, list[str]] | None:
        """Return the commit that the first parts of a path name, and the rest; None after an answer that there is none.

        Revisions such as refs/convert/parquet have several parts.
        """
        for length in (1, 3):
            revision = "/".join(parts[:length])
            commit = self.hub.branches[name].get(revision, revision)
            if commit in self.hub.commits[name]:
                return commit, parts[length:]
        self._refuse(404, "RevisionNotFound")
        return None

    def _api(self, name: str, parts: list[str], query: str, body: bytes) -> None:
        if not self._open(name, content=False):
            return
        action = parts[0] if parts else "revision"
        found = self._commit(name, parts[1:] if parts else ["main"])
        if found is None:
            return
        commit, rest = found
        files = self.hub.commits[name][commit]
        if action == "revision":
            self._json({"id": name, "sha": commit, "private": False, "downloads": 0, "likes": 0, "tags": []})
        elif action == "tree":
            self._tree(files, "/".join(rest), parse_qs(query).get("recursive", ["false"])[0].lower() in ("true", "1"))
        elif action == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            self._json([_entry(path, files[path]) for path in wanted if path in files])
        elif action == "preupload":
            names = [one["path"] for one in json.loads(body)["files"]]
            self._json({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif action == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            new = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            made = self.hub.put(name, {**files, **new})
            address = f"{self.hub.address}/datasets/{name}/commit/{made}"
            self._json({"success": True, "commitOid": made, "commitUrl": address})
        else:
            self._send(404)

    def _tree(self, files: Files, folder: str, recursive: bool) -> None:
        prefix = f"{folder}/" if folder else ""
        below = [path for path in files if path.startswith(prefix)]
        if folder and not below:
            self._refuse(404, "EntryNotFound")
            return
        ends = (prefix + path.removeprefix(prefix) for path in below)
        folders = {end[:at] for end in ends for at in range(len(prefix), len(end)) if end[at] == "/"}
        entries = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
        entries += [_entry(path, files[path]) for path in below]
        self._json([one for one in entries if recursive or "/" not in one["path"].removeprefix(prefix)])

    def _resolve(self, name: str, parts: list[str]) -> None:
        if not self._open(name, content=True):
            return
        found = self._commit(name, parts)
        if found is None:
            return
        commit, rest = found
        path = "/".join(rest)
        content = self.hub.commits[name][commit].get(path)
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_entry(path, content)["oid"]}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted and self.command == "GET":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(206, content[start : end + 1], headers)
        else:
            self._send(200, content, headers)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # as git names it
    return {"type": "file", "path": path, "oid": blob, "size": len(content)}


@contextmanager
def hub_server(cache: Path) -> Iterator[FakeHub]:
    """Start a hub, and let huggingface_hub in this process and in those it starts use it, with a cache of its own."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        environment = {
            "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("HF_TOKEN", raising=False)
        in_process = {
            "ENDPOINT": hub.address, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(cache / "hub"),
            "HF_TOKEN_PATH": str(cache / "token"), "HF_HUB_DISABLE_XET": True,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        }  # fmt: skip
        for name, value in in_process.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
