"""Presets: kept and changed by who may, seen by who sees the cloud."""

from __future__ import annotations

from typing import Any

import pytest

from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
from core.errors import Denied, Invalid, NotFound
from machines.models import Preset
from tests.machines.test_verbs import cloud, member, owner  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db


def kept(actor: Actor, cloud: Cloud, **more: Any) -> Preset:  # noqa: F811
    perform(actor, Preset, "create", {"name": "web", "cloud": cloud.pk.hex, "params": {"name": "web-{n:02}"}, "quantity": 3, **more})
    return Preset.objects.get(name="web")


def test_a_preset_is_kept_changed_and_forgotten(owner: Actor, cloud: Cloud) -> None:  # noqa: F811
    preset = kept(owner, cloud)
    assert preset.params == {"name": "web-{n:02}", "cloud": cloud.pk.hex}
    perform(owner, preset, "edit", {"name": "web machines", "quantity": 2})
    preset.refresh_from_db()
    assert (preset.name, preset.quantity) == ("web machines", 2)
    perform(owner, preset, "delete")
    assert not Preset.objects.exists()


def test_who_sees_the_cloud_sees_its_presets_and_who_has_no_right_changes_none(owner: Actor, cloud: Cloud) -> None:  # noqa: F811
    preset = kept(owner, cloud)
    reader = member(owner, {"effect": "allow", "verbs": ["cloud.read"], "what": {}})
    assert list(Preset.objects.visible_to(reader)) == [preset]
    for verb in ("edit", "delete"):
        with pytest.raises(Denied):
            perform(reader, preset, verb, {"name": "mine"} if verb == "edit" else {})
    with pytest.raises(Denied):
        perform(reader, Preset, "create", {"name": "mine", "cloud": cloud.pk.hex, "params": {}})


def test_who_may_not_see_the_cloud_finds_no_preset(owner: Actor, cloud: Cloud) -> None:  # noqa: F811
    preset = kept(owner, cloud)
    blind = member(owner)
    assert not Preset.objects.visible_to(blind)
    with pytest.raises(NotFound):
        perform(blind, preset, "delete")
    with pytest.raises(Invalid):
        perform(blind, Preset, "create", {"name": "mine", "cloud": cloud.pk.hex, "params": {}})


@pytest.mark.parametrize("wrong", [{"params": {"sudo": True}}, {"params": {"cloudinit": "x" * 70_000}}, {"quantity": 101}, {"params": []}])
def test_what_a_create_does_not_know_is_not_kept(owner: Actor, cloud: Cloud, wrong: dict[str, Any]) -> None:  # noqa: F811
    with pytest.raises(Invalid):
        kept(owner, cloud, **wrong)
