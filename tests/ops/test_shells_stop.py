"""`make run` is told to stop while somebody is in a shell."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from tests.bench.bench_shell import EMAIL, PASSWORD, SETUP, Shell
from tests.lab.sshd import Fake, fake_ssh
from tests.ops.stack import Stack

__all__ = ["fake_ssh"]

SESSION = """
from machines.models import Session
one = Session.objects.get()
print([one.state, one.ended_code, one.recording, one.recorded_chunks > 0])
"""


def test_who_is_in_a_shell_is_told_before_the_web_process_goes_and_its_recording_is_whole(tmp_path: Path, fake_ssh: Fake) -> None:
    async def prompt(process: object) -> None:
        process.stdout.write(b"ready> ")  # type: ignore[attr-defined]
        await process.stdin.read()  # type: ignore[attr-defined]

    stack = Stack.migrated(tmp_path / "home", MIST_ADMIN_EMAIL=EMAIL, MIST_ADMIN_PASSWORD=PASSWORD, MIST_SHELL_DRAIN_S="2")
    try:
        stack.start()
        host = ("many", fake_ssh.serve(prompt), "root", fake_ssh.private_key, fake_ssh.public_host_key)
        stack.manage("shell", "-v0", "-c", SETUP.format(hosts=json.dumps([host])))
        answer = stack.post("/api/v2/auth/tokens", {"email": EMAIL, "password": PASSWORD, "name": "test"})
        shell = Shell(stack.port, json.loads(answer[1])["data"]["token"], "many", control=True)
        shell.until(b"ready> ")
        said: list[str] = []

        def read() -> None:
            try:
                while True:
                    said.append(str(shell.socket.recv(timeout=30)))
            except ConnectionClosed:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        took = stack.stop(signal.SIGTERM)
        reader.join(10)
        told = [json.loads(one) for one in said if one.startswith("{")]
        assert [one for one in told if "ending" in one], said
        assert [one["ended"]["code"] for one in told if "ended" in one] == ["holder_stopped"]
        assert (shell.socket.close_code, took >= 2) == (1000, True)
        stack.start()
        assert stack.manage("shell", "-v0", "-c", SESSION).strip() == "['ended', 'holder_stopped', 'complete', True]"
        stack.manage("verify-recordings")
        stack.stop()
    finally:
        stack.kill()
