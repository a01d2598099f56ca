"""Accounts, cards, repositories and their lists of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from loopback_hub._cards import card_errors, read_card
from loopback_hub._repos import Commit
from loopback_hub._server import API, Handler, HubError, Response, route

PIPELINE_TAGS = {"SequenceClassification": "text-classification", "ForCTC": "automatic-speech-recognition"}


@route("GET", r"/api/whoami-v2")
def whoami(request: Handler) -> Response:
    account = request.known_account()
    token = {"displayName": "test", "role": account.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    orgs = [{"type": "org", "name": name} for name in account.orgs]
    user = {"type": "user", "id": "0" * 24, "name": account.name, "orgs": orgs}
    return Response(user | {"auth": {"type": "access_token", "accessToken": token}})


@route("POST", r"/api/validate-yaml")
def validate_yaml(request: Handler) -> Response:
    errors = [{"message": message} for message in card_errors(request.json()["content"])]
    return Response({"errors": errors, "warnings": []}, 400 if errors else 200)


@route("POST", r"/api/repos/create")
def create(request: Handler) -> Response:
    body = request.json()
    author = request.writer(body.get("organization") or request.known_account().name)
    kind, repo_id = body.get("type") or "model", f"{body.get('organization') or author.name}/{body['name']}"
    url = f"{request.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
    if (kind, repo_id) in request.hub.repos:
        return Response({"error": f"You already created this {kind} repo", "url": url}, 409)
    request.hub.create_repo(kind, repo_id, body.get("visibility") == "private", author.name)
    return Response({"url": url, "name": repo_id, "id": "0" * 24})


@route("DELETE", r"/api/repos/delete")
def delete(request: Handler) -> Response:
    body = request.json()
    namespace = body.get("organization") or request.known_account().name
    repo = request.repo(body.get("type"), f"{namespace}/{body['name']}", write=True)
    del request.hub.repos[repo.type, repo.id]
    return Response({})


@route("PUT", rf"{API}/settings")
def settings(request: Handler, kind: str, repo_id: str) -> Response:
    repo = request.repo(kind, repo_id, write=True)
    repo.private = request.json().get("visibility", "private" if repo.private else "public") == "private"
    return Response({"private": repo.private})


@route("GET HEAD", rf"{API}(?:/revision/(?P<revision>[^/]+))?")
def info(request: Handler, kind: str, repo_id: str, revision: str | None) -> Response:
    repo = request.repo(kind, repo_id)
    commit = request.commit_of(repo, revision or "main")
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
def auth_check(request: Handler, kind: str, repo_id: str, write: str | None) -> Response:
    request.repo(kind, repo_id, write=write is not None)
    return Response({})


@route("GET", rf"{API}/refs")
def refs(request: Handler, kind: str, repo_id: str) -> Response:
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": request.repo(kind, repo_id).head.oid}
    return Response({"branches": [main], "tags": [], "converts": [], "pullRequests": []})


def node(path: str, commit: Commit) -> dict[str, Any]:
    if path not in commit.tree:
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
    entry = commit.tree[path]
    node = {"type": "file", "path": path, "size": len(entry.content), "oid": entry.oid}
    node["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    if entry.sha256 is not None:
        node["lfs"] = {"oid": entry.sha256, "size": len(entry.content), "pointerSize": 134}
    return node


@route("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def tree(request: Handler, kind: str, repo_id: str, revision: str, path: str | None) -> Response:
    commit = request.commit_of(request.repo(kind, repo_id), revision)
    recursive = parse_qs(request.url.query).get("recursive", ["false"])[0].lower() == "true"
    prefix, found = (f"{path}/" if path else ""), set()
    for name in commit.tree:
        if name.startswith(prefix):
            parts = name.removeprefix(prefix).split("/")
            found |= {prefix + "/".join(parts[:i]) for i in range(1, len(parts) + 1 if recursive else 2)}
    if path and not found:
        raise HubError(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
    return Response([node(name, commit) for name in sorted(found)])


@route("POST", rf"{API}/paths-info/(?P<revision>[^/]+)")
def paths_info(request: Handler, kind: str, repo_id: str, revision: str) -> Response:
    commit = request.commit_of(request.repo(kind, repo_id), revision)
    paths = (request.json() if request.body.startswith(b"{") else parse_qs(request.body.decode())).get("paths", [])
    folders = {str(parent) for name in commit.tree for parent in Path(name).parents}
    return Response([node(path, commit) for path in paths if path in commit.tree or path in folders])
