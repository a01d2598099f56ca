"""The server: real HTTP requests, answered by the function registered for their path, and who may do what."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loopback_hub._cards import REPO_ID
from loopback_hub._repos import LFS_SUFFIXES, TOKENS, Account, Commit, Repo, make_entry

API = rf"/api/(?P<kind>model|dataset|space)s/(?P<repo_id>{REPO_ID})"
WEB = r"/(?:(?P<kind>dataset|space)s/)?(?P<repo_id>[\w.\-]+/[\w.\-]+)"
RESET = 0
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = []


@dataclass
class Response:
    payload: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An answer other than success, in the headers from which the client chooses its exception."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None):
        super().__init__(message)
        line = " ".join(message.split()).encode("ascii", "replace").decode()
        codes = {"X-Error-Code": code} if code else {}
        self.response = Response({"error": message}, status, {"X-Error-Message": line, **codes, **(headers or {})})


def route(methods: str, pattern: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Answer these methods on this path; the pattern's groups are the function's arguments."""

    def register(function: Callable[..., Response]) -> Callable[..., Response]:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


class LoopbackHub:
    """`with LoopbackHub() as hub:` serves on 127.0.0.1 at a free port.

    tokens maps each accepted token to its account. `requests` logs what was answered, and each (path regex, status)
    appended to `fail_next` makes one matching request fail; RESET as its status breaks the connection off.
    """

    def __init__(self, tokens: dict[str, Account] | None = None):
        self.tokens = TOKENS if tokens is None else tokens
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # LFS contents by sha256
        self.requests: list[tuple[str, str, int]] = []  # method, path, status
        self.fail_next: list[tuple[str, int]] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self.server.daemon_threads = False  # closing the server waits for them, so no socket is left open
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.store = f"http://localhost:{self.server.server_port}/_store"  # another host name: clients must drop tokens

    def __enter__(self) -> LoopbackHub:
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def env(self, home: str | Path, token: str | None = "hf_alice_write") -> dict[str, str]:
        """Environment of a subprocess that uses this hub; an empty folder as home is an empty cache."""
        prefixes = ("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
        env |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        env |= {"HF_HUB_DISABLE_TELEMETRY": "1"}
        env |= {"DISABLE_SAFETENSORS_CONVERSION": "1"}  # else a thread asks the real Hub's conversion Space
        env |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        return env | ({"HF_TOKEN": token} if token else {})

    def create_repo(self, repo_type: str, repo_id: str, private: bool, author: str) -> None:
        repo = self.repos[repo_type, repo_id] = Repo(repo_type, repo_id, private)
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
        repo.commit({".gitattributes": make_entry(attributes.encode())}, "initial commit", author)

    def read(self, repo_id: str, path: str, repo_type: str = "model") -> bytes:
        """Content of a file at the head of a repository."""
        return self.repos[repo_type, repo_id].head.tree[path].content


class Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    # plumbing

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the hub keeps its own log."""

    def handle_request(self) -> None:
        self.url, self.body = urlsplit(self.path), self.read_body()
        try:
            with self.hub.lock:
                response = self.respond()
        except HubError as error:
            response = error.response
        if response.status == RESET:
            self.hub.requests.append((self.command, self.path, RESET))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        else:
            self.send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def respond(self) -> Response:
        for failure in self.hub.fail_next:
            if re.search(failure[0], self.path):
                self.hub.fail_next.remove(failure)
                raise HubError(failure[1], "injected failure")
        for method, pattern, function in ROUTES:
            # Clients quote slashes inside a revision: match the quoted path, unquote its parts.
            if method == self.command and (match := pattern.fullmatch(self.url.path)):
                return function(self, **{k: v and unquote(v) for k, v in match.groupdict().items()})
        raise HubError(404, f"no route for {self.command} {self.path}")

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size + 2)[:size]  # a line end follows each chunk
        self.rfile.readline()  # unread bytes would reset the connection
        return body

    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def send(self, response: Response) -> None:
        status, data, headers = response.status, response.payload, response.headers
        if not isinstance(data, bytes):
            data, headers = json.dumps(data).encode(), {"Content-Type": "application/json; charset=utf-8", **headers}
        elif status == 200 and (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
            first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
            status, span = (206, f"{first}-{last}") if first < len(data) else (416, "*")
            headers = {**headers, "Content-Range": f"bytes {span}/{len(data)}"}
            data = data[first : last + 1]
        self.hub.requests.append((self.command, self.path, status))  # before the client can look
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data)), "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # who may do what

    def account(self) -> Account | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def known_account(self) -> Account:
        account = self.account()
        if account is None:
            raise HubError(401, "Invalid username or password.")
        return account

    def writer(self, namespace: str) -> Account:
        account = self.known_account()
        if account.role != "write" or namespace not in account.namespaces:
            raise HubError(403, f'You don\'t have the rights to write under the namespace "{namespace}"')
        return account

    def repo(self, kind: str | None, repo_id: str, *, write: bool = False) -> Repo:
        account, repo, namespace = self.account(), self.hub.repos.get((kind or "model", repo_id)), repo_id.split("/")[0]
        visible = repo is not None and (not repo.private or (account is not None and namespace in account.namespaces))
        if repo is None or not visible:
            status, message = (404, "Repository not found") if account else (401, "Invalid username or password.")
            raise HubError(status, message, "RepoNotFound")
        if write:
            self.writer(namespace)
        return repo

    def commit_of(self, repo: Repo, revision: str) -> Commit:
        if revision in ("main", "refs/heads/main"):
            return repo.head
        for commit in repo.commits:
            if re.fullmatch(r"[0-9a-f]{7,40}", revision) and commit.oid.startswith(revision):
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
