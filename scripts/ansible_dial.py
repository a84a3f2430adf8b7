"""How ssh gets to a host from the place a playbook runs in, which has no network: Mist dials, and hands the connection in.

ssh's ProxyCommand, with ProxyUseFdpass: ansible_dial.py SOCKET ADDRESS PORT. A program by itself: it imports nothing of ours.
Source: https://man.openbsd.org/ssh_config#ProxyUseFdpass
"""

from __future__ import annotations

import socket
import sys


def main(path: str, address: str, port: str) -> int:
    """Ask for the connection, and pass it on to ssh, which is at our standard output."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(path)
        asked.sendall(f"{address} {port}\n".encode())
        said, found, _, _ = socket.recv_fds(asked, 500, 1)
    if not found:
        sys.stderr.write(f"{said.decode(errors='replace') or 'The run has ended.'}\n")
        return 255
    with socket.socket(socket.AF_UNIX, fileno=1) as ssh:
        socket.send_fds(ssh, [b"\0"], found)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
