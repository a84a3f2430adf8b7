"""Who is let into a machine: keys and the organization's authority, put into its authorized_keys and taken out, over a login that works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from core.actions import Action, Call, register
from core.errors import AuthFailed, Conflict, NotFound, Rejected, Unavailable
from core.params import ResourceField, clean_text
from keys.models import Authority, AuthorityTrust, Key, KeyAssociation
from keys.ssh import Host
from machines import authorized
from machines.actions.base import S
from machines.models import Machine
from machines.reach import Login, reach, speaks_ssh, used, with_certificate, with_key

ASLEEP = frozenset({S.STOPPED, S.TERMINATED, S.SUSPENDED, S.PAUSED, S.CREATING})
WITHIN_S = 60.0


class UserField(serializers.RegexField):
    """A user's name on a host."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(r"^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}\$?$", max_length=64, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return clean_text(super().to_internal_value(data))


class RecordOnlyParams(serializers.Serializer[Any]):
    """`record_only`: write it down here and touch nothing on the machine."""

    record_only = serializers.BooleanField(required=False, default=False)


class LastWayParams(RecordOnlyParams):
    """`confirm`: also where it is the last login that works."""

    confirm = serializers.BooleanField(required=False, default=False)


class Access(Action):
    """An act on who is let in, in a worker: it logs in, edits one file, and logs in again to see whether it holds."""

    model = Machine
    background = True

    def offered(self, machine: Machine) -> bool:
        return speaks_ssh(machine)

    def check(self, call: Call) -> None:
        machine: Machine = call.target
        if call.params["record_only"]:
            return
        if machine.state in ASLEEP:
            raise Conflict(f"{machine} is {machine.state}: start it, or record it only.", code="machine_wrong_state")

    def snapshot(self, target: Any) -> dict[str, Any] | None:
        return None

    # --- on the machine

    def put_in(self, call: Call, new: Login, line: str) -> None:
        """See to it that `new` is let in. Verified where we can log in with it.

        Raises: Rejected (`no_way_in`, `not_let_in`, `not_written`), Unavailable, HostKeyChanged.
        """
        if new.error is None and self._lets_in(call, new):
            call.step("there", "It lets this in already.")
            return
        others = [login for login in reach(call.target).logins if (login.user, login.port, login.pem) != (new.user, new.port, new.pem)]
        if not others:
            raise Rejected(
                f"No login that works is known to {call.target}. Put this line into ~{new.user}/.ssh/authorized_keys there, and try again: "
                f"{line}",
                code="no_way_in",
            )
        with self._log_in(call, others) as host:
            changed = authorized.put(host, new.user, line)
            call.step("written" if changed else "there", f"~{new.user}/.ssh/authorized_keys, as {host.user}")
            if new.error is not None:
                call.step("not_verified", "Its private part is not here.")
            elif not self._lets_in(call, new):
                if changed:
                    authorized.take(host, new.user, line)
                raise Rejected(
                    f"The line stood in authorized_keys of {new.user}, but sshd did not let {new.user} in by it: it may read another file "
                    "(AuthorizedKeysFile) or not allow that user. The line was taken out again.",
                    code="not_let_in",
                )
            else:
                call.step("verified", f"{new.user} is let in.")

    def take_out(self, call: Call, gone: Sequence[Login], lines: Sequence[tuple[str, str]]) -> None:
        """Take (user, line)s out, by another login than `gone`; by one of these only where that was confirmed.

        Raises: Rejected (`last_way_in`, `not_written`), Unavailable, HostKeyChanged.
        """
        mine = {(login.association_id, login.trust_id) for login in gone}
        others = [login for login in reach(call.target).logins if (login.association_id, login.trust_id) not in mine]
        try:
            host = self._log_in(call, others) if others else None
        except AuthFailed:  # none of them is any good
            host = None
        if host is None:
            if not call.params["confirm"]:
                raise Rejected(
                    f"No other login is let into {call.target}. Send confirm: true to take out the last one.", code="last_way_in"
                )
            host = self._log_in(call, gone)
        with host:
            for user, line in lines:
                was = authorized.take(host, user, line)
                call.step("taken_out" if was else "not_there", f"~{user}/.ssh/authorized_keys")

    def _log_in(self, call: Call, logins: Sequence[Login]) -> Host:
        way = reach(call.target, by=logins)
        try:
            host = way.open(call.actor, lambda: WITHIN_S)
        except Unavailable as error:
            more = " Nothing was changed. To write it down here alone, send record_only: true."
            raise Unavailable(error.detail + more, words=error.words, code=error.code) from error
        if way.login is not None:
            used([way.login])
        return host

    def _lets_in(self, call: Call, login: Login) -> bool:
        try:
            self._log_in(call, [login]).close()
        except AuthFailed:
            return False
        return True


def _no_other_way(machine: Machine, gone: Sequence[Any]) -> bool:
    """Is there, as far as our rows tell, no login beside these?"""
    mine = {row.pk for row in gone}
    return not any(login.error is None and (login.association_id or login.trust_id) not in mine for login in reach(machine).logins)


class AssociateParams(RecordOnlyParams):
    """Which key opens it, as whom, on which port. `record_only`: the key is there already, or will be."""

    key = ResourceField(Key)
    user = UserField(required=False, default="root")
    port = serializers.IntegerField(min_value=1, max_value=65535, required=False, default=22)
    sudo = serializers.BooleanField(required=False, default=False)


@register
class AssociateKey(Access):
    """Put a key into the machine's authorized_keys, see that it is let in, and remember that it opens the machine."""

    name = "associate_key"
    params = AssociateParams

    def run(self, call: Call) -> dict[str, Any]:
        p = call.params
        if not p["record_only"]:
            self.put_in(call, with_key(p["key"], p["user"], p["port"]), f"{p['key'].public} mist-{p['key'].pk.hex[:12]}")
        row, _ = KeyAssociation.objects.update_or_create(
            org_id=call.target.org_id, key=p["key"], machine=call.target, user=p["user"], port=p["port"], defaults={"sudo": p["sudo"]}
        )
        return {"id": row.pk.hex, "key": p["key"].pk.hex, "user": p["user"], "port": p["port"], "recorded": p["record_only"]}


class DisassociateParams(LastWayParams):
    """The key; `user` where only one of several logins is meant."""

    key = ResourceField(Key)
    user = UserField(required=False)


@register
class DisassociateKey(Access):
    """Take a key out of the machine's authorized_keys. The last way in goes only where that is confirmed."""

    name = "disassociate_key"
    params = DisassociateParams

    def check(self, call: Call) -> None:
        super().check(call)
        rows = self._rows(call)
        if not rows:
            raise NotFound("This key is not associated with this machine.", code="not_associated")
        if not call.params["record_only"] and not call.params["confirm"] and _no_other_way(call.target, rows):
            raise Conflict(f"It is the last login known for {call.target}. Send confirm: true to take it out.", code="last_way_in")

    def run(self, call: Call) -> dict[str, Any]:
        rows, key = self._rows(call), call.params["key"]
        if not call.params["record_only"]:
            own = {row.pk for row in rows}
            gone = [login for login in reach(call.target).logins if login.association_id in own]
            self.take_out(call, gone, [(user, key.public) for user in dict.fromkeys(row.user for row in rows)])
        removed = [{"key": row.key_id.hex, "user": row.user, "port": row.port, "sudo": row.sudo} for row in rows]
        KeyAssociation.objects.filter(pk__in=[row.pk for row in rows]).delete()
        return {"removed": removed, "recorded": call.params["record_only"]}

    def _rows(self, call: Call) -> list[KeyAssociation]:
        rows = KeyAssociation.objects.filter(machine=call.target, key=call.params["key"])
        return list(rows.filter(user=call.params["user"]) if "user" in call.params else rows)


# --- the organization's authority ---------------------------------------------------------------------------------------


class TrustCaParams(RecordOnlyParams):
    """`user`: who is to be let in by certificate; as the login that works, where nothing is said.

    `record_only`: the machine trusts the authority already (TrustedUserCAKeys in its sshd_config, say).
    """

    user = UserField(required=False)
    port = serializers.IntegerField(min_value=1, max_value=65535, required=False)


@register
class TrustCa(Access):
    """Have the machine trust the organization's certificate authority, in place of an earlier one: no key of ours stays on it."""

    name = "trust_ca"
    params = TrustCaParams

    def check(self, call: Call) -> None:
        super().check(call)
        self._authority(call)

    def run(self, call: Call) -> dict[str, Any]:
        machine, p, authority = call.target, call.params, self._authority(call)
        known = next(iter(reach(machine).logins), None)
        user = p.get("user") or (known.user if known else "root")
        port = p.get("port") or (known.port if known else 22)
        before = AuthorityTrust.objects.filter(machine=machine, user=user).exclude(authority=authority).select_related("authority")
        earlier = list({row.authority for row in before})
        new = with_certificate(authority, user, port)
        if not p["record_only"]:
            self.put_in(call, new, authority.line)
            if earlier:
                with self._log_in(call, [new]) as host:
                    for one in earlier:
                        authorized.take(host, user, one.line)
                        call.step("taken_out", f"the line of {one.name}")
        before.update(authority=authority)  # on another port it is the same file
        AuthorityTrust.objects.update_or_create(
            machine=machine, user=user, port=port, defaults={"org_id": machine.org_id, "authority": authority}
        )
        return {"authority": authority.pk.hex, "user": user, "port": port, "recorded": p["record_only"]}

    def _authority(self, call: Call) -> Authority:
        found = Authority.objects.filter(org_id=call.target.org_id, is_current=True).first()
        if found is None:
            raise Conflict("The organization has no certificate authority. Make one first.", code="no_authority")
        return found


class DistrustCaParams(LastWayParams):
    """`user`: where it is trusted for several."""

    user = UserField(required=False)


@register
class DistrustCa(Access):
    """Have the machine trust the organization's certificate authority no more."""

    name = "distrust_ca"
    params = DistrustCaParams
    tier = 1

    def check(self, call: Call) -> None:
        super().check(call)
        rows = self._rows(call)
        if not rows:
            raise NotFound("This machine does not trust the certificate authority.", code="not_trusted")
        if not call.params["record_only"] and not call.params["confirm"] and _no_other_way(call.target, rows):
            raise Conflict(f"It is the last login known for {call.target}. Send confirm: true to take it out.", code="last_way_in")

    def run(self, call: Call) -> dict[str, Any]:
        rows = self._rows(call)
        if not call.params["record_only"]:
            own = {row.pk for row in rows}
            gone = [login for login in reach(call.target).logins if login.trust_id in own]
            self.take_out(call, gone, [(row.user, row.authority.line) for row in rows])
        removed = [{"authority": row.authority_id.hex, "user": row.user, "port": row.port} for row in rows]
        AuthorityTrust.objects.filter(pk__in=[row.pk for row in rows]).delete()
        return {"removed": removed, "recorded": call.params["record_only"]}

    def _rows(self, call: Call) -> list[AuthorityTrust]:
        rows = AuthorityTrust.objects.filter(machine=call.target).select_related("authority")
        return list(rows.filter(user=call.params["user"]) if "user" in call.params else rows)
