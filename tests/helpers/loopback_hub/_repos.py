"""Accounts, and repositories with their commits and files."""

import hashlib
import json
import time
from dataclasses import dataclass, field

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".parquet", ".arrow", ".gz", ".zip", ".npz", ".model", ".onnx")
LFS_THRESHOLD = 10 * 1024 * 1024


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


def make_entry(content: bytes, sha256: str | None = None) -> Entry:
    blob = content
    if sha256 is not None:
        blob = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    return Entry(content, hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest(), sha256)
