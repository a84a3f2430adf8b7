"""What a script is made of: one file, or a folder of them. Reading archives that strangers packed.

Nothing is ever unpacked to a disk here: members become entries of a dict, bounded in number and in bytes counted while they
are decompressed, so that a bomb costs no more than the bound. A path that leaves the folder, a link, a device: refused.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import Invalid

MOST_BYTES = 20 << 20  # of a folder, unpacked
MOST_FILES = 2_000
MOST_FILE_BYTES = 1 << 20  # of a script that is one file
MOST_PATH = 400  # characters
MOST_DEPTH = 30

FIRST_GUESSES = {
    "executable": ("main.sh", "run.sh", "main", "run", "main.py", "script.sh"),
    "ansible": ("main.yml", "main.yaml", "site.yml", "site.yaml", "playbook.yml", "playbook.yaml"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    data: bytes
    executable: bool = False


@dataclass(frozen=True, kw_only=True)
class Content:
    """`files`: {path in the folder: File}. One file is a script by itself; more are a bundle."""

    files: Mapping[str, File]
    entrypoint: str
    origin: str = ""

    @property
    def is_bundle(self) -> bool:
        return len(self.files) > 1 or "/" in self.entrypoint

    @property
    def size(self) -> int:
        return sum(len(file.data) for file in self.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 over paths, modes and bytes."""
        whole = hashlib.sha256(self.entrypoint.encode() + b"\0")
        for path in sorted(self.files):
            file = self.files[path]
            whole.update(b"%s\0%d\0%s" % (path.encode(), file.executable, hashlib.sha256(file.data).digest()))
        return whole.hexdigest()

    def stored(self) -> bytes:
        """As a version keeps it: the file's bytes, or the same tar.gz for the same folder."""
        return packed(self.files) if self.is_bundle else self.files[self.entrypoint].data

    @property
    def shebang(self) -> list[str]:
        """The words after `#!` as the kernel reads them: the program, and at most one argument. None: sh."""
        return shebang(self.files[self.entrypoint].data)


def shebang(data: bytes) -> list[str]:
    """The program a file names on its first line, with its one argument."""
    first = data[:300].split(b"\n", 1)[0]
    if not first.startswith(b"#!"):
        return ["/bin/sh"]
    words = first[2:].decode("utf-8", "replace").strip().split(None, 1)
    return [word.strip() for word in words] or ["/bin/sh"]


def interpreter(data: bytes) -> str:
    """Its name for people: bash, python3."""
    words = shebang(data)
    name = PurePosixPath(words[0]).name
    if name == "env" and len(words) > 1:
        name = next((w for w in words[1].split() if not w.startswith("-") and "=" not in w), name)
        name = PurePosixPath(name).name
    return name[:60]


def opened(stored: bytes, is_bundle: bool, entrypoint: str) -> dict[str, File]:
    """The files of what `stored` gave."""
    return dict(_tar(stored)) if is_bundle else {entrypoint: File(data=bytes(stored), executable=True)}


def inline(text: str, exec_type: str, entrypoint: str = "") -> Content:
    """A script typed or pasted.  Raises: Invalid."""
    data = text.replace("\r\n", "\n").encode()  # a `#!/bin/sh\r` runs nowhere
    if not text.strip():
        raise _wrong("It is empty.")
    if b"\0" in data:
        raise _wrong("A null character is not allowed: this is no text.")
    if len(data) > MOST_FILE_BYTES:
        raise _wrong(f"At most {MOST_FILE_BYTES >> 20} MiB; put more into an archive or a repository.")
    name = safe_path(entrypoint) if entrypoint else ("playbook.yml" if exec_type == "ansible" else "script")
    if "/" in name:
        raise Invalid(fields={"entrypoint": ["One file has a name, and no folder."]})
    return Content(files={name: File(data=data, executable=True)}, entrypoint=name)


def fetched(data: bytes, name: str, exec_type: str, entrypoint: str, origin: str) -> Content:
    """What a URL gave: an archive (known by its first bytes) or one file called `name`.  Raises: Invalid."""
    files = unpacked(data)
    if files is None:
        if not data.strip():
            raise _wrong("That address answers nothing.")
        if len(data) > MOST_FILE_BYTES:
            raise _wrong(f"One file has at most {MOST_FILE_BYTES >> 20} MiB.")
        if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            raise _wrong("That address answers a web page. Give the address of the file itself.")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(name).name)[:100].strip(".-") or "script"
        return Content(files={name: File(data=data, executable=True)}, entrypoint=name, origin=origin)
    return folder(files, exec_type, entrypoint, origin)


def folder(files: Mapping[str, File], exec_type: str, entrypoint: str, origin: str) -> Content:
    """A folder with the file to begin with, asked for or found.  Raises: Invalid, naming what there is."""
    if not files:
        raise _wrong("There is no file in it.")
    if not entrypoint:
        files = _without_top(files)
        names = FIRST_GUESSES[exec_type]
        entrypoint = next((name for name in names if name in files), "")
        if not entrypoint and len(files) == 1:
            entrypoint = next(iter(files))
        if not entrypoint and exec_type == "executable":
            able = [path for path, file in files.items() if file.executable and "/" not in path and file.data.startswith(b"#!")]
            entrypoint = able[0] if len(able) == 1 else ""
    else:
        entrypoint = safe_path(entrypoint)
        if entrypoint not in files:
            files = _without_top(files)
    if entrypoint not in files:
        some = ", ".join(sorted(files, key=lambda path: (path.count("/"), path))[:8])
        said = "There is no such file." if entrypoint else "Say which file to begin with."
        raise Invalid(fields={"entrypoint": [f"{said} There are: {some}{' …' if len(files) > 8 else ''}."]}, code="no_entrypoint")
    return Content(files=dict(files), entrypoint=entrypoint, origin=origin)


def _without_top(files: Mapping[str, File]) -> Mapping[str, File]:
    """Archives often hold one folder that holds everything: what is in it."""
    tops = {path.split("/", 1)[0] for path in files}
    if len(tops) == 1 and all("/" in path for path in files):
        return {path.split("/", 1)[1]: file for path, file in files.items()}
    return files


def safe_path(path: str) -> str:
    """A path inside a folder, without `./`.  Raises: Invalid."""
    clean = path.replace("\\", "/").rstrip("/")
    while clean.startswith("./"):
        clean = clean[2:]
    parts = clean.split("/")
    bad = not clean or clean.startswith("/") or ":" in parts[0] or len(clean) > MOST_PATH or len(parts) > MOST_DEPTH
    if bad or any(part in ("", ".", "..") for part in parts) or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in clean):
        raise _wrong(f"“{path[:100]!r}” is no path inside the folder.", code="unsafe_path")
    return clean


# --- archives --------------------------------------------------------------------------------------------------------


def unpacked(data: bytes) -> dict[str, File] | None:
    """The files of a tar (plain, gzip, bzip2, xz) or zip; None when it is neither.  Raises: Invalid."""
    try:
        if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return dict(_zip(data))
        if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")) or data[257:262] == b"ustar":
            return dict(_tar(data))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise _wrong(f"The archive is damaged or of a kind we do not read ({type(error).__name__}).", code="bad_archive") from error
    return None


class _Bounded(io.RawIOBase):
    """Decompressed bytes, at most so many: a bomb is refused when the bound is reached, not when memory is."""

    def __init__(self, inner: io.BufferedIOBase, most: int) -> None:
        self.inner, self.left = inner, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self.inner.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise _too_large()
        buffer[: len(data)] = data
        return len(data)


def _decompressed(data: bytes) -> io.BufferedReader:
    raw = io.BytesIO(data)
    if data.startswith(b"\x1f\x8b"):
        inner: io.BufferedIOBase = gzip.GzipFile(fileobj=raw)
    elif data.startswith(b"BZh"):
        inner = bz2.BZ2File(raw)
    elif data.startswith(b"\xfd7zXZ\0"):
        inner = lzma.LZMAFile(raw)  # noqa: SIM115 - it lives as long as its bytes
    else:
        inner = raw
    return io.BufferedReader(_Bounded(inner, MOST_BYTES + MOST_FILES * 2048), 1 << 16)


def _tar(data: bytes) -> Iterator[tuple[str, File]]:
    count = size = 0
    with tarfile.open(fileobj=_decompressed(data), mode="r|") as archive:  # a stream: no seeking, no second look
        for member in archive:
            count += 1
            if count > 2 * MOST_FILES:
                raise _too_many()
            if member.isdir() or member.type in (tarfile.XGLTYPE, tarfile.XHDTYPE):
                if member.isdir() and member.name.strip("./"):
                    safe_path(member.name)
                continue
            path = safe_path(member.name)
            if member.issym() or member.islnk():
                raise _wrong(f"“{path[:100]}” is a link: only files and folders are taken.", code="unsafe_link")
            if not member.isreg():
                raise _wrong(f"“{path[:100]}” is no ordinary file.", code="unsafe_member")
            size += member.size
            if size > MOST_BYTES:
                raise _too_large()
            read = archive.extractfile(member)
            assert read is not None
            yield path, File(data=read.read(), executable=bool(member.mode & 0o100))


def _zip(data: bytes) -> Iterator[tuple[str, File]]:
    size = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if len(archive.infolist()) > MOST_FILES:
            raise _too_many()
        for member in archive.infolist():
            if member.is_dir():
                safe_path(member.filename)
                continue
            path = safe_path(member.filename)
            mode = member.external_attr >> 16
            if mode & 0o170000 == 0o120000:
                raise _wrong(f"“{path[:100]}” is a link: only files and folders are taken.", code="unsafe_link")
            if member.flag_bits & 1:
                raise _wrong("The archive is encrypted.", code="bad_archive")
            with archive.open(member) as read:
                found = read.read(MOST_BYTES - size + 1)  # what its header says of its size is not believed
            size += len(found)
            if size > MOST_BYTES:
                raise _too_large()
            yield path, File(data=found, executable=bool(mode & 0o100))


def packed(files: Mapping[str, File]) -> bytes:
    """A tar.gz, the same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(files[path].data), 0o700 if files[path].executable else 0o600
            archive.addfile(member, io.BytesIO(files[path].data))
    return gzip.compress(raw.getvalue(), 6, mtime=0)


def _wrong(words: str, code: str = "bad_script") -> Invalid:
    return Invalid(fields={"script": [words]}, code=code)


def _too_large() -> Invalid:
    return _wrong(f"It holds more than {MOST_BYTES >> 20} MiB.", code="archive_too_large")


def _too_many() -> Invalid:
    return _wrong(f"It holds more than {MOST_FILES:,} files.", code="archive_too_large")
