"""A list of hosts that names their keys is enough to have shells and runs on them."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Membership, Team
from clouds.models import Cloud, Poll
from clouds.polling import poll_once
from core.actions import perform
from core.errors import Invalid
from core.models import Event
from keys.models import Key, KeyAssociation
from machines.models import Machine
from machines.reach import reach
from tests.frontend.conftest import actor_for, add_user
from tests.lab.sshd import Sshd, new_key, sshd
from tests.scripts.conftest import Place, make_place, place

__all__ = ["place", "sshd"]
pytestmark = pytest.mark.django_db


def listed(place: Place, *hosts: dict[str, Any]) -> Cloud:
    job = perform(place.actor, Cloud, "create", {"name": "rack", "provider": "other", "credentials": {"hosts": list(hosts)}})
    cloud = Cloud.objects.get(pk=job.target_id)
    read(cloud)
    return cloud


def read(cloud: Cloud) -> None:
    poll_once(Poll.objects.get(cloud=cloud, kind="machine").pk)


def host(sshd: Sshd, by: Key, **more: Any) -> dict[str, Any]:
    return {"host": "localhost", "port": sshd.port, "user": sshd.user, "key": by.pk.hex, "name": "web-1", "id": "web-1", **more}


def test_a_listed_host_is_entered_by_its_listed_key_at_its_listed_address(place: Place, sshd: Sshd) -> None:
    key = place.key(sshd.private_key, "rack")
    listed(place, host(sshd, key), {"host": "127.0.0.1", "port": 1, "name": "no-key"}, host(sshd, key, name="by-name", id="n", key="rack"))
    machine = Machine.objects.get(name="web-1")
    assert machine.address == "localhost"  # by which its host key is pinned, too
    with reach(machine).open(place.actor) as there:
        assert there.run(["echo", "in"]).text == "in\n"
    rows = KeyAssociation.objects.order_by("machine__name").values_list("machine__name", "key__name", "user", "port")
    assert list(rows) == [("by-name", "rack", sshd.user, sshd.port), ("web-1", "rack", sshd.user, sshd.port)]
    event = Event.objects.get(type="key.associated.observed")
    assert (event.target_id, event.detail["machines"], event.detail["cloud"]) == (key.pk, 2, "rack")


def test_what_was_taken_out_stays_out_until_another_is_listed(place: Place, sshd: Sshd) -> None:
    key, other = place.key(sshd.private_key, "rack"), place.key(new_key(), "other")
    cloud = listed(place, host(sshd, key))
    KeyAssociation.objects.all().delete()
    Machine.objects.update(fingerprint=None)  # something about it changed
    read(cloud)
    assert not KeyAssociation.objects.exists()
    perform(place.actor, cloud, "rotate", {"credentials": {"hosts": [host(sshd, other)]}})
    read(cloud)
    assert list(KeyAssociation.objects.values_list("key__name", flat=True)) == ["other"]


def test_an_address_that_a_person_gave_stays(place: Place, sshd: Sshd) -> None:
    key = place.key(sshd.private_key, "rack")
    cloud = listed(place, host(sshd, key))
    perform(place.actor, cloud, "rotate", {"credentials": {"hosts": [host(sshd, key, host="127.0.0.1")]}})
    read(cloud)
    assert Machine.objects.get().address == "127.0.0.1"
    Machine.objects.update(address="10.1.2.3")
    perform(place.actor, cloud, "rotate", {"credentials": {"hosts": [host(sshd, key)]}})
    read(cloud)
    assert Machine.objects.get().address == "10.1.2.3"


def test_a_key_of_another_organization_opens_nothing(place: Place, sshd: Sshd) -> None:
    cloud = listed(place, host(sshd, place.key(sshd.private_key, "rack")))
    theirs = make_place("there").key(new_key(), "theirs")
    Cloud.objects.filter(pk=cloud.pk).update(config={"hosts": [host(sshd, theirs)]})
    KeyAssociation.objects.all().delete()
    read(cloud)
    assert not KeyAssociation.objects.exists()


@pytest.mark.parametrize("by", ["id", "name"])
def test_who_may_not_see_a_key_gets_in_nowhere_by_listing_it(place: Place, sshd: Sshd, by: str) -> None:
    """Neither a new cloud nor another list of one: a shell by a key is for who may use the key."""
    key, own = place.key(sshd.private_key, "rack"), place.key(new_key(), "own")
    org = Membership.objects.get(user=place.actor.user_id).org
    member = add_user(org, "adds@clouds.example")
    team = Team.objects.create(
        org=org,
        name="Cloud builders",
        statements=[
            {"effect": "allow", "verbs": ["*"], "what": {"kinds": ["cloud", "machine"]}},
            {"effect": "allow", "verbs": ["key.read"], "what": {"kinds": ["key"], "ids": [own.pk.hex]}},
        ],
    )
    team.members.add(member)
    actor = actor_for(org, member)
    wanted = host(sshd, key, key=key.pk.hex if by == "id" else key.name)
    none = host(sshd, key, key="nobody-has-it")
    said = []
    for row in (wanted, none):
        with pytest.raises(Invalid) as refused:
            perform(actor, Cloud, "create", {"name": "mine", "provider": "other", "credentials": {"hosts": [row]}})
        said.append(str(refused.value.fields).replace(row["key"], "…"))
    assert said[0] == said[1]  # no word on which keys there are
    assert not Cloud.objects.filter(name="mine").exists()
    cloud = listed(place, host(sshd, key))  # by an owner: another list of it may not lead elsewhere by the same key
    with pytest.raises(Invalid):
        perform(actor, cloud, "rotate", {"credentials": {"hosts": [host(sshd, key, host="127.0.0.1")]}})
    perform(actor, cloud, "rotate", {"credentials": {"hosts": [host(sshd, own)]}})
