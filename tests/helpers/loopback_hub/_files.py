"""Uploads, commits and downloads; large files go over Git LFS."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from loopback_hub._cards import card_errors
from loopback_hub._repos import LFS_SUFFIXES, LFS_THRESHOLD, Entry, make_entry
from loopback_hub._server import API, WEB, Handler, HubError, Response, route


@route("POST", rf"{API}/preupload/(?P<revision>[^/]+)")
def preupload(request: Handler, kind: str, repo_id: str, revision: str) -> Response:
    commit = request.commit_of(request.repo(kind, repo_id, write=True), revision)
    files = []
    for file in request.json()["files"]:
        binary = b"\0" in base64.b64decode(file.get("sample") or "")
        lfs = binary or file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_THRESHOLD
        answer = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        old = commit.tree.get(file["path"])  # lets the client skip a file that did not change
        files.append(answer | ({"oid": old.sha256 or old.oid} if old else {}))
    return Response({"files": files, "commitOid": commit.oid})


@route("POST", rf"{WEB}\.git/info/lfs/objects/batch")
def lfs_batch(request: Handler, kind: str | None, repo_id: str) -> Response:
    request.repo(kind, repo_id, write=True)
    objects = []
    for wanted in request.json()["objects"]:
        upload = {"href": f"{request.hub.store}/{wanted['oid']}"}
        verify = {"href": f"{request.hub.url}/{repo_id}.git/info/lfs/objects/verify"}
        actions = {} if wanted["oid"] in request.hub.objects else {"actions": {"upload": upload, "verify": verify}}
        objects.append({"oid": wanted["oid"], "size": wanted["size"], "authenticated": True, **actions})
    return Response({"transfer": "basic", "objects": objects})


@route("POST", rf"{WEB}\.git/info/lfs/objects/verify")
def lfs_verify(request: Handler, kind: str | None, repo_id: str) -> Response:
    body = request.json()
    if len(request.hub.objects.get(body["oid"], b"")) != body["size"]:
        raise HubError(404, "LFS object not found")
    return Response({"message": "ok"})


@route("PUT GET", r"/_store/(?P<oid>[0-9a-f]{64})")
def stored_object(request: Handler, oid: str) -> Response:
    if "Authorization" in request.headers:  # as with a pre-signed URL of the real store: a leaked token is an error
        raise HubError(400, "Only one auth mechanism allowed")
    if request.command == "PUT":
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise HubError(400, "sha256 mismatch")
        request.hub.objects[oid] = request.body
        return Response(b"", headers={"ETag": f'"{oid}"'})
    if oid not in request.hub.objects:
        raise HubError(404, "NoSuchKey")
    return Response(request.hub.objects[oid], headers={"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


@route("POST", rf"{API}/commit/(?P<revision>[^/]+)")
def commit(request: Handler, kind: str, repo_id: str, revision: str) -> Response:
    repo = request.repo(kind, repo_id, write=True)
    header, *operations = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    if request.commit_of(repo, revision) is not repo.head or "create_pr" in request.url.query:
        raise HubError(400, f"{revision} is not the main branch")
    if header["value"].get("parentCommit") not in (None, "", repo.head.oid):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    tree = dict(repo.head.tree)
    for operation in operations:
        apply(request, tree, operation["key"], operation["value"])
    repo.commit(tree, header["value"]["summary"], request.known_account().name)
    url = f"{request.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}/commit/{repo.head.oid}"
    return Response({"success": True, "commitOid": repo.head.oid, "commitUrl": url, "hookOutput": ""})


def apply(request: Handler, tree: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        tree[path] = make_entry(base64.b64decode(value["content"]))
        if path == "README.md" and (errors := card_errors(tree[path].content.decode())):
            raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    elif key == "lfsFile":
        if value["oid"] not in request.hub.objects:
            raise HubError(400, f"LFS object {value['oid']} was not uploaded")
        tree[path] = make_entry(request.hub.objects[value["oid"]], value["oid"])
    elif key == "deletedFile":
        if tree.pop(path, None) is None:
            raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
    else:
        raise HubError(400, f"{key} is not modelled")


@route("GET HEAD", rf"{WEB}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(request: Handler, kind: str | None, repo_id: str, revision: str, path: str) -> Response:
    commit = request.commit_of(request.repo(kind, repo_id), revision)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if path not in commit.tree:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    entry = commit.tree[path]
    if entry.sha256 is None:
        return Response(entry.content, headers=headers | {"ETag": f'"{entry.oid}"'})
    headers |= {"X-Linked-Size": str(len(entry.content)), "X-Linked-ETag": f'"{entry.sha256}"'}
    return Response(b"", 302, headers | {"Location": f"{request.hub.store}/{entry.sha256}"})
