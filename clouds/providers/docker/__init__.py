"""Docker: containers under their engine, over the Engine's REST API (Podman's compatible one too).

No client library stands between: the API is plain HTTP, and ours must dial only what the installation allows, within a
deadline, with nothing of this process's environment or ~/.docker in it (`_http.py`). Paths carry no version: the
engine answers in its newest, and only fields that all versions since 1.24 have are read.

Source: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NoReturn

from core.errors import AuthFailed, Gone, NotSupported, RateLimited, Rejected, Unavailable

from .._http import Answer, Http, basic, said, tls_context
from ..base import Context, Provider, register
from ..facts import ImageInfo, MachineInfo, MachineSpec, NetworkInfo, Terraform, TerraformSpec, VolumeInfo
from . import form, terraform
from .rows import ENGINE, MADE_FOR, Row, at, labels, machine, when

# Limits are not in the list of containers and cost a call each: beyond so many containers they stay unknown.
INSPECT_UP_TO = 200
STOP_S = 10  # what a container gets to end by itself before it is killed
_HOST_SAYS_NO = "A Docker host is not controlled through its engine: log in to it."
_HOST_VERBS = ("start", "stop", "reboot", "power_cycle", "suspend", "resume", "rename", "resize", "destroy")
_TERMINAL = "MIST_TERMINAL"  # in the environment of what runs in a terminal of ours


@register
class Docker(Provider):
    """One engine, its containers, images, networks and volumes. A container's labels cannot change, so they are no tags."""

    name, title, tile, category = "docker", "Docker", "dk", "container-host"
    doc = (
        "The address of a Docker Engine that listens with TLS (dockerd --tlsverify -H tcp://…), and a client certificate with its key. "
        "unix:///var/run/docker.sock reaches the engine on this machine; only an installation admin may add it."
    )
    credential_fields = form.CREDENTIALS
    create_fields = form.CREATE
    create_requires = frozenset({"image"})
    terraform_notes = terraform.NOTES
    custom_size = True
    verb_states = MappingProxyType(
        {
            "rename": frozenset({"running", "stopped", "suspended"}),
            "resize": frozenset({"running", "stopped", "suspended"}),
            "power_cycle": frozenset({"running"}),
        }
    )

    def __init__(self, credentials: Mapping[str, Any], context: Context | None = None) -> None:
        super().__init__(credentials, context)
        self._connection: Http | None = None

    @classmethod
    def needs_admin(cls, credentials: Mapping[str, Any]) -> str:
        if form.is_socket(str(credentials.get("host") or "")):
            return "A local socket is root on this machine: only an administrator of the installation may add it."
        return ""

    @classmethod
    def account(cls, credentials: Mapping[str, Any]) -> str:
        return f"docker:{str(credentials.get('host') or '').lower()}:{credentials.get('port') or ''}"

    def check(self) -> None:
        self._info()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- listings

    def list_machines(self) -> Iterator[MachineInfo]:
        yield self._host()
        yield from self._containers({"all": "1" if self.credentials.get("showAll", True) else "0"})

    def list_images(self) -> Iterator[ImageInfo]:
        with _sensible():
            for row in self._list("/images/json"):
                names = [name for name in row.get("RepoTags") or () if name != "<none>:<none>"]
                short = str(row["Id"]).removeprefix("sha256:")[:12]
                yield ImageInfo(
                    external_id=row["Id"],
                    name=names[0] if names else short,
                    created_at=at(row.get("Created")),
                    starred=bool(names),
                    extra={"tags": names[:20], "size_mib": int(row.get("Size") or 0) >> 20},
                )

    def list_networks(self) -> Iterator[NetworkInfo]:
        with _sensible():
            for row in self._list("/networks"):
                ranges = [one.get("Subnet") or "" for one in (row.get("IPAM") or {}).get("Config") or ()]
                extra = {"driver": row.get("Driver") or "", "scope": row.get("Scope") or "", "internal": bool(row.get("Internal"))}
                yield NetworkInfo(
                    external_id=row["Id"], name=row["Name"], cidr=ranges[0] if ranges else "", extra=extra | {"ranges": ranges[:10]}
                )

    def list_volumes(self) -> Iterator[VolumeInfo]:
        with _sensible():
            users: dict[str, list[str]] = {}
            for container in self._list("/containers/json", {"all": "1"}):
                for mount in container.get("Mounts") or ():
                    if mount.get("Type") == "volume":
                        users.setdefault(mount.get("Name") or "", []).append(container["Id"])
            for row in self._get("/volumes").get("Volumes") or ():
                attached = tuple(dict.fromkeys(users.get(row["Name"], ())))
                yield VolumeInfo(
                    external_id=row["Name"],
                    name=row["Name"],
                    size_gib=0,  # the engine only knows after reading every file; `extra` says that nobody asked
                    state="in-use" if attached else "available",
                    volume_type=row.get("Driver") or "",
                    attached_to=attached,
                    created_at=when(row.get("CreatedAt")),
                    extra={"labels": labels(row.get("Labels")), "size": "unknown"},
                )

    # -- one machine

    def get_machine(self, external_id: str) -> MachineInfo:
        if external_id == ENGINE:
            return self._host()
        chosen = _id(self, external_id)
        for info in self._containers({"all": "1", "filters": json.dumps({"id": [chosen]})}):
            if info.external_id == external_id:
                return info
        raise _gone()

    def create_machine(self, spec: MachineSpec) -> str:
        if not spec.image:
            raise Rejected("Say which image the container is made from.")
        if spec.cloudinit:
            raise Rejected("Containers take no cloud-init: set the command or the environment.")
        wanted = self._wanted(spec)
        label = {"all": "1", "filters": json.dumps({"label": [f"{MADE_FOR}={spec.token}"]})}
        with _sensible():
            for made in self._list("/containers/json", label):
                return str(made["Id"])
        answer = self._http.call("POST", "/containers/create", {"name": spec.name}, wanted)
        if answer.status == 404 and "image" in said(answer.body).lower():
            self._pull(spec.image)
            answer = self._http.call("POST", "/containers/create", {"name": spec.name}, wanted)
        with _sensible():
            container = str(self._result(answer)["Id"])
        try:
            self._act(container, "start")
        except Exception:
            # Half a machine is none. What went wrong with the start is what people need to read, not a failure of this.
            self._http.call("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})
            raise
        return container

    @staticmethod
    def terraform(wanted: TerraformSpec) -> Terraform:
        return terraform.written(wanted)

    def start_machine(self, external_id: str) -> None:
        self._act(external_id, "start")

    def stop_machine(self, external_id: str) -> None:
        self._act(external_id, "stop", self._patience())

    def reboot_machine(self, external_id: str) -> None:
        self._act(external_id, "restart", self._patience())

    def power_cycle_machine(self, external_id: str) -> None:
        self._act(external_id, "restart", {"t": "0"})  # kills at once; one call, so nothing is left killed and not started

    def suspend_machine(self, external_id: str) -> None:
        self._act(external_id, "pause")

    def resume_machine(self, external_id: str) -> None:
        self._act(external_id, "unpause")

    def rename_machine(self, external_id: str, name: str) -> None:
        self._act(external_id, "rename", {"name": name})

    def resize_machine(self, external_id: str, size: str | None, *, cores: int | None = None, ram_mib: int | None = None) -> None:
        container = _id(self, external_id)
        self._get(f"/containers/{container}/json")  # Gone goes before what is wrong with the wish
        limits = form.limits(cores, ram_mib)
        if size is not None or not limits:
            raise Rejected("Docker has no sizes: give cores or memory.")
        self._result(self._http.call("POST", f"/containers/{container}/update", body=limits))

    def destroy_machine(self, external_id: str) -> None:
        container = _id(self, external_id)
        self._result(self._http.call("DELETE", f"/containers/{container}", {"force": "1", "v": "1"}))

    # -- a terminal inside. `terminal`: the exec's id, and the mark its processes carry

    def create_terminal(self, external_id: str, *, user: str, cols: int, rows: int) -> str:
        mark = secrets.token_hex(16)
        wanted = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": True,
            "User": user,
            "ConsoleSize": [rows, cols],
            "Env": ["TERM=xterm-256color", f"{_TERMINAL}={mark}"],
            "Cmd": ["sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l"],
        }
        answer = self._http.call("POST", f"/containers/{_id(self, external_id)}/exec", body=wanted)
        with _sensible():
            return f"{self._result(answer)['Id']} {mark}"

    async def attach_terminal(self, terminal: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._http.upgrade(f"/exec/{terminal.split()[0]}/start", {"Detach": False, "Tty": True})

    def resize_terminal(self, terminal: str, cols: int, rows: int) -> None:
        self._result(self._http.call("POST", f"/exec/{terminal.split()[0]}/resize", {"h": str(rows), "w": str(cols)}))

    def terminal_status(self, terminal: str) -> int | None:
        with _sensible():
            found = self._get(f"/exec/{terminal.split()[0]}/json")
            return None if found["Running"] else int(found["ExitCode"])

    def end_terminal(self, external_id: str, terminal: str) -> None:
        # The engine ends nothing when the stream is closed: whatever carries the mark is told that its terminal is gone.
        mark = f"{_TERMINAL}={terminal.split()[1]}"
        script = f'for p in /proc/[0-9]*; do grep -qs "{mark}" "$p/environ" && kill -HUP "${{p#/proc/}}" 2>/dev/null; done'
        answer = self._http.call("POST", f"/containers/{_id(self, external_id)}/exec", body={"Cmd": ["sh", "-c", script]})
        with _sensible():
            run = self._result(answer)["Id"]
        self._result(self._http.call("POST", f"/exec/{run}/start", body={"Detach": True}))

    # -- inside

    @property
    def _http(self) -> Http:
        if self._connection is None:
            self._connection = _connect(self.credentials, self.context)
        return self._connection

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        found = self._result(self._http.call("GET", path, query), reading=True)
        if not isinstance(found, dict):
            _senseless(found)
        return found

    def _list(self, path: str, query: Mapping[str, str] | None = None) -> list[Row]:
        found = self._result(self._http.call("GET", path, query), reading=True)
        if not isinstance(found, list):
            _senseless(found)
        return found

    def _act(self, external_id: str, what: str, query: Mapping[str, str] | None = None) -> None:
        """A call on one container. That it is so already (304) is as good as done."""
        self._result(self._http.call("POST", f"/containers/{_id(self, external_id)}/{what}", query))

    def _patience(self) -> dict[str, str]:
        """How long the container may take to end: as long as is usual, and so that the answer is back in time."""
        return {"t": str(max(1, min(STOP_S, int(self.context.deadline.remaining()) - 5)))}

    def _result(self, answer: Answer, *, reading: bool = False) -> Any:
        """What the engine answered, or its refusal in our words. It says 500 for much that is a plain no (a port in use)."""
        if answer.status < 300:
            return answer.json() if answer.body else {}
        if answer.status == 304:
            return {}
        words = _message(answer)
        if "HTTP request to an HTTPS server" in words:
            raise AuthFailed(
                "That port speaks TLS: give a CA certificate, and the client's certificate and key.", code="cloud_tls_failed", words=words
            )
        if answer.status in {401, 403, 407}:
            raise AuthFailed("The engine, or a proxy before it, does not accept who we are.", words=words)
        if answer.status == 404 and "no such container" in words.lower():
            raise Gone("The container is not there any more.", words=words)
        if answer.status == 429:
            after = answer.headers.get("retry-after", "")
            raise RateLimited("The engine was asked too often.", retry_after_s=float(after) if after.isdecimal() else None, words=words)
        if not _is_engines(answer) or answer.status > 500 or (reading and answer.status == 500):
            raise Unavailable(f"Not a Docker Engine, or one that is not well: it answers {answer.status}.", words=words)
        raise Rejected(f"The engine says no: {words[:300] or answer.status}", words=words)

    def _info(self) -> Row:
        with _sensible():
            info = self._get("/info")
            if not isinstance(info.get("NCPU"), int) or "ServerVersion" not in info:
                _senseless(info)
            return dict(info)

    def _host(self) -> MachineInfo:
        info = self._info()
        host, port, _ = form.address(self.credentials)
        addresses = (
            [] if form.is_socket(host) else [ipaddress.ip_address(one) for one in self.context.resolve(host, port) if form.is_ip(one)]
        )
        with _sensible():
            return MachineInfo(
                external_id=ENGINE,
                name=info.get("Name") or host,
                state="running",
                type="container-host",
                hostname="" if form.is_socket(host) else host,
                public_ips=tuple(dict.fromkeys(str(one) for one in addresses if one.is_global)),
                private_ips=tuple(dict.fromkeys(str(one) for one in addresses if not one.is_global)),
                cores=info["NCPU"] or None,
                ram_mib=(int(info.get("MemTotal") or 0) >> 20) or None,
                os_type=info.get("OSType") or "linux",
                architecture=info.get("Architecture") or "",
                refusals=dict.fromkeys(_HOST_VERBS, _HOST_SAYS_NO),
                extra={
                    "os": info.get("OperatingSystem") or "",
                    "kernel": info.get("KernelVersion") or "",
                    "engine": info["ServerVersion"],
                    "storage": info.get("Driver") or "",
                },
            )

    def _containers(self, query: Mapping[str, str]) -> Iterator[MachineInfo]:
        rows = self._list("/containers/json", query)
        with _sensible():
            for row in rows:
                details: Row = {}
                if len(rows) <= INSPECT_UP_TO:
                    try:
                        details = self._get(f"/containers/{row['Id']}/json")
                    except Gone:  # between the two calls
                        continue
                yield machine(row, details)

    def _wanted(self, spec: MachineSpec) -> Row:
        """The body of a create.  Raises: Rejected for what cannot be, before anything is asked."""
        extra, may = spec.extra, bool(self.credentials.get("hostAccess"))
        published: dict[str, list[Row]] = {}
        for line in form.read_lines(extra.get("ports")):
            ip, public, private = form.read_port(line)
            published.setdefault(private, []).append({"HostIp": ip, "HostPort": public})
        exposed = [form.read_port(line)[2] for line in form.read_lines(extra.get("exposed"))]
        binds = [form.read_mount(line, may) for line in form.read_lines(extra.get("mounts"))]
        for volume in spec.volumes:
            if not volume.external_id or not volume.device:
                raise Rejected("A volume of a container is one that exists, with the path it is seen under.")
            binds.append(form.read_mount(f"{volume.external_id}:{volume.device}", may))
        if spec.network and not form.VOLUME_OR_NETWORK.fullmatch(spec.network):
            raise Rejected("A network is one of this cloud's, by its id or name.")
        if spec.network and not may and self._get(f"/networks/{spec.network}").get("Driver") == "host":
            raise Rejected("Containers of this cloud may not use the host's network.")
        try:
            command = shlex.split(str(extra.get("command") or ""))
        except ValueError as error:
            raise Rejected(f"The command cannot be read: {error}.") from error
        return {
            "Image": spec.image,
            "Cmd": command or None,
            "Env": form.read_lines(extra.get("env")),
            "Labels": {MADE_FOR: spec.token},
            "ExposedPorts": {port: {} for port in [*published, *exposed]},
            "HostConfig": {
                "PortBindings": published,
                "Binds": binds,
                "NetworkMode": spec.network or "default",
                "RestartPolicy": {"Name": extra.get("restart") or "no"},
                **form.limits(spec.cores, spec.ram_mib),
            },
        }

    def _pull(self, image: str) -> None:
        """Fetch an image into the engine, watched line by line.  Raises: Rejected when its registry has none or is not there."""
        name, digest, tag = image, "", ""
        if "@" in image:
            name, _, digest = image.partition("@")
        elif ":" in image.rpartition("/")[2]:
            name, _, tag = image.rpartition(":")
        failed = "The image is not on the engine and could not be pulled: "
        if image.startswith("sha256:"):
            raise Rejected("That image is not on the engine any more.")
        # Without a tag the engine would fetch every tag there is.
        with self._http.stream("POST", "/images/create", {"fromImage": name, "tag": digest or tag or "latest"}) as response:
            if response.status >= 300:
                answer = Answer(status=response.status, headers={}, body=response.read(65536))
                if answer.status in {404, 500}:
                    raise Rejected(failed + _message(answer)[:300], words=_message(answer))
                self._result(answer)
            while line := response.readline(65536):
                try:
                    step = json.loads(line)
                except ValueError:
                    continue  # a line beyond the cap, or half of one: what matters is asked for next
                if isinstance(step, dict) and step.get("error"):
                    raise Rejected(failed + str(step["error"])[:300], words=str(step["error"]))


def _connect(credentials: Mapping[str, Any], context: Context) -> Http:
    host, port, tls = form.address(credentials)
    if form.is_socket(host):
        return Http(context, api="docker", unix=host.removeprefix("unix://"))
    secure = None
    if tls:
        secure = tls_context(
            ca=credentials.get("tlsCaCert") or "", certificate=credentials.get("tlsCert") or "", key=credentials.get("tlsKey") or ""
        )
    user, password = credentials.get("username") or "", credentials.get("password") or ""
    headers = {"Authorization": basic(user, password)} if user or password else {}
    return Http(context, api="docker", host=host, port=port, tls=secure, headers=headers)


def _id(provider: Provider, external_id: str) -> str:
    """The id, fit for a path. The engine would take names and beginnings of ids too: never another container than the one meant."""
    provider.context.deadline.check()
    if external_id == ENGINE:
        raise NotSupported(_HOST_SAYS_NO)
    if not re.fullmatch(r"[0-9a-f]{64}", external_id):
        raise _gone()
    return external_id


# -- what the engine says


def _gone() -> Gone:
    return Gone("The container is not there any more.")


def _senseless(found: object) -> NoReturn:
    raise Unavailable("What answers there is no Docker Engine.", words=repr(found)[:100])


@contextmanager
def _sensible() -> Iterator[None]:
    """An answer of another shape than the API's is no answer."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        raise Unavailable("What answers there is no Docker Engine.", words=type(error).__name__) from error


def _is_engines(answer: Answer) -> bool:
    """Is it a refusal in the engine's own form?"""
    try:
        found = answer.json()
    except Unavailable:
        return False
    return isinstance(found, dict) and bool(found.get("message"))


def _message(answer: Answer) -> str:
    return str(answer.json()["message"]) if _is_engines(answer) else said(answer.body)
