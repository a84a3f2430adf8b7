"""How a poll writes machines."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction

from clouds.inventory import InventoryKind, ids_of, link_parents, register
from clouds.models import Cloud, Image, Location, Size
from clouds.providers.facts import LoginInfo
from core import events, live
from core.actor import Actor
from keys.models import Key, KeyAssociation
from machines.models import Machine
from networks.models import Network, Subnet

HOURS_A_MONTH = 730
STATES, TYPES = frozenset(Machine.State.values), frozenset(Machine.Type.values)  # the enum makes them anew at each asking


@register
class Machines(InventoryKind):
    """Machines. Tags are written by both sides: what the cloud changed since we last looked is applied to ours."""

    model = Machine
    method = "list_machines"
    refers = ("location", "size", "image", "network", "subnet")
    every_s = 60
    tells = True
    when_missing = {"state": Machine.State.TERMINATED}
    facts = {
        "state": "state",
        "name": "name",
        "size_id": "size",
        "cores": "size",
        "ram_mib": "size",
        "public_ips": "addresses",
        "private_ips": "addresses",
        "tags": "tags",
        "missing_since": "returned",
    }

    def references(self, cloud: Cloud) -> dict[str, Any]:
        sizes = Size.objects.filter(cloud=cloud).exclude(external_id="").values_list("external_id", "pk", "cost_hour", "currency")
        by_id = {external_id: (cost, currency) for external_id, _, cost, currency in sizes}
        return {
            "location": ids_of(Location, cloud),
            "size": {external_id: pk for external_id, pk, _, _ in sizes},
            "price": by_id,
            "image": ids_of(Image, cloud),
            "network": ids_of(Network, cloud),
            "subnet": ids_of(Subnet, cloud),
            "parents": {},
            "logins": {},
        }

    def columns(self, info: Any, refs: dict[str, Any]) -> dict[str, Any]:
        if info.parent:
            refs["parents"][info.external_id] = info.parent
        if info.login is not None:
            refs["logins"][info.external_id] = info.login
        cost: Decimal | None = info.cost_hour
        return {
            "name": (info.name or info.external_id)[:255],
            "state": info.state if info.state in STATES else Machine.State.UNKNOWN,
            "type": info.type if info.type in TYPES else Machine.Type.MACHINE,
            "hostname": info.hostname[:255],
            "public_ips": list(info.public_ips),
            "private_ips": list(info.private_ips),
            "cores": info.cores,
            "ram_mib": info.ram_mib,
            "disk_gib": info.disk_gib,
            "os_type": info.os_type,
            "architecture": info.architecture,
            "location_id": refs["location"].get(info.location),
            "size_id": refs["size"].get(info.size),
            "image_id": refs["image"].get(info.image),
            "network_id": refs["network"].get(info.network),
            "subnet_id": refs["subnet"].get(info.subnet),
            "cloud_tags": dict(info.tags) if info.tags is not None else None,
            "tags": dict(info.tags) if info.tags else {},
            "refusals": dict(info.refusals),
            "machine_created_at": info.created_at,
            "cost_hour": cost,
            "cost_month": round(cost * HOURS_A_MONTH, 4) if cost is not None else None,
            "currency": info.currency,
            "extra": dict(info.extra),
        }

    def merge(self, row: Machine, columns: dict[str, Any]) -> dict[str, Any]:
        theirs, last = columns["cloud_tags"], row.cloud_tags or {}
        tags = dict(row.tags)
        if theirs is not None:
            for key in last.keys() - theirs.keys():
                tags.pop(key, None)
            tags |= {key: value for key, value in theirs.items() if last.get(key) != value}
        return {**columns, "tags": tags}

    def settle(self, cloud: Cloud, refs: dict[str, Any]) -> None:
        if refs["parents"]:
            link_parents(Machine, cloud, refs["parents"])
        if refs["logins"]:
            associate_listed(cloud, refs["logins"])


def associate_listed(cloud: Cloud, logins: Mapping[str, LoginInfo]) -> None:
    """Shells and runs enter by the key that a cloud's list names, at the address it names. Done once for each login that is listed.

    logins: {external id: login}.
    """
    rows = Machine.objects.filter(cloud=cloud, external_id__in=logins).only("pk", "external_id", "address", "listed_login", "os_type")
    due = {row: logins[row.external_id] for row in rows if row.listed_login != _written(logins[row.external_id])}
    if not due:
        return
    keys: dict[str, Key] = {}
    for key in Key.objects.filter(org_id=cloud.org_id):
        keys |= {key.name: key, key.pk.hex: key, str(key.pk): key}
    made: dict[Key, list[KeyAssociation]] = {}
    for machine, login in due.items():
        if machine.address in ("", machine.listed_login.split(" ")[0]):  # else a person said another since
            machine.address = login.host
        machine.listed_login = _written(login)
        if (found := keys.get(login.key)) is not None:
            one = KeyAssociation(org_id=cloud.org_id, key=found, machine=machine, user=login.user, port=login.port)
            made.setdefault(found, []).append(one)
    actor = Actor.system(cloud.org_id, via=f"poll:{cloud.pk.hex}")
    with transaction.atomic():
        Machine.objects.bulk_update(due, ["address", "listed_login"], batch_size=500)
        for key, associations in made.items():
            KeyAssociation.objects.bulk_create(associations, batch_size=500, ignore_conflicts=True)
            detail = {"cloud": cloud.name, "machines": len(associations), "named": [one.machine.external_id for one in associations[:20]]}
            events.record("key.associated.observed", actor, target=key, detail=detail)
        live.changed(cloud.org_id, "machine", [machine.pk for machine in due])


def _written(login: LoginInfo) -> str:
    return f"{login.host} {login.port} {login.user} {login.key}"[:700]
