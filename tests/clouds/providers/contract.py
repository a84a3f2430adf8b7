"""What is true of every provider, as tests each provider's test class inherits.

    class TestDocker(ProviderContract):
        provider_class = Docker
        lists = frozenset({"list_machines", "list_images"})      # listings that must yield at least one row here

        @pytest.fixture
        def credentials(self, dockerd):                          # what the provider takes; it works and something is there
            return {"host": "127.0.0.1", "port": dockerd.port}

A class may lessen a claim by a class attribute below, never by overriding a test.
"""

from __future__ import annotations

import ipaddress
import json
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, get_args

import pytest

from clouds.providers import all_providers, provider
from clouds.providers.base import Context, Deadline, Provider
from clouds.providers.facts import (
    Field,
    FieldKind,
    ImageInfo,
    LocationInfo,
    MachineInfo,
    MachineSpec,
    NetworkInfo,
    SecurityGroupInfo,
    SizeInfo,
    SnapshotInfo,
    SubnetInfo,
    VolumeInfo,
)
from core.errors import Gone, NotSupported, ProviderError, RateLimited, Rejected, Unavailable

# The values of Machine.State.
MACHINE_STATES = frozenset(
    {
        "running",
        "starting",
        "stopping",
        "stopped",
        "pending",
        "suspended",
        "terminated",
        "error",
        "rebooting",
        "paused",
        "reconfiguring",
        "unknown",
        "updating",
        "migrating",
        "creating",
        "normal",
        "succeeded",
        "failed",
    }
)
MACHINE_TYPES = frozenset({"vm", "container", "hypervisor", "container-host", "machine", "node", "pod"})
VOLUME_STATES = frozenset({"available", "in-use", "creating", "deleting", "error", "unknown"})
LOCATION_TYPES = frozenset({"region", "zone", "datacenter", "host", "namespace"})
CATEGORIES = frozenset({"public", "private", "hypervisor", "container-host", "other"})

LISTINGS: dict[str, type] = {
    "list_machines": MachineInfo,
    "list_locations": LocationInfo,
    "list_sizes": SizeInfo,
    "list_images": ImageInfo,
    "list_networks": NetworkInfo,
    "list_subnets": SubnetInfo,
    "list_security_groups": SecurityGroupInfo,
    "list_volumes": VolumeInfo,
}
# Every verb on one machine, with what it takes after the machine's external id.
VERBS: dict[str, tuple[Any, ...]] = {
    "start_machine": (),
    "stop_machine": (),
    "reboot_machine": (),
    "power_cycle_machine": (),
    "suspend_machine": (),
    "resume_machine": (),
    "destroy_machine": (),
    "undefine_machine": (),
    "rename_machine": ("another-name",),
    "resize_machine": ("another-size",),
    "clone_machine": ("a-copy",),
    "tag_machine": ({"env": "dev"}, ("old",)),
    "list_snapshots": (),
    "create_snapshot": ("a-snapshot",),
    "remove_snapshot": ("a-snapshot",),
    "revert_to_snapshot": ("a-snapshot",),
}
SPEC = MachineSpec(name="contract", token="contract-token", image="an-image", size="a-size", location="a-location")


def assert_silent(said: object, secrets: tuple[str, ...]) -> None:
    """No secret is in what was said: a value's repr, or an error with its whole chain and everything an answer would carry."""
    if isinstance(said, BaseException):
        text = "".join(traceback.format_exception(said)) + repr(said) + repr(getattr(said, "extra", "")) + repr(getattr(said, "words", ""))
    else:
        text = said if isinstance(said, str) else repr(said)
    for secret in secrets:
        assert secret not in text, "a secret shows"


def assert_aware(value: datetime | None) -> None:
    assert value is None or value.utcoffset() == timedelta(0), f"{value!r} is not an aware time in UTC"


def assert_tags(value: Mapping[str, str] | None) -> None:
    assert value is None or all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()), value


def check_machine(info: MachineInfo) -> None:
    assert info.state in MACHINE_STATES, info.state
    assert info.type in MACHINE_TYPES, info.type
    for address in (*info.public_ips, *info.private_ips):
        ipaddress.ip_address(address)
    assert isinstance(info.public_ips, tuple)
    assert isinstance(info.private_ips, tuple)
    assert len(set(info.public_ips)) == len(info.public_ips)
    assert len(set(info.private_ips)) == len(info.private_ips)
    assert info.cores is None or info.cores > 0
    assert info.ram_mib is None or (isinstance(info.ram_mib, int) and info.ram_mib > 0)
    assert info.disk_gib is None or isinstance(info.disk_gib, int)
    assert info.cost_hour is None or isinstance(info.cost_hour, Decimal)
    assert_aware(info.created_at)
    assert_tags(info.tags)
    assert set(info.refusals) <= {name.removesuffix("_machine") for name in VERBS} | set(VERBS), info.refusals


def check_volume(info: VolumeInfo) -> None:
    assert info.state in VOLUME_STATES, info.state
    assert isinstance(info.size_gib, int)
    assert isinstance(info.attached_to, tuple)
    assert_aware(info.created_at)
    assert_tags(info.tags)


def check_size(info: SizeInfo) -> None:
    assert info.ram_mib is None or isinstance(info.ram_mib, int)
    assert info.disk_gib is None or isinstance(info.disk_gib, int)
    assert info.cost_hour is None or (isinstance(info.cost_hour, Decimal) and info.cost_hour > 0), "an unknown price is None, never 0"
    assert info.locations is None or isinstance(info.locations, tuple)


def check_image(info: ImageInfo) -> None:
    assert_aware(info.created_at)
    assert info.os_type, info


def check_location(info: LocationInfo) -> None:
    assert info.location_type in LOCATION_TYPES, info.location_type
    assert info.parent != info.external_id


CHECKS: dict[str, Callable[[Any], None]] = {
    "list_machines": check_machine,
    "list_volumes": check_volume,
    "list_sizes": check_size,
    "list_images": check_image,
    "list_locations": check_location,
}


def check_field(field: Field) -> None:
    assert field.name.isidentifier(), field
    assert field.label, field
    assert field.kind in get_args(FieldKind), field
    # A choice has nothing else; a text may offer values and take others.
    assert field.choices or field.kind != "choice", f"{field.name}: a choice of nothing"
    assert not field.choices or field.kind in {"choice", "text"}, f"{field.name}: choices where none can be made"
    assert bool(field.fields) == (field.kind == "list"), f"{field.name}: fields belong to a list"
    assert field.kind != "password" or field.secret, f"{field.name} is a password and not said to be secret"
    assert not (field.secret and field.default), f"{field.name}: a secret has no default"
    names = [name for inner in field.fields for name in (inner.name, *inner.aliases)]
    assert len(set(names)) == len(names), names
    for inner in field.fields:
        check_field(inner)


def secret_values(fields_: tuple[Field, ...], values: Mapping[str, Any]) -> Iterator[str]:
    """The values in `values` that the fields say are secret, rows of lists included."""
    for field in fields_:
        value = values.get(field.name)
        if field.kind == "list":
            for row in value or ():
                yield from secret_values(field.fields, row)
        elif field.secret and isinstance(value, str) and value:
            yield value


class ProviderContract:
    """Inherit, set `provider_class`, write the fixture `credentials`."""

    provider_class: ClassVar[type[Provider]]
    lists: ClassVar[frozenset[str]] = frozenset({"list_machines"})  # listings with at least one row in the place tested
    unknown_id: ClassVar[str] = "no-such-machine"  # well formed, and of no machine
    unknown_volume: ClassVar[str] = "vol-0123456789abcdef0"
    dials: ClassVar[bool] = True  # False: it has no network to speak to (demo), or none that `resolve` rules
    spends: ClassVar[bool] = True  # False: calls cost nothing and are not counted
    more_secrets: ClassVar[tuple[str, ...]] = ()  # beside those of the secret fields
    # Verbs whose answer for a machine that is not there is another than Gone: say why beside it.
    not_gone: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def credentials(self) -> Mapping[str, Any]:
        raise NotImplementedError("Write a fixture `credentials` with values that work.")

    @pytest.fixture
    def context(self) -> Context:
        """What a provider is given here; override to give keys or host keys."""
        return Context(cloud_id="contract", deadline=Deadline(30))

    @pytest.fixture
    def connected(self, credentials: Mapping[str, Any], context: Context) -> Iterator[Provider]:
        made = self.provider_class(credentials, context)
        yield made
        made.close()

    @pytest.fixture
    def secrets(self, credentials: Mapping[str, Any]) -> tuple[str, ...]:
        return (*secret_values(self.provider_class.credential_fields, credentials), *self.more_secrets)

    @pytest.fixture
    def refusing(self, credentials: Mapping[str, Any], context: Context) -> Iterator[Callable[..., Provider]]:
        """Makes a provider whose context differs: refusing(deadline=Deadline(0))."""
        made: list[Provider] = []

        def make(**changes: Any) -> Provider:
            kept = {field.name: getattr(context, field.name) for field in fields(context)}
            made.append(self.provider_class(credentials, Context(**{**kept, **changes})))
            return made[-1]

        yield make
        for one in made:
            one.close()

    # -- the class

    def test_it_is_registered_under_its_name_and_aliases(self) -> None:
        cls = self.provider_class
        assert all_providers()[cls.name] is cls
        assert all(provider(name) is cls for name in (cls.name, *cls.aliases))

    def test_it_says_what_it_is(self) -> None:
        cls = self.provider_class
        assert cls.title
        assert cls.doc
        assert 1 <= len(cls.tile) <= 3
        assert cls.category in CATEGORIES
        assert cls.create_requires <= {"image", "size", "location", "key", "network"}
        assert (cls.__doc__ or "").strip()
        verbs = {name.removesuffix("_machine") for name in VERBS}
        assert set(cls.verb_states) <= verbs, "verb_states names a verb that is none"
        assert all(states <= MACHINE_STATES for states in cls.verb_states.values()), cls.verb_states

    @pytest.mark.parametrize("form", ["credential_fields", "create_fields"])
    def test_its_forms_are_well_formed(self, form: str) -> None:
        declared: tuple[Field, ...] = getattr(self.provider_class, form)
        names = [name for field in declared for name in (field.name, *field.aliases)]
        assert len(set(names)) == len(names), names
        for field in declared:
            check_field(field)

    def test_its_account_and_its_need_of_an_admin_tell_no_secret(self, credentials: Mapping[str, Any], secrets: tuple[str, ...]) -> None:
        account, why = self.provider_class.account(credentials), self.provider_class.needs_admin(credentials)
        assert isinstance(account, str)
        assert isinstance(why, str)
        assert_silent((account, why), secrets)
        assert account == self.provider_class.account(dict(credentials)), "the same credentials are the same account"

    def test_what_it_supports_is_what_it_wrote_and_the_rest_is_not_supported(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        calls: dict[str, tuple[Any, ...]] = dict.fromkeys(LISTINGS, ())
        calls |= {"create_machine": (SPEC,)} | {name: (self.unknown_id, *more) for name, more in VERBS.items()}
        for name, arguments in calls.items():
            written = any(name in vars(cls) for cls in type(connected).__mro__[: type(connected).__mro__.index(Provider)])
            assert type(connected).supports(name) is written, name
            if not written:
                with pytest.raises(NotSupported) as caught:
                    getattr(connected, name)(*arguments)
                assert connected.title in caught.value.detail
                assert_silent(caught.value, secrets)
        assert not type(connected).supports("no_such_method")
        assert type(connected).supports("check")
        assert type(connected).supports("list_machines")

    # -- listings

    def test_the_check_passes_with_credentials_that_work(self, connected: Provider) -> None:
        connected.check()

    def test_each_permission_says_what_it_is_for_and_how_to_give_it(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        found = connected.permissions()
        assert len({check.name for check in found}) == len(found)
        for check in found:
            assert check.name
            assert check.purpose in connected.purposes
            assert check.ok in (True, False, None)
            assert check.ok is not False or check.fix, f"{check.name} is missing and nothing says how to give it"
        assert_silent(found, secrets)

    @pytest.mark.parametrize("listing", LISTINGS)
    def test_a_listing_yields_its_rows_complete_and_well_formed(self, connected: Provider, listing: str, secrets: tuple[str, ...]) -> None:
        if not type(connected).supports(listing):
            assert listing not in self.lists
            return
        rows = getattr(connected, listing)()
        assert isinstance(rows, Iterator), "a listing is a generator"
        found = list(rows)
        assert connected.incomplete == []
        assert found or listing not in self.lists, "nothing was listed"
        ids = [info.external_id for info in found]
        assert len(set(ids)) == len(ids), "an external id comes twice"
        for info in found:
            assert type(info) is LISTINGS[listing]
            assert isinstance(info.external_id, str)
            assert info.external_id
            assert isinstance(info.name, str)
            assert json.loads(json.dumps(dict(info.extra))) == dict(info.extra), "extra is plain JSON"
            assert len(json.dumps(dict(info.extra))) < 20_000, "extra is small"
            with pytest.raises(FrozenInstanceError):
                info.name = "changed"
            CHECKS.get(listing, lambda info: None)(info)
        assert_silent(found, secrets)

    def test_machines_refer_to_what_is_listed(self, connected: Provider) -> None:
        machines = list(connected.list_machines())
        ids = {machine.external_id for machine in machines}
        assert {machine.parent for machine in machines if machine.parent} <= ids
        for attribute, listing in (("location", "list_locations"), ("network", "list_networks"), ("subnet", "list_subnets")):
            named = {getattr(machine, attribute) for machine in machines} - {None}
            if named and type(connected).supports(listing):
                assert named <= {info.external_id for info in getattr(connected, listing)()}, attribute

    def test_a_machine_got_alone_is_the_machine_that_was_listed(self, connected: Provider) -> None:
        for machine in list(connected.list_machines())[:3]:
            alone = connected.get_machine(machine.external_id)
            for attribute in ("external_id", "name", "type", "tags"):
                assert getattr(alone, attribute) == getattr(machine, attribute)

    def test_snapshots_are_snapshots(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        if not type(connected).supports("list_snapshots"):
            return
        for machine in list(connected.list_machines())[:3]:
            try:
                found = list(connected.list_snapshots(machine.external_id))
            except (NotSupported, Rejected) as error:  # not each machine of a cloud has them
                assert_silent(error, secrets)
                continue
            assert all(type(one) is SnapshotInfo and one.external_id for one in found)
            assert len({one.external_id for one in found}) == len(found)

    # -- what goes wrong

    def test_a_machine_that_is_not_there_is_gone(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        with pytest.raises(Gone) as caught:
            connected.get_machine(self.unknown_id)
        assert_silent(caught.value, secrets)

    @pytest.mark.parametrize("verb", VERBS)
    def test_a_verb_on_a_machine_that_is_not_there_says_gone(self, connected: Provider, verb: str, secrets: tuple[str, ...]) -> None:
        written = type(connected).supports(verb)
        with pytest.raises(NotSupported if not written else ProviderError if verb in self.not_gone else Gone) as caught:
            getattr(connected, verb)(self.unknown_id, *VERBS[verb])
        assert_silent(caught.value, secrets)

    def test_a_volume_that_is_not_there_is_gone(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        if not type(connected).supports("delete_volume"):
            with pytest.raises(NotSupported):
                connected.delete_volume(self.unknown_volume)
            return
        for ask in (connected.get_volume, connected.delete_volume):
            with pytest.raises(Gone) as caught:
                ask(self.unknown_volume)
            assert_silent(caught.value, secrets)

    def test_past_its_deadline_it_asks_nothing_and_is_unavailable(
        self, refusing: Callable[..., Provider], secrets: tuple[str, ...]
    ) -> None:
        late = refusing(deadline=Deadline(0))
        for ask in (late.check, lambda: list(late.list_machines()), lambda: late.get_machine(self.unknown_id)):
            with pytest.raises(Unavailable) as caught:
                ask()
            assert_silent(caught.value, secrets)

    def test_each_call_is_counted_and_a_spent_budget_stops_it(self, refusing: Callable[..., Provider]) -> None:
        if not self.spends:
            return
        spent: list[str] = []
        list(refusing(spend=spent.append).list_machines())
        assert spent
        assert all(isinstance(api, str) and api for api in spent)

        def none_left(api: str) -> None:
            raise RateLimited("The budget of calls is spent.", retry_after_s=3)

        with pytest.raises(RateLimited) as caught:
            list(refusing(spend=none_left).list_machines())
        assert caught.value.retry_after_s == 3

    def test_an_address_that_is_refused_is_not_dialled(self, refusing: Callable[..., Provider]) -> None:
        if not self.dials:
            return

        def refuse(host: str, port: int) -> list[str]:
            raise Rejected(f"{host} may not be dialled from here.")

        kept_out = refusing(resolve=refuse)
        for ask in (kept_out.check, lambda: list(kept_out.list_machines())):
            with pytest.raises(Rejected, match="may not be dialled"):
                ask()

    def test_it_shows_no_secret_of_itself(self, connected: Provider, secrets: tuple[str, ...]) -> None:
        assert_silent(connected, secrets)
        assert_silent(str(connected), secrets)

    def test_it_can_be_closed_twice_and_before_any_call(self, credentials: Mapping[str, Any], context: Context) -> None:
        made = self.provider_class(credentials, context)
        made.close()
        made.close()
