"""A server before moto_server that does what moto does not: it pages every listing, and fails when it is told to.

    with front(moto_port) as ec2:                        # http://127.0.0.1:<ec2.port>
        ec2.answer("DescribeInstances", error("RequestLimitExceeded", 503), times=2)   # then moto answers again
        ec2.answer("DescribeInstances", silence, skip=1)                               # the first page is moto's

`calls` tells what was asked: the action, its parameters and the headers. Faults are of the wire: real bytes on a real socket.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Listings, and the element that holds their rows. moto itself pages the first only.
PAGED = {
    "DescribeInstances": "reservationSet",
    "DescribeImages": "imagesSet",
    "DescribeVpcs": "vpcSet",
    "DescribeSubnets": "subnetSet",
    "DescribeSecurityGroups": "securityGroupInfo",
    "DescribeVolumes": "volumeSet",
    "DescribeSnapshots": "snapshotSet",
    "DescribeInstanceTypes": "instanceTypeSet",
    "DescribeInstanceTypeOfferings": "instanceTypeOfferingSet",
}

# moto's answers about sizes, which are always the same and take it seconds.
STATIC: dict[str, ET.Element] = {}


@dataclass(frozen=True, kw_only=True)
class Call:
    action: str
    params: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(kw_only=True)
class Rule:
    action: str
    responder: Responder
    skip: int
    times: int | None


@dataclass
class Front:
    """What a test holds: the port, what was asked, and what is to go wrong."""

    port: int
    calls: list[Call] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    ends: dict[str, bool] = field(default_factory=dict)  # {volume: does it end with its machine}: EC2 says so, moto does not
    whole: dict[str, ET.Element] = field(default_factory=dict)  # answers of moto's that are being paged through

    def answer(self, action: str, responder: Responder, *, skip: int = 0, times: int | None = None) -> None:
        """Answer calls of an action ("*": each) so: after `skip` ordinary answers, `times` times (None: always)."""
        self.rules.append(Rule(action=action, responder=responder, skip=skip, times=times))

    def actions(self) -> list[str]:
        return [call.action for call in self.calls]

    def params(self, action: str) -> list[Mapping[str, str]]:
        return [call.params for call in self.calls if call.action == action]

    def rule_for(self, action: str) -> Rule | None:
        for rule in self.rules:
            if rule.action in {action, "*"} and rule.times != 0:
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front
    moto_port: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        params = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        action = params.get("Action", "")
        self.front.calls.append(Call(action=action, params=params, headers=dict(self.headers)))
        rule = self.front.rule_for(action)
        if rule:
            rule.responder(self, params)
        else:
            self.send(*self.moto(params))

    def moto(self, params: Mapping[str, str]) -> tuple[int, bytes]:
        """moto's answer, cut to the page that was asked for."""
        asked = dict(params)
        element = PAGED.get(asked["Action"])
        size, token = asked.pop("MaxResults", None), asked.pop("NextToken", None)
        if element == "reservationSet" and not any(key.startswith("InstanceId") for key in asked):
            asked["MaxResults"] = "100000"
        query = urllib.parse.urlencode(asked)
        whole = STATIC if asked["Action"].startswith("DescribeInstanceType") else self.front.whole
        if element and size and (token or query in STATIC):
            return 200, cut(whole[query], element, int(token or 0), int(size))
        connection = http.client.HTTPConnection("127.0.0.1", self.moto_port, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in {"content-length", "connection"}}
        connection.request("POST", "/", body=query.encode(), headers=headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        if element == "volumeSet" and status == 200 and self.front.ends:
            body = with_ends(body, self.front.ends)
        if element and size and status == 200:
            whole[query] = ET.fromstring(body)
            body = cut(whole[query], element, 0, int(size))
        return status, body

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


Responder = Callable[[Handler, Mapping[str, str]], None]


def cut(root: ET.Element, element: str, first: int, size: int) -> bytes:
    """One page of an answer: `size` rows of `element` from `first` on, and a token where there are more."""
    space = root.tag[1:].partition("}")[0]
    ET.register_namespace("", space)  # or every element is written with a prefix
    page = ET.Element(root.tag)
    for child in root:
        if child.tag == f"{{{space}}}{element}":
            rows = ET.SubElement(page, child.tag)
            rows.extend(child[first : first + size])
            if first + size < len(child):
                ET.SubElement(page, f"{{{space}}}nextToken").text = str(first + size)
        elif not child.tag.endswith("}nextToken"):
            page.append(child)
    return ET.tostring(page)


def with_ends(body: bytes, ends: Mapping[str, bool]) -> bytes:
    """DescribeVolumes with what moto leaves out: whether an attached volume is deleted when its machine is terminated."""
    root = ET.fromstring(body)
    space = root.tag[1:].partition("}")[0]
    ET.register_namespace("", space)
    for one in root.iterfind(f".//{{{space}}}attachmentSet/{{{space}}}item"):
        volume = one.findtext(f"{{{space}}}volumeId") or ""
        if volume in ends:
            ET.SubElement(one, f"{{{space}}}deleteOnTermination").text = "true" if ends[volume] else "false"
    return ET.tostring(root)


# -- what can go wrong


def error(code: str, status: int, message: str = "It went wrong.", headers: Mapping[str, str] | None = None) -> Responder:
    """An error as EC2 words it."""
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
    return lambda handler, params: handler.send(status, body.encode(), headers)


def body(content: bytes, status: int = 200) -> Responder:
    """Whatever bytes."""
    return lambda handler, params: handler.send(status, content)


def silence(handler: Handler, params: Mapping[str, str]) -> None:
    """The connection stays open, nothing comes."""
    handler.front.closing.wait(60)
    handler.close_connection = True


def half(handler: Handler, params: Mapping[str, str]) -> None:
    """Half of a page, then the connection is reset."""
    status, content = handler.moto(params)
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    time.sleep(0.05)  # the half arrives before the reset, which would throw it away
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def drip(handler: Handler, params: Mapping[str, str]) -> None:
    """A byte now and then, for ever: each keeps a socket's own time-out from passing."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        while not handler.front.closing.wait(0.1):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def front(moto_port: int, tls: ssl.SSLContext | None = None) -> Iterator[Front]:
    """A front on a free loopback port; with `tls`, over it."""
    handler = type("BoundHandler", (Handler,), {"moto_port": moto_port})
    server = _Server(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made = Front(server.server_address[1])
    handler.front = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
