"""A Hugging Face Hub on loopback: the unmodified `huggingface_hub` client talks real HTTP to it.

HF_ENDPOINT is read when huggingface_hub is imported, so the code under test runs in a subprocess:

    with LoopbackHub() as hub:
        subprocess.run([sys.executable, "script.py"], env=hub.env(home), check=True)
        assert hub.read("alice/model", "config.json")

Everything lives in memory. Large files go over Git LFS; Xet, branches, pull requests, gated repositories and uploads in
several parts are not modelled, and neither are deleted folders or listings of more than 1,000 entries.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".parquet", ".arrow", ".gz", ".zip", ".npz", ".model", ".onnx")
LFS_THRESHOLD = 10 * 1024 * 1024
PIPELINE_TAGS = {"SequenceClassification": "text-classification", "ForCTC": "automatic-speech-recognition"}
REPO_ID = r"[\w.\-]+(?:/[\w.\-]+)?"
LANGUAGE = r"[a-z]{2,3}(-[A-Za-z]{2,4})?|multilingual|code"


@dataclass(frozen=True)
class Account:
    """Who a token belongs to; role is "read" or "write" and orgs are further namespaces it reaches."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (self.name, *self.orgs)


TOKENS = {
    "hf_alice_write": Account("alice", orgs=("acme",)),
    "hf_alice_read": Account("alice", role="read", orgs=("acme",)),
    "hf_bob_write": Account("bob"),
}


@dataclass(frozen=True)
class Entry:
    """A file in a commit: oid is the git blob of the content or of the LFS pointer, sha256 is set for LFS files."""

    content: bytes
    oid: str
    sha256: str | None = None


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    author: str
    date: str
    tree: dict[str, Entry]


@dataclass
class Repo:
    """A repository with one branch, main; commits are oldest first."""

    type: str
    id: str
    private: bool
    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, tree: dict[str, Entry], title: str, author: str) -> None:
        seed = json.dumps([self.id, len(self.commits), sorted((path, entry.oid) for path, entry in tree.items())])
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.commits.append(Commit(hashlib.sha1(seed.encode()).hexdigest(), title, author, date, tree))


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


def make_entry(content: bytes, sha256: str | None = None) -> Entry:
    blob = content
    if sha256 is not None:
        blob = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    return Entry(content, hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest(), sha256)


def read_card(text: str) -> dict[str, Any]:
    """The YAML block at the top of a README.md."""
    block = re.match(r"\A---[\r\n]+([\s\S]*?)[\r\n]+---([\r\n]+|\Z)", text)
    data = yaml.safe_load(block.group(1)) if block else {}
    if not isinstance(data, dict | None):
        raise ValueError("repo card metadata block should be a dict")
    return data or {}


def card_errors(text: str) -> list[str]:
    """The part of the Hub's card validation that a training script can get wrong."""
    try:
        card = read_card(text)
    except (yaml.YAMLError, ValueError) as error:
        return [f"YAML Metadata Error: {error}"]
    errors = []
    for i, model in enumerate(card.get("model-index") or []):
        if not model.get("name"):
            errors.append(f'"model-index[{i}].name" is required')
        for j, result in enumerate(model.get("results") or []):
            errors += [f'"model-index[{i}].results[{j}].{key}" is required' for key in missing_result_keys(result)]
    for key, pattern in (("language", LANGUAGE), ("base_model", REPO_ID), ("datasets", REPO_ID)):
        values = card.get(key) or []
        for value in values if isinstance(values, list) else [values]:
            if not re.fullmatch(pattern, str(value)):
                errors.append(f'"{key}" with value {value!r} is not valid')
    return errors


def missing_result_keys(result: dict[str, Any]) -> list[str]:
    needed = (("task", "type"), ("dataset", "type"), ("dataset", "name"))
    missing = [f"{section}.{key}" for section, key in needed if not (result.get(section) or {}).get(key)]
    for k, metric in enumerate(result.get("metrics") or []):
        missing += [f"metrics[{k}].{key}" for key in ("type", "value") if metric.get(key) is None]
    return missing


class LoopbackHub:
    """`with LoopbackHub() as hub:` serves on 127.0.0.1 at a free port.

    tokens maps each accepted token to its account. `requests` logs what was answered, and each (path regex, status)
    appended to `fail_next` makes one matching request fail.
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


API = rf"/api/(?P<kind>model|dataset|space)s/(?P<repo_id>{REPO_ID})"
WEB = r"/(?:(?P<kind>dataset|space)s/)?(?P<repo_id>[\w.\-]+/[\w.\-]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = []


def route(methods: str, pattern: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Answer these methods on this path; the pattern's groups are the function's arguments."""

    def register(function: Callable[..., Response]) -> Callable[..., Response]:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


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

    # account and card

    @route("GET", r"/api/whoami-v2")
    def whoami(self) -> Response:
        account = self.known_account()
        token = {"displayName": "test", "role": account.role, "createdAt": "2026-01-01T00:00:00.000Z"}
        orgs = [{"type": "org", "name": name} for name in account.orgs]
        user = {"type": "user", "id": "0" * 24, "name": account.name, "orgs": orgs}
        return Response(user | {"auth": {"type": "access_token", "accessToken": token}})

    @route("POST", r"/api/validate-yaml")
    def validate_yaml(self) -> Response:
        errors = [{"message": message} for message in card_errors(self.json()["content"])]
        return Response({"errors": errors, "warnings": []}, 400 if errors else 200)

    # repositories

    @route("POST", r"/api/repos/create")
    def create(self) -> Response:
        body = self.json()
        author = self.writer(body.get("organization") or self.known_account().name)
        kind, repo_id = body.get("type") or "model", f"{body.get('organization') or author.name}/{body['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return Response({"error": f"You already created this {kind} repo", "url": url}, 409)
        self.hub.create_repo(kind, repo_id, body.get("visibility") == "private", author.name)
        return Response({"url": url, "name": repo_id, "id": "0" * 24})

    @route("DELETE", r"/api/repos/delete")
    def delete(self) -> Response:
        body = self.json()
        namespace = body.get("organization") or self.known_account().name
        repo = self.repo(body.get("type"), f"{namespace}/{body['name']}", write=True)
        del self.hub.repos[repo.type, repo.id]
        return Response({})

    @route("PUT", rf"{API}/settings")
    def settings(self, kind: str, repo_id: str) -> Response:
        repo = self.repo(kind, repo_id, write=True)
        repo.private = self.json().get("visibility", "private" if repo.private else "public") == "private"
        return Response({"private": repo.private})

    @route("GET HEAD", rf"{API}(?:/revision/(?P<revision>[^/]+))?")
    def info(self, kind: str, repo_id: str, revision: str | None) -> Response:
        repo = self.repo(kind, repo_id)
        commit = self.commit_of(repo, revision or "main")
        readme, config = commit.tree.get("README.md"), commit.tree.get("config.json")
        card = read_card(readme.content.decode()) if readme else {}
        architectures = json.loads(config.content).get("architectures") or [] if config else []
        guesses = [tag for end, tag in PIPELINE_TAGS.items() if architectures and architectures[0].endswith(end)]
        info = {"_id": "0" * 24, "id": repo.id, "author": repo.id.split("/")[0], "sha": commit.oid, "cardData": card}
        info |= {"private": repo.private, "gated": False, "disabled": False, "lastModified": commit.date}
        info |= {"tags": card.get("tags") or [], "pipeline_tag": card.get("pipeline_tag") or next(iter(guesses), None)}
        info |= {"library_name": card.get("library_name"), "model-index": card.get("model-index")}
        return Response(info | {"siblings": [{"rfilename": path} for path in sorted(commit.tree)]})

    @route("GET", rf"{API}/auth-check(?P<write>/write)?")
    def auth_check(self, kind: str, repo_id: str, write: str | None) -> Response:
        self.repo(kind, repo_id, write=write is not None)
        return Response({})

    @route("GET", rf"{API}/refs")
    def refs(self, kind: str, repo_id: str) -> Response:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.repo(kind, repo_id).head.oid}
        return Response({"branches": [main], "tags": [], "converts": [], "pullRequests": []})

    # trees

    def node(self, path: str, commit: Commit) -> dict[str, Any]:
        if path not in commit.tree:
            return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
        entry = commit.tree[path]
        node = {"type": "file", "path": path, "size": len(entry.content), "oid": entry.oid}
        node["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
        if entry.sha256 is not None:
            node["lfs"] = {"oid": entry.sha256, "size": len(entry.content), "pointerSize": 134}
        return node

    @route("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
    def tree(self, kind: str, repo_id: str, revision: str, path: str | None) -> Response:
        commit = self.commit_of(self.repo(kind, repo_id), revision)
        recursive = parse_qs(self.url.query).get("recursive", ["false"])[0].lower() == "true"
        prefix, found = (f"{path}/" if path else ""), set()
        for name in commit.tree:
            if name.startswith(prefix):
                parts = name.removeprefix(prefix).split("/")
                found |= {prefix + "/".join(parts[:i]) for i in range(1, len(parts) + 1 if recursive else 2)}
        if path and not found:
            raise HubError(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
        return Response([self.node(name, commit) for name in sorted(found)])

    @route("POST", rf"{API}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, repo_id: str, revision: str) -> Response:
        commit = self.commit_of(self.repo(kind, repo_id), revision)
        paths = (self.json() if self.body.startswith(b"{") else parse_qs(self.body.decode())).get("paths", [])
        folders = {str(parent) for name in commit.tree for parent in Path(name).parents}
        return Response([self.node(path, commit) for path in paths if path in commit.tree or path in folders])

    # writing

    @route("POST", rf"{API}/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, repo_id: str, revision: str) -> Response:
        commit = self.commit_of(self.repo(kind, repo_id, write=True), revision)
        files = []
        for file in self.json()["files"]:
            binary = b"\0" in base64.b64decode(file.get("sample") or "")
            lfs = binary or file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_THRESHOLD
            answer = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            old = commit.tree.get(file["path"])  # lets the client skip a file that did not change
            files.append(answer | ({"oid": old.sha256 or old.oid} if old else {}))
        return Response({"files": files, "commitOid": commit.oid})

    @route("POST", rf"{WEB}\.git/info/lfs/objects/batch")
    def lfs_batch(self, kind: str | None, repo_id: str) -> Response:
        self.repo(kind, repo_id, write=True)
        objects = []
        for wanted in self.json()["objects"]:
            upload = {"href": f"{self.hub.store}/{wanted['oid']}"}
            verify = {"href": f"{self.hub.url}/{repo_id}.git/info/lfs/objects/verify"}
            actions = {} if wanted["oid"] in self.hub.objects else {"actions": {"upload": upload, "verify": verify}}
            objects.append({"oid": wanted["oid"], "size": wanted["size"], "authenticated": True, **actions})
        return Response({"transfer": "basic", "objects": objects})

    @route("POST", rf"{WEB}\.git/info/lfs/objects/verify")
    def lfs_verify(self, kind: str | None, repo_id: str) -> Response:
        body = self.json()
        if len(self.hub.objects.get(body["oid"], b"")) != body["size"]:
            raise HubError(404, "LFS object not found")
        return Response({"message": "ok"})

    @route("PUT GET", r"/_store/(?P<oid>[0-9a-f]{64})")
    def stored_object(self, oid: str) -> Response:
        if "Authorization" in self.headers:  # as with a pre-signed URL of the real store: a leaked token is an error
            raise HubError(400, "Only one auth mechanism allowed")
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                raise HubError(400, "sha256 mismatch")
            self.hub.objects[oid] = self.body
            return Response(b"", headers={"ETag": f'"{oid}"'})
        if oid not in self.hub.objects:
            raise HubError(404, "NoSuchKey")
        return Response(self.hub.objects[oid], headers={"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    @route("POST", rf"{API}/commit/(?P<revision>[^/]+)")
    def commit(self, kind: str, repo_id: str, revision: str) -> Response:
        repo = self.repo(kind, repo_id, write=True)
        header, *operations = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        if self.commit_of(repo, revision) is not repo.head or "create_pr" in self.url.query:
            raise HubError(400, f"{revision} is not the main branch")
        if header["value"].get("parentCommit") not in (None, "", repo.head.oid):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.head.tree)
        for operation in operations:
            self.apply(tree, operation["key"], operation["value"])
        repo.commit(tree, header["value"]["summary"], self.known_account().name)
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}/commit/{repo.head.oid}"
        return Response({"success": True, "commitOid": repo.head.oid, "commitUrl": url, "hookOutput": ""})

    def apply(self, tree: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            tree[path] = make_entry(base64.b64decode(value["content"]))
            if path == "README.md" and (errors := card_errors(tree[path].content.decode())):
                raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))
        elif key == "lfsFile":
            if value["oid"] not in self.hub.objects:
                raise HubError(400, f"LFS object {value['oid']} was not uploaded")
            tree[path] = make_entry(self.hub.objects[value["oid"]], value["oid"])
        elif key == "deletedFile":
            if tree.pop(path, None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        else:
            raise HubError(400, f"{key} is not modelled")

    # reading

    @route("GET HEAD", rf"{WEB}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, kind: str | None, repo_id: str, revision: str, path: str) -> Response:
        commit = self.commit_of(self.repo(kind, repo_id), revision)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if path not in commit.tree:
            raise HubError(404, "Entry not found", "EntryNotFound", headers)
        entry = commit.tree[path]
        if entry.sha256 is None:
            return Response(entry.content, headers=headers | {"ETag": f'"{entry.oid}"'})
        headers |= {"X-Linked-Size": str(len(entry.content)), "X-Linked-ETag": f'"{entry.sha256}"'}
        return Response(b"", 302, headers | {"Location": f"{self.hub.store}/{entry.sha256}"})
