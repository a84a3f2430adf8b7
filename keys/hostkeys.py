"""The host keys we know: pinned at first trust, which is an audited act; another one is refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn
from uuid import UUID

import asyncssh
from django.db import transaction
from django.utils import timezone

from core import events, live, vault
from core.actor import Actor
from core.errors import HostKeyChanged, HostKeyUnknown, Rejected
from keys.models import HostKey, Key

STRICT = "strict_host_keys"  # in a cloud's `extra`: no key of its hosts is trusted at first sight
UNMET = "unmet"  # the source of a host that nobody has trusted


def fingerprint(line: str) -> str:
    """`SHA256:…` of an OpenSSH public key line.  Raises: Rejected."""
    try:
        return str(asyncssh.import_public_key(line).get_fingerprint())
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Rejected("That is no OpenSSH public key.", code="bad_public_key") from error


def pinned(org_id: UUID, host: str, port: int) -> list[str]:
    """The public keys (OpenSSH lines) this host is known by; none: never met."""
    return list(HostKey.objects.filter(org_id=org_id, host=host, port=port).exclude(public="").values_list("public", flat=True))


def trust_first(actor: Actor, cloud: Any, host: str, port: int, line: str) -> None:
    """Pin the first key a host shows, and record it.

    Raises: HostKeyChanged when another was pinned meanwhile; HostKeyUnknown where a person is to look first, or where its console
    once printed others: what it shows is kept for who decides.
    """
    printed = printed_before(cloud.org_id, host, port)
    if printed and fingerprint(line) not in printed:
        _refuse(actor, cloud.org_id, cloud, host, port, line, printed)
    if cloud.extra.get(STRICT):
        _refuse(actor, cloud.org_id, cloud, host, port, line)
    pin(actor, cloud, host, port, line, source="console" if printed else "first-use")


def ask_first(actor: Actor, org_id: UUID, host: str, port: int, line: str) -> NoReturn:
    """A host that is no cloud's is never trusted at first sight.  Raises: HostKeyUnknown."""
    _refuse(actor, org_id, None, host, port, line)


def printed_before(org_id: UUID, host: str, port: int) -> list[str]:
    """Fingerprints that its console printed, of a host that is blocked because it shows none of them."""
    row = HostKey.objects.filter(org_id=org_id, host=host, port=port, public="", source="console").first()
    return row.fingerprint.split() if row is not None else []


def _refuse(
    actor: Actor, org_id: UUID, cloud: Any, host: str, port: int, line: str, printed: Collection[str] = (), target: Any = None
) -> NoReturn:
    """A host that is not known is told nothing. What it shows is kept, and told once: one act trusts it.

    `printed`: what its console says it should show; none: that a person looks first.  Raises: HostKeyUnknown.
    """
    shown = fingerprint(line)
    with transaction.atomic():
        of_cloud = cloud if cloud is not None and not cloud._state.adding else None
        defaults = {"name": f"{host}:{port}"[:255], "source": UNMET, "cloud": of_cloud}
        found, _ = HostKey.objects.get_or_create(org_id=org_id, host=host, port=port, public="", defaults=defaults)
        row = HostKey.objects.select_for_update().get(pk=found.pk)
        if printed and (row.offered != line or row.source == UNMET):
            _block(actor, row, line, printed, target=target or row)
            row.save()
        elif row.offered != line:
            row.offered, row.offered_from, row.offered_at = line, "", timezone.now()
            row.save()
            detail = {"host": host, "port": port, "offered": shown}
            events.record("host_key.unknown.observed", actor, org_id=row.org_id, target=row, detail=detail)
            live.changed(row.org_id, "host_key", [row.pk])
    why = "which it did not print on its console" if printed else "and nobody has trusted it yet"
    raise HostKeyUnknown(
        f"{host} shows {shown}, {why}. Nothing was run. Compare it with the host's own and trust it.", host=host, port=port, offered=line
    )


def pin(actor: Actor, cloud: Any, host: str, port: int, line: str, *, source: str) -> None:
    """Know a host by this key from now on, and record by which channel it was trusted: first-use, cloud-init or console.

    Raises: HostKeyChanged when another was pinned meanwhile.
    """
    with transaction.atomic():
        known = pinned(cloud.org_id, host, port)
        if known and line not in known:
            raise HostKeyChanged(
                f"{host} shows another key than the one we know. It is blocked until you trust the new one.",
                host=host,
                port=port,
                offered=line,
            )
        _, made = HostKey.objects.get_or_create(
            org_id=cloud.org_id,
            host=host,
            port=port,
            public=line,
            defaults={
                "name": f"{host}:{port}"[:255],
                "fingerprint": fingerprint(line),
                "source": source,
                "cloud": cloud if not cloud._state.adding else None,
            },
        )
        HostKey.objects.filter(org_id=cloud.org_id, host=host, port=port, public="").delete()  # it shows the right one after all
        if made:
            detail = {"host": host, "port": port, "fingerprint": fingerprint(line), "source": source}
            events.record(
                "key.host_trusted.succeeded",
                actor,
                org_id=cloud.org_id,
                target_kind="host_key",
                target_name=f"{host}:{port}",
                detail=detail,
            )


def changed(actor: Actor, org_id: UUID, host: str, port: int, line: str, *, vouched: str = "") -> bool:
    """A host shows another key than the one pinned: told once for each key it shows, and kept for who is to decide.

    `vouched`: who else knows that key: cloud-init, console.  Returns: is it told now?
    """
    with transaction.atomic():
        known = list(HostKey.objects.select_for_update().filter(org_id=org_id, host=host, port=port).order_by("trusted_at"))
        if not known or known[-1].offered == line:
            return False
        row = known[-1]
        HostKey.objects.filter(pk=row.pk).update(offered=line, offered_at=timezone.now(), offered_from=vouched)
        detail = {"host": host, "port": port, "known": [one.fingerprint for one in known], "source": row.source}
        detail |= {"offered": fingerprint(line), "offered_from": vouched}
        events.record("host_key.changed.observed", actor, org_id=org_id, target=row, detail=detail)
        live.changed(org_id, "host_key", [row.pk])
        return True


def vouch(org_id: UUID, host: str, port: int, line: str, by: str) -> None:
    """The key it shows, which is blocked, is known to somebody: console."""
    HostKey.objects.filter(org_id=org_id, host=host, port=port, offered=line).update(offered_from=by)


def compare(actor: Actor, row: HostKey, told: Collection[str]) -> None:
    """What a console printed after its host was trusted at first sight: the pin is the console's from then on, or the host is blocked."""
    with transaction.atomic():
        held = HostKey.objects.select_for_update().filter(pk=row.pk, public=row.public, source="first-use").first()
        if held is None:
            return
        if told and held.fingerprint in told:
            held.source = "console"
        elif told:
            _block(actor, held, held.public, told, target=held)
        held.save()


def _block(actor: Actor, row: HostKey, line: str, told: Collection[str], *, target: Any) -> None:
    """Not saved: it is known by what its console printed, which is not what it shows."""
    shown = fingerprint(line)
    row.public, row.source, row.fingerprint = "", "console", " ".join(sorted(told)[:7])
    row.offered, row.offered_from, row.offered_at = line, "", timezone.now()
    row.trusted_at = row.offered_at
    detail = {"host": row.host, "port": row.port, "known": sorted(told), "offered": shown, "source": "console"}
    events.record("host_key.changed.observed", actor, org_id=row.org_id, target=target, detail=detail)
    live.changed(row.org_id, "host_key", [row.pk])


def first_met(actor: Actor, machine: Any, host: str, port: int, line: str, *, told: Collection[str] = ()) -> None:
    """A machine is dialled for the first time and shows this key: pinned, by the most trusted channel that knows it.

    `told`: fingerprints it printed on its console, as its cloud passes them on.
    Raises: HostKeyUnknown where these are others, or a person is to look first.
    """
    told = told or printed_before(machine.org_id, host, port)  # a console forgets what it printed, we do not
    if not told:
        return trust_first(actor, machine.cloud, host, port, line)
    if fingerprint(line) in told:
        return pin(actor, machine.cloud, host, port, line, source="console")
    _refuse(actor, machine.org_id, machine.cloud, host, port, line, told, target=machine)


def private_part(key: Key | None, wanted: str) -> str:
    """The private part of a key, for those who dial with it.  Raises: Rejected when there is none."""
    if key is None:
        raise Rejected(f"There is no key {wanted[:80]}. Choose one that exists.", code="key_missing")
    if key.vault_id is None:
        raise Rejected(f"Key {key} has no private part here. Upload it, or choose another.", code="key_without_private")
    return str(vault.read(key.vault_id)["private"])
