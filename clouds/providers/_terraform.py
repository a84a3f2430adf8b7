"""What the Terraform texts of all providers have in common: their head, and the names and counters of several machines.

Source: https://developer.hashicorp.com/terraform/language/meta-arguments/count
"""

from __future__ import annotations

import re

from ._hcl import Block, Blocks, Body, Expression, Template, Value
from .facts import TerraformSpec

CLOUDINIT = Expression('file("${path.module}/cloudinit.txt")')
CLOUDINIT_NOTE = "cloudinit.txt, beside this file, is to hold the cloud-init of the form: it is not shown, as there may be secrets in it."


def head(name: str, source: str, version: str, provider: Body) -> list[Block]:
    """Which Terraform provider it is, in the versions whose documentation was read, and where it goes."""
    required = Blocks([{name: {"source": source, "version": version}}])
    return [Block("terraform", (), {"required_providers": required}), Block("provider", (name,), provider)]


def name_of(wanted: TerraformSpec) -> Template:
    """The name of each, as a text."""
    return Template(tuple(part if isinstance(part, str) else _number(wanted, part) for part in wanted.name))


def _number(wanted: TerraformSpec, digits: int) -> str:
    if wanted.count == 1:
        return "1".zfill(digits)
    return Expression("count.index + 1" if digits == 1 else f'format("%0{digits}d", count.index + 1)')


def label_of(wanted: TerraformSpec) -> str:
    """What the resources are called within the file: made of the name, as far as its letters may be in one."""
    text = re.sub(r"[^a-z0-9]+", "_", "".join(part for part in wanted.name if isinstance(part, str)).lower()).strip("_")[:40]
    return text if text[:1].isalpha() else f"machine_{text}".strip("_")


def resource(wanted: TerraformSpec, kind: str, label: str, body: Body) -> Block:
    """One for each machine."""
    made: dict[str, Value | Blocks | None] = {"count": wanted.count if wanted.count > 1 else None}
    made.update(body)
    return Block("resource", (kind, label), made)


def each(wanted: TerraformSpec, resource: str, attribute: str) -> Expression:
    """An attribute of the resource that belongs to the same machine."""
    return Expression(f"{resource}{'[count.index]' if wanted.count > 1 else ''}.{attribute}")
