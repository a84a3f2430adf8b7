"""The containers that `create_machine` asks for, as the Terraform provider of kreuzwerker asks for them.

Source: the documentation of terraform-provider-docker: resources docker_container and docker_image
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import Rejected

from .. import _terraform as common
from .._hcl import Block, Blocks, Body, Expression, Template, Value, document, quoted
from ..facts import MachineSpec, Terraform, TerraformSpec
from . import form

TLS = "Where the engine wants TLS, DOCKER_CERT_PATH names the folder of ca.pem, cert.pem and key.pem, and the port is 2376."
ENVIRONMENT = "The values of the environment are not shown, as there may be secrets among them: give them in the variable env."
EXPOSED = "Left out, as docker_container has no argument for it: the exposed ports %(ports)s."
NO_CLOUDINIT = "Left out, as a container takes none: the cloud-init."
NO_VOLUMES = "Left out, as a container has none of that kind: the volumes with a size."
UNREAD = "Left out, as it cannot be read: %(text)s."
NOTES = (TLS, ENVIRONMENT, EXPOSED, NO_CLOUDINIT, NO_VOLUMES, UNREAD)
_MODES = {"ro", "rw", "z", "Z"}


def written(wanted: TerraformSpec) -> Terraform:
    spec, label = wanted.spec, common.label_of(wanted)
    notes: list[tuple[str, Mapping[str, Any]]] = []
    host, port, _tls = form.address(wanted.config)
    if form.is_socket(host):
        address = host
    else:
        address = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
        notes.append((TLS, {}))
    blocks = common.head("docker", "kreuzwerker/docker", "~> 4.5", {"host": address})
    environment = form.read_lines(spec.extra.get("env"))
    if any("=" in line for line in environment):
        blocks.append(Block("variable", ("env",), {"type": Expression("map(string)"), "sensitive": True}))
        notes.append((ENVIRONMENT, {}))
    image: Value = spec.image
    if not spec.image.startswith("sha256:"):  # it is fetched where it is not there, and stays when the container goes
        blocks.append(Block("resource", ("docker_image", label), {"name": spec.image, "keep_locally": True}))
        image = Expression(f"docker_image.{label}.image_id")
    blocks.append(common.resource(wanted, "docker_container", label, _container(wanted, image, environment, notes)))
    return Terraform(text=document(blocks), notes=tuple(notes))


def _container(wanted: TerraformSpec, image: Value, environment: list[str], notes: list[tuple[str, Mapping[str, Any]]]) -> Body:
    spec, extra = wanted.spec, wanted.spec.extra
    ports: list[tuple[str, str, str]] = []
    mounts: list[Body] = []
    for line in form.read_lines(extra.get("ports")):
        try:
            ports.append(form.read_port(line))
        except Rejected:
            notes.append((UNREAD, {"text": line[:50]}))
    for line in [*form.read_lines(extra.get("mounts")), *(f"{one.external_id}:{one.device}" for one in spec.volumes if one.external_id)]:
        mount = _mount(line)
        if mount is None:
            notes.append((UNREAD, {"text": line[:50]}))
        else:
            mounts.append(mount)
    try:
        command = shlex.split(str(extra.get("command") or ""))
    except ValueError:
        command = []
        notes.append((UNREAD, {"text": str(extra["command"])[:50]}))
    notes += _unsaid(spec)
    return {
        "name": common.name_of(wanted),
        "image": image,
        "command": command or None,
        "env": [_variable(line) for line in environment] or None,
        "cpus": f"{spec.cores}.0" if spec.cores else None,  # so it is read back
        "memory": spec.ram_mib or None,
        "memory_swap": spec.ram_mib * 2 if spec.ram_mib else None,  # as `form.limits`
        "network_mode": spec.network or None,
        "restart": str(extra.get("restart") or "no"),
        "ports": Blocks(_port(*port) for port in sorted(ports, key=_number)),
        "volumes": Blocks(mounts),
    }


def _unsaid(spec: MachineSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    exposed = form.read_lines(spec.extra.get("exposed"))
    if exposed:
        yield EXPOSED, {"ports": ", ".join(exposed)[:200]}
    if spec.cloudinit:
        yield NO_CLOUDINIT, {}
    if any(not volume.external_id for volume in spec.volumes):
        yield NO_VOLUMES, {}


def _variable(line: str) -> Value:
    """NAME=value as Docker takes it, the value from outside; NAME alone, which takes a variable of the image away, as it is."""
    name, sign, _value = line.partition("=")
    return Template((f"{name}=", Expression(f"var.env[{quoted(name)}]"))) if sign else line


def _number(port: tuple[str, str, str]) -> int:
    """The container's: in this order the provider reads them back, and in another it would make the container anew."""
    return int(port[2].partition("/")[0])


def _port(ip: str, public: str, private: str) -> Body:
    number, _slash, protocol = private.partition("/")
    return {"internal": int(number), "external": int(public) if public else None, "ip": ip or None, "protocol": protocol}


def _mount(line: str) -> Body | None:
    """volume:/path or /folder:/path, with modes behind. None: it is neither, or has a mode that the resource does not know."""
    source, _colon, rest = line.partition(":")
    path, _colon, last = rest.partition(":")
    modes = set(last.split(",")) if last else set()
    if not source or not path.startswith("/") or modes - _MODES or {"z", "Z"} <= modes:
        return None
    place = "host_path" if source.startswith("/") else "volume_name"
    return {place: source, "container_path": path, "read_only": "ro" in modes, "selinux_relabel": next(iter(modes & {"z", "Z"}), None)}
