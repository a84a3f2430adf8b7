"""The Terraform tab of the page that creates machines: what the form says, for the clouds that have it; no secret, and as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.http import QueryDict
from playwright.sync_api import expect

from accounts.models import Organization, User
from clouds.models import Cloud, Image, Location, Size
from clouds.providers import all_providers
from core.actions import Call, get, perform, validated
from core.actor import Actor
from frontend.creating.asked import read
from frontend.creating.calls import spec_of
from frontend.creating.steps import chosen_rows, steps_of
from keys import pairs
from keys.models import Key
from machines.actions.create import spec
from machines.models import Machine
from networks.models import Network, SecurityGroup, Subnet
from scripts.models import Script
from tests.clouds.providers.hcl import Reference, comments
from tests.clouds.providers.hcl import read as parsed
from tests.frontend.browsing import IN_A_BROWSER, Person
from tests.frontend.conftest import Place
from tests.frontend.test_calls import texts

SECRET = "s3cr3t-that-nobody-shows"
CONFIG: dict[str, Any] = {
    "amazon": {"region": "eu-west-1", "apikey": "AKIAEXAMPLE"},
    "docker": {"host": "10.0.0.5", "port": 2376},
    "kvm": {"hosts": [{"host": "10.0.0.9", "user": "root", "port": 22, "key": "k"}]},
}
KIND = {"amazon": "aws_instance", "docker": "docker_container", "kvm": "libvirt_domain"}
# What is typed beside the common fields: of the provider's own.
OWN = {
    "amazon": {"x-public_ip": "yes", "x-spot": "on", "volumes-0-size": "20", "volumes-0-name": "logs"},
    "docker": {"x-env": f"MODE=x\nTOKEN={SECRET}", "x-ports": "8080:80", "x-restart": "always", "cores": "2", "ram_mib": "512"},
    "kvm": {"x-firmware": "efi", "x-disk_mode": "overlay", "cores": "2", "ram_mib": "2048", "disk_gib": "30"},
}


def cloud_of(org: Organization, provider: str) -> tuple[Cloud, dict[str, str]]:
    """A cloud of that provider as polls would have filled it, and a form that can be sent to it."""
    cloud = Cloud.objects.create(org=org, name=f"my {provider}", provider=provider, config=CONFIG[provider])
    public = pairs.generate("ssh-ed25519").public
    key = Key.objects.create(org=org, name=f"key of {provider}", public=public)
    where = {"org": org, "cloud": cloud}
    images = {"amazon": "ami-0abc", "docker": "sha256:" + "a" * 64, "kvm": "10.0.0.9/var/lib/libvirt/images/debian.qcow2"}
    image = Image.objects.create(**where, name="Debian", external_id=images[provider], min_disk_gib=3, extra={"format": "qcow2"})
    network = Network.objects.create(**where, name="front", external_id={"kvm": "10.0.0.9/front"}.get(provider, "vpc-1"))
    typed = {"cloud": cloud.pk.hex, "name": "web", "image": image.pk.hex, "network": network.pk.hex, "key": key.pk.hex}
    if provider == "amazon":
        typed["size"] = Size.objects.create(**where, name="m7g.xlarge", external_id="m7g.xlarge").pk.hex
        typed["subnet"] = Subnet.objects.create(**where, name="front-a", external_id="subnet-1", network=network).pk.hex
        typed["security_groups"] = SecurityGroup.objects.create(**where, name="web", external_id="sg-1").pk.hex
    if provider != "docker":
        place = {"amazon": "eu-west-1b", "kvm": "10.0.0.9"}[provider]
        typed["location"] = Location.objects.create(**where, name=place, external_id=place).pk.hex
    return cloud, {**typed, **OWN[provider]}


def told(place: Place, typed: dict[str, str]) -> dict[str, str]:
    answer = place.admin.post(f"{place.base}/machines/new/plan", typed, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return texts(answer.content.decode())


def read_form(actor: Actor, cloud: Cloud, typed: dict[str, str]) -> Any:
    data = QueryDict(mutable=True)
    data.update(typed)
    cls = all_providers()[cloud.provider]
    return read(data, cloud, cls, steps_of(actor, cloud, cls))


@pytest.mark.parametrize("quantity", [1, 3])
@pytest.mark.parametrize("provider", list(CONFIG))
def test_the_tab_says_what_the_form_sends(place: Place, provider: str, quantity: int) -> None:
    _cloud, typed = cloud_of(place.org, provider)
    typed |= {"name": "web-{n:02}", "quantity": str(quantity), "tags": 'env=prod\nnote="${x}" %{if}'}
    shown = told(place, typed)
    assert list(shown) == ["CLI", "curl", "Python", "Terraform"]
    made = parsed(shown["Terraform"], quantity - 1)
    body = made["resource", KIND[provider], "web"]
    assert body.get("count", 1) == quantity
    name = f"web-0{quantity}"
    if provider == "amazon":
        tags = {"env": "prod", "note": '"${x}" %{if}', "Name": name}
        assert (body["tags"], body["ami"], body["instance_type"]) == (tags, "ami-0abc", "m7g.xlarge")
        assert (body["availability_zone"], body["subnet_id"], body["vpc_security_group_ids"]) == ("eu-west-1b", "subnet-1", ["sg-1"])
        assert (body["associate_public_ip_address"], body["instance_market_options"]) == (True, [{"market_type": "spot"}])
        [disk] = body["ebs_block_device"]
        assert (disk["device_name"], disk["volume_size"], disk["volume_type"]) == ("/dev/sdf", 20, "gp3")
        assert disk["tags"] == {**tags, "Name": "logs"} and disk["delete_on_termination"] is False
        key = made["resource", "aws_key_pair", "web"]["public_key"]
        assert key == Key.objects.get(pk=typed["key"]).public
    else:
        assert body["name"] == name
        assert "env=prod" in shown["Terraform"].split("\n\n")[0], "tags are Mist's own there, and that is said"
    if provider == "docker":
        assert (body["image"], body["cpus"], body["memory"], body["restart"]) == ("sha256:" + "a" * 64, "2.0", 512, "always")
        assert body["ports"] == [{"internal": 80, "external": 8080, "protocol": "tcp"}]
    if provider == "kvm":
        assert (body["vcpu"], body["memory"], body["os"]["firmware"]) == (2, 2048, "efi")
        assert made["resource", "libvirt_volume", "web_disk"]["capacity"] == Reference("30 * 1024 * 1024 * 1024")


@pytest.mark.parametrize("provider", list(CONFIG))
def test_its_machine_is_the_one_the_action_asks_for(place: Place, provider: str) -> None:
    cloud, typed = cloud_of(place.org, provider)
    asked = read_form(place.actor, cloud, {**typed, "tags": "a=b", "user": "ana"})
    action = get("machine.create")
    params = validated(action, place.actor, asked.each()[0], None)
    machine = Machine(org=place.org, cloud=cloud, name="web")
    real = spec(Call(actor=place.actor, action=action, target=machine, params=params))
    mine = spec_of(asked, chosen_rows(place.actor, cloud, asked.typed))
    assert replace(mine, token=real.token) == real


@pytest.mark.parametrize("provider", list(CONFIG))
def test_nothing_secret_is_in_it(place: Place, provider: str) -> None:
    _cloud, typed = cloud_of(place.org, provider)
    shown = told(place, {**typed, "cloudinit": f"#!/bin/sh\nexport TOKEN={SECRET}\n"})["Terraform"]
    assert SECRET not in shown
    for text in CONFIG["amazon"].values():
        assert text == "eu-west-1" or text not in shown
    if provider != "docker":
        assert 'file("${path.module}/cloudinit.txt")' in shown and "cloudinit.txt, beside" in shown.split("\n\n")[0]
    else:
        assert 'TOKEN=${var.env["TOKEN"]}' in shown and "the cloud-init" in shown.split("\n\n")[0]


def test_what_mist_alone_does_is_said_when_it_was_asked_for(place: Place) -> None:
    _cloud, typed = cloud_of(place.org, "amazon")
    head = ["It goes to Amazon Web Services, not through Mist.", "Mist lists the machines once it reads the cloud again."]
    assert comments(told(place, typed)["Terraform"]) == head
    perform(place.actor, Script, "create", {"name": "join", "script": "#!/bin/sh\n"})
    script = Script.objects.get()
    typed |= {"scripts-0-script": script.pk.hex, "scripts-0-params": SECRET, "date": "2030-01-02T03:04", "action": "destroy"}
    typed |= {"notify": "2", "user": "ana"}
    *_head, beside = comments(told(place, typed)["Terraform"])
    said = "run 1 script; destroy them at 2030-01-02 03:04 UTC; remind the owner 2 hours before; log in as ana with the key key of amazon"
    assert said in beside and SECRET not in beside


@pytest.mark.parametrize("provider", list(CONFIG))
def test_what_is_needed_and_not_typed_stands_by_its_name(place: Place, provider: str) -> None:
    cloud, _typed = cloud_of(place.org, provider)
    shown = told(place, {"cloud": cloud.pk.hex, "name": "", "x-host_key": "on"})["Terraform"]
    needed = all_providers()[provider].create_requires - {"location"}  # there is one, and it is chosen
    for name in ("name", *needed):
        assert f'"{name.upper()}' in shown
    assert parsed(shown)
    page = place.admin.get(f"{place.base}/machines/new?cloud={cloud.pk.hex}").content.decode()
    assert texts(page)["Terraform"] == shown


def test_what_cannot_be_is_said_in_place_of_it(place: Place) -> None:
    _cloud, typed = cloud_of(place.org, "amazon")
    typed |= {f"volumes-{number}-size": "1" for number in range(13)}
    shown = told(place, typed)["Terraform"]
    assert shown.splitlines()[2:] == ["# At most 11 volumes find a device by themselves. Name the devices of the others."]


def test_a_cloud_without_it_has_no_such_tab(place: Place) -> None:
    assert list(told(place, {"cloud": place.cloud.pk.hex, "name": "web"})) == ["CLI", "curl", "Python"]


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_the_tab_follows_what_is_typed(self, owner: User, person: Callable[..., Person]) -> None:
        cloud, _typed = cloud_of(owner.orgs.get(), "amazon")
        page = person(owner, permissions=["clipboard-read", "clipboard-write"]).page
        page.goto(f"/o/here/machines/new?cloud={cloud.pk.hex}")
        tab = page.locator("mist-tabs summary", has_text="Terraform")
        pre = page.locator("mist-tabs pre[aria-label=Terraform]")
        expect(pre).to_be_hidden()
        tab.focus()
        page.keyboard.press("Enter")
        expect(pre).to_be_visible()
        assert page.locator("mist-tabs details[open]").count() == 1
        page.locator("#name").fill("db-{n:02}")
        expect(pre).to_contain_text('resource "aws_instance" "db"')
        expect(pre).to_contain_text("db-01")
        page.get_by_role("button", name="More").click()
        expect(pre).to_contain_text('db-${format("%02d", count.index + 1)}')
        expect(pre).to_be_visible()
        box, line = pre.bounding_box(), tab.bounding_box()
        panel = page.locator("#plan .last").bounding_box()
        assert box and line and panel
        assert box["y"] >= line["y"] + line["height"] and box["x"] + box["width"] <= panel["x"] + panel["width"]
        assert line["x"] + line["width"] <= panel["x"] + panel["width"]
        page.locator("mist-tabs details[open] mist-copy button").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == pre.text_content() and parsed(copied, 1)["resource", "aws_instance", "db"]["tags"] == {"Name": "db-02"}
