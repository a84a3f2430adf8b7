"""Run programs and reap what they leave behind: reaper.py PROGRAM [ARGUMENT …] [+ PROGRAM …]. Ends them when told to end.

QEMU daemonizes, and libvirt waits until such a process is gone; in a container whose first process does not reap, a dead
one stays for long, and each of libvirt's questions to QEMU takes a minute.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    commands: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        if word == "+":
            commands.append([])
        else:
            commands[-1].append(word)
    ours = [subprocess.Popen(command, start_new_session=True) for command in commands]

    def end(number: int, frame: object) -> None:
        for process in reversed(ours):
            os.kill(process.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    alive = {process.pid for process in ours}
    while alive:
        pid, _ = os.wait()
        alive.discard(pid)


if __name__ == "__main__":
    main()
