"""An EC2 endpoint with N instances that answers at once and in pages: moto itself needs 15 s to list 5,000.

It makes one instance in a running moto_server, takes the real answer about it, repeats it N times with ids, addresses and
names of their own, and serves that for DescribeInstances. Every other call is passed on to moto.

    with big(5000, moto_port) as port: ...       # http://127.0.0.1:<port>, in a process of its own

`python -m tests.lab.ec2_big N MOTO_PORT` prints its port and serves until it is ended; loopback only.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCOPE = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
FORM = {"Authorization": SCOPE, "Content-Type": "application/x-www-form-urlencoded"}
RUN = (
    "Action=RunInstances&Version=2016-11-15&ImageId=ami-00000000000000001&InstanceType=t3.micro&MinCount=1&MaxCount=1"
    "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=NAME"
    "&TagSpecification.1.Tag.2.Key=env&TagSpecification.1.Tag.2.Value=prod"
)


def ask(moto_port: int, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, str, bytes]:
    """What moto answers: status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", moto_port, timeout=60)
    kept = {key: value for key, value in headers.items() if key.lower() not in {"host", "content-length", "connection"}}
    connection.request(method, path, body=body, headers=kept)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers.get_content_type(), content


def build(count: int, moto_port: int) -> tuple[str, list[str], str]:
    """What comes before the reservations of a page, each reservation, what comes after."""
    ask(moto_port, "POST", "/", FORM, RUN.encode())
    xml = ask(moto_port, "POST", "/", FORM, b"Action=DescribeInstances&Version=2016-11-15")[2].decode()
    head, rest = xml.split("<reservationSet>", 1)
    found = re.match(r"<item>.*?</instancesSet>.*?</item>", rest, re.DOTALL)
    assert found, "moto lists no instance"
    one = found[0]
    tail = rest[rest.rindex("</reservationSet>") :]
    ids = {prefix: re.search(rf"<{element}>({prefix}-[0-9a-f]+)<", one) for prefix, element in IDS.items()}
    addresses = sorted(set(re.findall(r"(?:i|I)p(?:Address)?>(\d+\.\d+\.\d+\.\d+)<", one)))
    items = []
    for k in range(count):
        made = one
        for prefix, match in ids.items():
            if match:
                made = made.replace(match[1], f"{prefix}-{k + 1:017x}")
        for j, address in enumerate(addresses):
            made = made.replace(address, f"10.{16 + j}.{k // 256 % 256}.{k % 256}")
        items.append(made.replace("<value>NAME<", f"<value>node-{k:05d}<"))
    return f"{head}<reservationSet>", items, tail


IDS = {"i": "instanceId", "r": "reservationId", "vol": "volumeId", "eni": "networkInterfaceId"}


def page(parts: tuple[str, list[str], str], query: str) -> bytes:
    """One page as EC2 gives it: MaxResults items from NextToken on; all of them where no MaxResults is asked."""
    head, items, tail = parts
    size, token = re.search(r"MaxResults=(\d+)", query), re.search(r"NextToken=(\d+)", query)
    first = int(token[1]) if token else 0
    last = first + int(size[1]) if size else len(items)
    more = f"<nextToken>{last}</nextToken>" if last < len(items) else ""
    return (head + "".join(items[first:last]) + tail.replace("</reservationSet>", f"</reservationSet>{more}", 1)).encode()


def serve(count: int, moto_port: int) -> None:
    """Print the port, then serve for ever."""
    parts = build(count, moto_port)
    pages: dict[str, bytes] = {}  # ready made, so that a client's time is its own

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = body.decode("latin1")
            if "Action=DescribeInstances&" in f"{query}&" and "InstanceId" not in query:
                key = " ".join(re.findall(r"(?:MaxResults|NextToken)=\d+", query))
                if key not in pages:
                    pages[key] = page(parts, query)
                status, kind, content = 200, "text/xml", pages[key]
            else:
                status, kind, content = ask(moto_port, "POST", self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def big(count: int, moto_port: int) -> Iterator[int]:
    """The port of such an endpoint, gone at the end."""
    process = subprocess.Popen([sys.executable, "-m", __name__, str(count), str(moto_port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the endpoint did not start")
        yield int(line)
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
