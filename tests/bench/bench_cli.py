"""The command line beside what it stands on: `python -c 'import httpx'`, CPU and wall, in the same run.

`mist --version` ≤ 0.6 ×; a list through a server that answers at once ≤ 1.8 ×; completion of a verb ≤ 0.8 ×. All medians.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench import harness

ROOT = Path(__file__).resolve().parents[2]
MIST = [sys.executable, "-m", "mist_cli"]
TIMES = 15
ROWS = [{"id": f"{n:032x}", "name": f"web-{n}", "state": "running", "cloud": "aws", "tags": {"env": "prod"}} for n in range(100)]
LIST = {
    "method": "GET",
    "path": "/machines",
    "about": "List.",
    "takes": [],
    "query": [],
    "lists": True,
    "search": True,
    "cursor": True,
    "only": True,
}
STOP = {
    "method": "POST",
    "path": "/machines/{machine}/actions/stop",
    "about": "Stop.",
    "takes": ["machine"],
    "query": [],
    "verb": "machine.stop",
}


class Server(BaseHTTPRequestHandler):
    """Answers a list at once: what is measured is the command line."""

    protocol_version = "HTTP/1.1"
    body = json.dumps(
        {"data": ROWS, "meta": {"total": 100, "returned": 100, "sort": "name", "start": 0, "next": None, "kind": "machine"}}
    ).encode()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *words: object) -> None:
        pass


def spent(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Medians of (CPU, wall) seconds."""
    cpus, walls = [], []
    for _ in range(TIMES):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(cpus)[TIMES // 2], sorted(walls)[TIMES // 2]


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        env = {
            **os.environ,
            "HOME": home,
            "PYTHONPATH": str(ROOT / "cli"),
            "MIST_URL": url,
            "MIST_TOKEN": "mist_bench",
            "XDG_CACHE_HOME": home,
        }
        sys.path.insert(0, str(ROOT / "cli"))
        os.environ["XDG_CACHE_HOME"] = home
        from mist_cli import catalogue

        commands = {"list": LIST, **{f"{verb}-it": STOP for verb in ("stop", "start", "reboot")}, "stop": STOP}
        nouns = {noun: {"kind": noun[:-1], "commands": commands} for noun in ("machines", *(f"noun{n}s" for n in range(30)))}
        catalogue._keep(url, {"form": catalogue.FORM, "mark": "", "nouns": nouns})
        spent([*MIST, "machines"], env)  # compiled
        base = spent([sys.executable, "-c", "import httpx"], env)
        completing = {**env, "_MIST_COMPLETE": "bash_complete", "COMP_WORDS": "mist machines st", "COMP_CWORD": "2"}
        figures = {
            "mist --version": (spent([*MIST, "--version"], env), 0.6),
            "mist machines": (spent([*MIST, "machines"], env), 1.8),
            "completion of a verb": (spent(MIST, completing), 0.8),
        }
        for name, (figure, bar) in figures.items():
            for what, at in (("CPU", 0), ("wall", 1)):
                harness.report(f"{name}, {what} beside import httpx ({base[at] * 1000:.0f} ms)", figure[at] / base[at], bar, "×")
    server.shutdown()
    harness.finish()


if __name__ == "__main__":
    main()
