"""A machine made on a KVM host has a host key that we know before it was ever reached: from the form to a script that ran."""

from __future__ import annotations

import time

import pytest

from clouds.models import Cloud, Image, Location, Poll
from clouds.polling import poll_once
from core.actions import perform
from core.models import Event, Job
from keys.models import GivenHostKey, HostKey, Key
from machines.models import Machine
from tests.core.test_doors import make_org
from tests.keys.test_secrets import everything_stored
from tests.lab.libvirt import NETWORK, Libvirt, libvirt
from tests.lab.sshd import Sshd, sshd
from tests.scripts.conftest import Place, finish, said

__all__ = ["libvirt", "sshd"]
pytestmark = [pytest.mark.kvm, pytest.mark.slow, pytest.mark.xdist_group("kvm"), pytest.mark.django_db]

BOOT_S = 120


def read_again(cloud: Cloud) -> None:
    for poll in Poll.objects.filter(cloud=cloud).order_by("pk"):
        poll_once(poll.pk)


def test_a_new_machine_is_verified_at_first_contact(sshd: Sshd, libvirt: Libvirt) -> None:
    _, _, actor = make_org("here")
    perform(actor, Key, "create", {"name": "farm", "private": sshd.private_key})
    perform(actor, Key, "create", {"name": "guests", "generate": True, "default": True})
    row = {"host": "127.0.0.1", "port": sshd.port, "user": sshd.user, "key": "farm", "alias": "lab"}
    row |= {"images_location": str(libvirt.images), "virt_type": "qemu"}
    perform(actor, Cloud, "create", {"name": "lab", "provider": "kvm", "credentials": {"hosts": [row]}})
    cloud = Cloud.objects.get()
    read_again(cloud)
    asked = {
        "name": "verified",
        "cloud": cloud.pk.hex,
        "image": Image.objects.get(name="tiny.qcow2").pk.hex,
        "location": Location.objects.get(external_id__startswith="127.0.0.1").pk.hex,
        "network": NETWORK,
        "size": {"cores": 1, "memory": 128},
    }
    job = finish(perform(actor, Machine, "create", asked))
    machine = Machine.objects.get(name="verified")
    try:
        assert job.state == "succeeded", job.error_detail
        given = GivenHostKey.objects.get(machine=machine)
        assert {"name": "host_key", "detail": given.fingerprint}.items() <= next(s for s in job.steps if s["name"] == "host_key").items()
        assert "PRIVATE KEY" not in everything_stored()
        Cloud.objects.update(extra={"loopback": True, "strict_host_keys": True})  # nobody is trusted at sight
        place, end = Place(actor, cloud), time.monotonic() + BOOT_S
        script = place.script("#!/bin/sh\nhostname\n")
        while time.monotonic() < end:
            read_again(cloud)
            machine.refresh_from_db()
            run = place.run(script, [machine]) if machine.private_ips else None
            if run is not None and run.state == "succeeded":
                break
            time.sleep(1)
        assert run is not None and said(run.hosts.get()) == "verified\n"
        pin = HostKey.objects.get(host=machine.private_ips[0])
        assert (pin.public, pin.source) == (given.public, "cloud-init")
        assert not Event.objects.filter(org_id=actor.org_id, type="host_key.changed.observed").exists()
        assert Job.objects.filter(action="machine.run", state="succeeded").exists()
    finally:
        finish(perform(actor, machine, "destroy", {}, undo_s=0))
        machine.refresh_from_db()
        perform(actor, machine, "undefine", {"delete_domain_image": True}, undo_s=0)
        finish(Job.objects.get(action="machine.undefine"))
