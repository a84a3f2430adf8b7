"""A script in a Git repository: one commit of it, fetched over HTTP(S) or SSH by a library, into memory. No `git` program is run.

A hook, a submodule, a filter, a link: nothing of a repository is obeyed; blobs are read and that is all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from dulwich.client import AbstractHttpGitClient, GitClient
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, Tag, Tree

from clouds.providers.base import Deadline
from core.actor import Actor
from core.errors import Failed, Invalid, MistError
from keys.models import Key
from scripts.content import MOST_BYTES, MOST_DEPTH, MOST_FILES, Content, File, folder, safe_path
from scripts.sources import ssh
from scripts.sources.web import Client, address, authorization, told

DEADLINE_S = 60.0
MOST_PACK = 64 << 20  # bytes of one commit as sent
_SHORT = re.compile(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
_NO_GIT = (GitProtocolError, NotGitRepository, HangupException, AssertionError, ValueError, KeyError, EOFError)
_REF = re.compile(r"^[A-Za-z0-9_./+@-]{1,255}$")


def load(actor: Actor, repository: str, ref: str, exec_type: str, entrypoint: str, *, key: Key | None = None, token: str = "") -> Content:
    """The files of one commit: of `ref` (branch, tag, commit id), or of the branch the repository begins with.

    `key`: who we are over SSH. `token`: over https, or user:password.

    Raises: Invalid; Failed when the server does not answer in time; HostKeyUnknown, HostKeyChanged.
    """
    url = f"https://github.com/{repository.strip()}" if _SHORT.match(repository.strip()) else repository
    by_ssh = ssh.place(url)
    where = by_ssh or address(url)
    if ref and not _REF.match(ref):
        raise Invalid(fields={"ref": ["A branch, a tag or a commit."]}, code="bad_ref")
    with told(url, where.host), ExitStack() as stack:
        try:
            if by_ssh is not None:
                git: GitClient = stack.enter_context(ssh.opened(actor, by_ssh, key, Deadline(DEADLINE_S), MOST_PACK))
            else:
                web = stack.enter_context(Client(actor, DEADLINE_S, authorization=authorization(token)))
                git = _Git(where.text.rstrip("/"), web)
            commit, files = _fetch(git, ref)
        except _NO_GIT as error:
            if (cause := _ours(error)) is not None:
                raise cause from error
            detail = f"{where.host} does not answer as a Git repository there."
            raise Invalid(fields={"script": [detail]}, code="not_a_repository") from error
    return folder(files, exec_type, entrypoint, f"{where.text}@{commit}")


def _ours(error: BaseException) -> MistError | None:
    """Our own error below one of the library's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MistError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


class _Answer:
    """What the library wants to know of an answer."""

    def __init__(self, answer: Any, url: str, asked: str) -> None:
        self.status = answer.status
        self.content_type = (answer.getheader("Content-Type") or "").split(";")[0]
        self.redirect_location = url if url != asked else ""

    def close(self) -> None:
        """The client closes what it opened."""


class _Git(AbstractHttpGitClient):
    """The library's Git over our own HTTP."""

    def __init__(self, url: str, web: Client) -> None:
        super().__init__(url, quiet=True)
        self._web, self._left = web, MOST_PACK

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        answer, last = self._web.ask(url, method="GET" if body is None else "POST", data=body, headers=headers)
        if answer.status in (401, 403, 404):
            raise Invalid(fields={"script": ["There is no such repository, or it is private."]}, code="not_a_repository")
        if answer.status != 200:
            raise Invalid(fields={"script": [f"The Git server answers {answer.status}."]}, code="not_fetched")

        def read(size: int = -1) -> bytes:
            found = answer.read(65536 if size is None or size < 0 else size)
            self._left -= len(found)
            if self._left < 0:
                raise Invalid(fields={"script": [f"One commit of it is more than {MOST_PACK >> 20} MiB."]}, code="archive_too_large")
            return found

        return _Answer(answer, last, url), read


def _fetch(git: GitClient, ref: str) -> tuple[str, dict[str, File]]:
    """(commit id, its files)."""
    store = MemoryObjectStore()
    refs = git.get_refs(b"").refs
    wanted = _wanted(refs, ref)

    def wants(refs: Any, depth: int | None = None) -> list[Any]:
        return [wanted]

    class NoGraph:
        """We have nothing: the server sends all of the one commit."""

        def __next__(self) -> None:
            return None

        next = __next__

        def ack(self, sha: Any) -> None:
            """Nothing to note."""

        def nak(self) -> None:
            """Nothing to note."""

    f, commit, abort = store.add_pack()
    try:
        git.fetch_pack(b"", wants, NoGraph(), f.write, depth=1)  # type: ignore[arg-type]
        commit()
    except BaseException:
        abort()
        raise
    found = store[wanted]
    while isinstance(found, Tag):
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise Invalid(fields={"ref": ["It names no commit."]}, code="bad_ref")
    files: dict[str, File] = {}
    _walk(store, found.tree, "", files, [0, 0])
    return found.id.decode(), files


def _wanted(refs: Any, ref: str) -> Any:
    if not ref:
        names = [b"HEAD", b"refs/heads/main", b"refs/heads/master"]
    else:
        name = ref.encode()
        names = [name, b"refs/tags/" + name, b"refs/heads/" + name]
    for name in names:
        if refs.get(name):
            return refs[name]
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        return ref.encode()
    branches = sorted(name.decode("utf-8", "replace").rsplit("refs/heads/", 1)[1] for name in refs if name.startswith(b"refs/heads/"))
    there = f" There are: {', '.join(branches[:8])}." if branches else " The repository is empty."
    raise Invalid(fields={"ref": [f"There is no such branch, tag or commit.{there}"]}, code="bad_ref")


def _walk(store: MemoryObjectStore, tree: Any, prefix: str, files: dict[str, File], count: list[int]) -> None:
    found = store[tree]
    if not isinstance(found, Tree) or prefix.count("/") > MOST_DEPTH:
        raise Invalid(fields={"script": ["Its folders are too deep."]}, code="archive_too_large")
    for entry in found.iteritems():
        assert entry.path is not None and entry.mode is not None and entry.sha is not None
        path = safe_path(prefix + entry.path.decode("utf-8", "replace"))
        kind = entry.mode & 0o170000
        if kind == 0o040000:
            _walk(store, entry.sha, f"{path}/", files, count)
            continue
        if kind != 0o100000:  # links and submodules are left out: a repository may have some that no script needs
            continue
        blob = store[entry.sha]
        assert isinstance(blob, Blob)
        data = blob.as_raw_string()
        count[0] += 1
        count[1] += len(data)
        if count[0] > MOST_FILES or count[1] > MOST_BYTES:
            raise Invalid(
                fields={"script": [f"It holds more than {MOST_FILES:,} files or {MOST_BYTES >> 20} MiB."]}, code="archive_too_large"
            )
        files[path] = File(data=data, executable=bool(entry.mode & 0o111))


__all__ = ["Failed", "load"]
