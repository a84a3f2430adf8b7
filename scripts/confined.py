"""What a playbook's Ansible runs in: a place of its own with nothing of this machine in it but programs, and no network.

Ansible does what playbooks say on the machine it runs on, too: `delegate_to: localhost`, lookups that read files and run programs,
plugins beside the play. So it gets namespaces of its own (user, mount, process, network, IPC): it sees its folder, the programs it
needs, read-only, and no other process; connections to its hosts are handed in one by one (scripts/ansible_dial.py). None of its
processes takes more than LIMITS, and when the machine runs out of memory theirs is the first that goes.

A program by itself, started with `-I`: it imports nothing of ours.
    confined.py '{"root": "/tmp/x/root", "folder": "/tmp/x/work", "programs": ["/opt/venv", …], "hide": ["/var/lib/mist"]}' word word …

Source: https://man7.org/linux/man-pages/man7/user_namespaces.7.html, https://man7.org/linux/man-pages/man2/pivot_root.2.html
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

NEW = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000  # mount, UTS, IPC, user, PID, network
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 0x1000, 0x4000, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY, ATTR_NOSUID = 442, -100, 0x8000, 1, 2
INSIDE = 1000  # who one is there: nobody who may mount, whoever we are here

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
OF_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "ssl", "pki/tls", "crypto-policies")
LIMITS = {resource.RLIMIT_AS: 2 << 30, resource.RLIMIT_FSIZE: 512 << 20, resource.RLIMIT_CORE: 0}  # bytes, for each process
DEVICES = ("null", "zero", "full", "random", "urandom")
FILES = {
    "passwd": f"root:x:0:0::/:/bin/sh\nplay:x:{INSIDE}:{INSIDE}::/:/bin/sh\n",
    "group": f"root:x:0:\nplay:x:{INSIDE}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _bind(source: Path, target: Path, *, writable: bool = False) -> None:
    """Show a file or folder there, with what is mounted below it; read-only, all of it, unless it may be written."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), str(target), "", MS_BIND | MS_REC)
    if not writable:
        wanted = (ctypes.c_uint64 * 4)(ATTR_RDONLY | ATTR_NOSUID, 0, 0, 0)
        attr = _libc.syscall(MOUNT_SETATTR, AT_FDCWD, str(target).encode(), AT_RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted))
        _checked(attr, f"read-only {target}")


def _build(spec: dict[str, Any]) -> None:
    """The place, below `root`."""
    root = Path(spec["root"])
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("tmpfs", str(root), "tmpfs", MS_NOSUID | MS_NODEV, "size=128m,mode=755")
    for path in SYSTEM:
        if os.path.islink(path):
            (root / path[1:]).symlink_to(os.readlink(path))
        elif os.path.isdir(path):
            _bind(Path(path), root / path[1:])
    for path in spec["programs"]:
        for shown in dict.fromkeys((path, os.path.realpath(path))):
            if not (root / shown[1:]).exists():
                _bind(Path(path), root / shown[1:])
    for name in OF_ETC:
        if (there := Path("/etc", name)).exists():
            _bind(there, root / "etc" / name)
    (root / "etc").mkdir(exist_ok=True)
    for name, text in FILES.items():
        (root / "etc" / name).write_text(text)
    for name in DEVICES:
        _bind(Path("/dev", name), root / "dev" / name, writable=True)
    (root / "dev" / "shm").mkdir()
    for name, where in {"fd": "self/fd", "stdin": "self/fd/0", "stdout": "self/fd/1", "stderr": "self/fd/2"}.items():
        (root / "dev" / name).symlink_to(f"/proc/{where}")
    for name in ("tmp", "proc", "old"):
        (root / name).mkdir(exist_ok=True)
    _bind(Path(spec["folder"]), root / spec["folder"][1:], writable=True)
    for path in spec["hide"]:  # wherever it is: what is ours is in no program's folder by intention
        there = root / path[1:]
        if spec["folder"].startswith(f"{path}/"):
            continue  # then the folder is all that is shown of it
        if there.is_dir():
            _mount("tmpfs", str(there), "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=500")
        elif there.exists():
            _mount("/dev/null", str(there), "", MS_BIND)


def _enter(spec: dict[str, Any]) -> None:
    """From now on the place is all there is."""
    root = spec["root"]
    try:
        # Processes alone: what of /proc/sys belongs to root could be written by Mist run as root, whoever it is in here.
        _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV, "subset=pid")
    except OSError:
        pass  # a container masks its own: we go without
    os.chdir(root)
    _checked(_libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"old"), "pivot_root")
    os.chdir("/")
    _checked(_libc.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")
    _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _limit() -> None:
    """What one process of it may take, if we ourselves may have as much."""
    for what, most in LIMITS.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _wait(child: int) -> int:
    """Its exit code, once it has ended; other children of ours are buried meanwhile."""
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main(spec: dict[str, Any], words: list[str], folder: str) -> NoReturn:
    """Run `words` there; the exit code is theirs, or 125: there is no such place here, and standard error says why."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # nothing goes on without who asked
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is for the program, which is in our process group
    user, group = os.geteuid(), os.getegid()
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
        _checked(_libc.unshare(NEW), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INSIDE} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{INSIDE} {group} 1")
        _build(spec)
        first = os.fork()  # the first process of the new namespace: when it ends, all in it do
        if first == 0:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _enter(spec)
            second = os.fork()
            if second == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _limit()
                os.chdir(folder)
                os.execv(words[0], words)  # noqa: S606
            os._exit(_wait(second))
    except (OSError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(125)
    os._exit(_wait(first))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:], os.getcwd())
