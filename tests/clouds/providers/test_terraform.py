"""The Terraform texts say what the providers themselves would ask their clouds for, and nothing that was typed gets out of its quotes."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from clouds.providers import _hcl as hcl
from clouds.providers import all_providers
from clouds.providers.amazon import create
from clouds.providers.base import Provider
from clouds.providers.docker import Docker
from clouds.providers.facts import MachineSpec, TerraformSpec, VolumeSpec
from clouds.providers.kvm import domain, files
from core.errors import Rejected
from machines.actions.create import numbered, pattern
from tests.clouds.providers.hcl import Reference, comments, read, unquoted

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2JY2rmdkFuGmqG2nNyS+LKy5sEQ3tTJDxl3O7oxUuo"
INJECTED = [
    'a"\n}\nresource "null_resource" "x" {',
    "${file(\"/etc/passwd\")} %{if true}x%{endif}",
    "$${x} $$${x} %%{y} %%%{y} $ $$ % %%",
    "back\\slash \\\" \\n \\${x} \\u0041",
    "tab\t return\r nul\x00 bell\x07 escape\x1b[31m",
    "<<EOT\n${x}\nEOT\n",
    "# no comment // nor /* this */",
    "rtl \u202e line \u2028 wide \U0001f600 tag \U000e0041 é",
    "for true null",
    "",
]  # fmt: skip
OPEN = ["${", "%{", "a ${ b", "$${", "$$", '${ "', "%%{ \n"]  # python-hcl2 reads no brace that nobody closes; Terraform does
HAS_TERRAFORM = pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")

AMAZON = MachineSpec(
    name="",
    token="t",
    image="ami-0abc",
    size="m7g.xlarge",
    location="eu-west-1b",
    subnet="subnet-1",
    security_groups=("sg-1", "sg-2"),
    public_key=KEY,
    cloudinit="…",
    volumes=(VolumeSpec(size_gib=20, name="data", delete_with_machine=True), VolumeSpec(size_gib=5, volume_type="st1")),
    tags={"env": "prod", "team name": "a ${b}", "for": "x"},
    extra={
        "public_ip": "no",
        "spot": True,
        "encrypted": True,
        "termination_protection": True,
        "iam_instance_profile": "arn:aws:iam::1:instance-profile/a/web",
    },
)
DOCKER = MachineSpec(
    name="",
    token="t",
    image="nginx:1.27",
    cores=2,
    ram_mib=512,
    network="front",
    extra={
        "env": "MODE=fast\nTOKEN=s3cr3t-value\nUNSET",
        "command": "sh -c 'echo ${HOME} \"x\"'",
        "ports": "8080:80\n127.0.0.1:53:53/udp\n[::1]:8:9\n81",
        "mounts": "data:/data\n/srv:/srv:ro,z",
        "restart": "always",
    },
)
KVM = MachineSpec(
    name="",
    token="t",
    image="10.0.0.9/var/lib/libvirt/images/debian.qcow2",
    location="10.0.0.9",
    network="10.0.0.9/nat",
    cores=2,
    ram_mib=2048,
    disk_gib=30,
    public_key=KEY,
    user="ana",
    extra={"firmware": "efi", "autostart": True, "disk_mode": "overlay"},
)
REGION = {"region": "eu-west-1", "apikey": "AKIA"}
ENGINE = {"host": "10.0.0.5", "port": 2376}
HOSTS = {"hosts": [{"host": "10.0.0.9", "key": "k"}, {"host": "fd00::1", "port": 2222, "user": "ana", "key": "k", "virt_type": "qemu"}]}
QCOW2 = {"format": "qcow2", "min_disk_gib": 3}
SPECS = {"amazon": (AMAZON, REGION, {}), "docker": (DOCKER, ENGINE, {}), "kvm": (KVM, HOSTS, QCOW2)}


def written(provider: str, spec: MachineSpec, name: str = "web", count: int = 1, config: Any = None, image: Any = None) -> str:
    _spec, known, of_image = SPECS[provider]
    wanted = TerraformSpec(
        spec=spec,
        name=pattern(name, count),
        count=count,
        config=known if config is None else config,
        image=of_image if image is None else image,
    )
    made = all_providers()[provider].terraform(wanted)
    assert {note for note, _values in made.notes} <= set(all_providers()[provider].terraform_notes)
    return made.below(["It is there."]) if not made.notes else made.below([note % values for note, values in made.notes])


class TestQuoting:
    @pytest.mark.parametrize("text", INJECTED)
    def test_a_text_is_read_as_it_was_typed(self, text: str) -> None:
        key, before = text or "k", hcl.Template((text, hcl.Expression("x.y")))
        made = hcl.document([hcl.Block("locals", (), {"a": text, "b": {key: [text]}, "c": before})])
        assert read(made) == {("locals",): {"a": text, "b": {key: [text]}, "c": f"{text}${{x.y}}"}}

    @pytest.mark.parametrize("text", INJECTED + OPEN)
    def test_nothing_in_it_ends_it_or_is_evaluated(self, text: str) -> None:
        assert unquoted(hcl.quoted(text)) == text
        assert all(c.isprintable() for c in hcl.quoted(text))

    @pytest.mark.parametrize("text", INJECTED + OPEN)
    @pytest.mark.parametrize("provider", ["amazon", "docker", "kvm"])
    def test_what_is_typed_into_a_form_makes_no_block(self, provider: str, text: str) -> None:
        spec, _config, _image = SPECS[provider]
        if text in OPEN:
            text += "}"
        plain = read(written(provider, spec))
        typed = replace(spec, image=f"i{text}", tags={f"k{text}": text}, user=text, cloudinit="", extra={"command": "", "env": ""})
        made = read(written(provider, typed, name=f"web{text}"))
        assert {labels[0] for labels in made} <= {labels[0] for labels in plain}
        assert {labels[1] for labels in made if labels[0] == "resource"} <= {labels[1] for labels in plain if labels[0] == "resource"}

    def test_a_comment_is_one_line(self) -> None:
        assert hcl.comment("a\nb\r\x85c\u2028d") == "# a b c d"
        spec = replace(DOCKER, extra={"ports": "x\x85resource", "exposed": "1\n2"})
        text = written("docker", spec)
        assert all(line.startswith("# ") for line in text.split("\n\n")[0].splitlines())

    @HAS_TERRAFORM
    def test_terraform_reads_it_so_too(self, tmp_path: Path) -> None:
        values = [*INJECTED, *OPEN]
        texts = [hcl.Block("output", ("plain",), {"value": values})]
        before = hcl.Template(("a$", hcl.Expression("1 + 1"), "%", hcl.Expression("3"), "{b"))
        texts.append(hcl.Block("output", ("template",), {"value": before}))
        (tmp_path / "main.tf").write_text(hcl.document(texts))
        for words in (["init"], ["apply", "-auto-approve"]):
            subprocess.run(["terraform", *words, "-input=false", "-no-color"], cwd=tmp_path, check=True, capture_output=True)
        said = subprocess.run(["terraform", "output", "-json"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert {name: one["value"] for name, one in json.loads(said).items()} == {"plain": values, "template": "a$2%3{b"}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("provider", ["amazon", "docker", "kvm"])
class TestEach:
    def test_several_have_the_names_of_the_pattern(self, provider: str, count: int) -> None:
        spec = SPECS[provider][0]
        for name in ("web", "web$-{n:02}", "{n}.%{n:3}"):
            names = []
            for index in range(count):
                made = read(written(provider, spec, name, count), index)
                kind = {"amazon": "aws_instance", "docker": "docker_container", "kvm": "libvirt_domain"}[provider]
                body = next(body for labels, body in made.items() if labels[1:2] == (kind,))
                assert body.get("count", 1) == count
                names.append(body["tags"]["Name"] if provider == "amazon" else body["name"])
            assert names == numbered(name, count)

    @HAS_TERRAFORM
    def test_it_is_laid_out_as_terraform_would(self, provider: str, count: int) -> None:
        for name in ("web", "web-{n:02}"):
            text = written(provider, SPECS[provider][0], name, count)
            done = subprocess.run(["terraform", "fmt", "-check", "-diff", "-"], input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_no_provider_without_it_says_it_has_it() -> None:
    assert {name for name, cls in all_providers().items() if cls.supports("terraform")} == {"amazon", "docker", "kvm"}
    assert not Provider.supports("terraform")


class Ec2:
    """Answers what a create asks before it makes anything."""

    def import_key_pair(self, **_said: Any) -> None:
        pass

    def describe_images(self, **_said: Any) -> Any:
        return {"Images": [{"RootDeviceName": "/dev/xvda"}]}


class TestAmazon:
    def instance(self, spec: MachineSpec, **more: Any) -> dict[str, Any]:
        return dict(read(written("amazon", spec, **more))["resource", "aws_instance", "web"])

    def test_it_is_what_run_instances_is_asked(self) -> None:
        query = create._query(Ec2(), AMAZON, AMAZON.location, create.placed(AMAZON.volumes))  # type: ignore[arg-type]
        made, card = self.instance(AMAZON), query["NetworkInterfaces"][0]
        tags = {**AMAZON.tags, "Name": "web"}
        assert made == {
            "ami": query["ImageId"],
            "instance_type": query["InstanceType"],
            "availability_zone": query["Placement"]["AvailabilityZone"],
            "subnet_id": card["SubnetId"],
            "vpc_security_group_ids": card["Groups"],
            "associate_public_ip_address": card["AssociatePublicIpAddress"],
            "key_name": Reference("aws_key_pair.web.key_name"),
            "iam_instance_profile": "web",
            "disable_api_termination": query["DisableApiTermination"],
            "user_data": Reference('file("${path.module}/cloudinit.txt")'),
            "tags": tags,
            "instance_market_options": [{"market_type": query["InstanceMarketOptions"]["MarketType"]}],
            "root_block_device": [{"encrypted": True, "tags": tags}],
            "ebs_block_device": [
                {
                    "device_name": disk["DeviceName"],
                    "volume_size": disk["Ebs"]["VolumeSize"],
                    "volume_type": disk["Ebs"]["VolumeType"],
                    "encrypted": disk["Ebs"]["Encrypted"],
                    "delete_on_termination": disk["Ebs"]["DeleteOnTermination"],
                    "tags": {**tags, "Name": name},
                }
                for disk, name in zip(query["BlockDeviceMappings"][1:], ["data", "web"], strict=True)
            ],
        }

    def test_where_it_goes_and_the_key(self) -> None:
        made = read(written("amazon", AMAZON))
        assert made["terraform",] == {"required_providers": [{"aws": {"source": "hashicorp/aws", "version": "~> 6.0"}}]}
        assert made["provider", "aws"] == {"region": "eu-west-1"}
        assert made["resource", "aws_key_pair", "web"] == {"key_name_prefix": "mist-", "public_key": KEY}

    def test_the_least_is_the_least(self) -> None:
        spec = MachineSpec(name="", token="", image="ami-1", size="t3.nano", location="eu-west-1", key_name="mine")
        named = {"Name": "web"}
        said = {"ami": "ami-1", "instance_type": "t3.nano", "key_name": "mine", "tags": named, "volume_tags": named}
        assert self.instance(spec) == said
        assert comments(written("amazon", spec)) == ["It is there."]

    def test_a_network_without_a_subnet_is_looked_up(self) -> None:
        text = written("amazon", replace(AMAZON, subnet=None, network="vpc-1"))
        made = read(text)
        zone = {"name": "availability-zone", "values": ["eu-west-1b"]}
        assert made["data", "aws_subnets", "web"] == {"filter": [{"name": "vpc-id", "values": ["vpc-1"]}, zone]}
        assert made["resource", "aws_instance", "web"]["subnet_id"] == Reference("data.aws_subnets.web.ids[0]")
        assert "first of the network vpc-1" in text.split("\n\n")[0]

    def test_a_volume_that_is_there_and_a_cloud_that_is_not_amazons(self) -> None:
        config = {**REGION, "endpoint": "https://ec2.example.org"}
        text = written("amazon", replace(AMAZON, volumes=(VolumeSpec(external_id="vol-1"),)), config=config)
        assert read(text)["provider", "aws"]["endpoints"] == [{"ec2": "https://ec2.example.org"}]
        assert "The volume vol-1 is there already" in text
        assert "ebs_block_device" not in text


class TestDocker:
    def test_it_is_what_the_engine_is_asked(self) -> None:
        asked = Docker({**ENGINE, "hostAccess": True})._wanted(DOCKER)
        text = written("docker", DOCKER)
        made = read(text)
        container = made["resource", "docker_container", "web"]
        ports = {f"{one['internal']}/{one['protocol']}": [one.get("ip", ""), str(one.get("external", ""))] for one in container["ports"]}
        assert [one["internal"] for one in container["ports"]] == [9, 53, 80, 81], "in another order each plan would make it anew"
        bindings = asked["HostConfig"]["PortBindings"].items()
        assert ports == {port: [one["HostIp"], one["HostPort"]] for port, [one] in bindings}
        assert container["volumes"] == [
            {"volume_name": "data", "container_path": "/data", "read_only": False},
            {"host_path": "/srv", "container_path": "/srv", "read_only": True, "selinux_relabel": "z"},
        ]
        assert container["command"] == asked["Cmd"]
        assert float(container["cpus"]) * 10**9 == asked["HostConfig"]["NanoCpus"]
        assert (container["memory"] << 20, container["memory_swap"] << 20) == (
            asked["HostConfig"]["Memory"],
            asked["HostConfig"]["MemorySwap"],
        )
        assert container["network_mode"] == asked["HostConfig"]["NetworkMode"]
        assert container["restart"] == asked["HostConfig"]["RestartPolicy"]["Name"]
        assert made["resource", "docker_image", "web"] == {"name": "nginx:1.27", "keep_locally": True}
        assert container["image"] == Reference("docker_image.web.image_id")
        assert made["provider", "docker"] == {"host": "tcp://10.0.0.5:2376"}

    def test_no_value_of_the_environment_is_in_it(self) -> None:
        text = written("docker", DOCKER)
        assert "s3cr3t" not in text and "fast" not in text
        made = read(text)
        assert made["variable", "env"] == {"type": Reference("map(string)"), "sensitive": True}
        environment = made["resource", "docker_container", "web"]["env"]
        assert environment == ['MODE=${var.env["MODE"]}', 'TOKEN=${var.env["TOKEN"]}', "UNSET"]

    def test_what_it_cannot_say_is_said(self) -> None:
        extra = {"exposed": "80/tcp\n90/udp", "ports": "nonsense", "mounts": "x\na:/b:weird", "command": "it's"}
        volumes = (VolumeSpec(size_gib=1), VolumeSpec(external_id="data", device="/data"))
        text = written("docker", replace(DOCKER, image="sha256:" + "a" * 64, cloudinit="…", volumes=volumes, extra=extra))
        notes = "\n".join(comments(text))
        for part in (
            "80/tcp, 90/udp",
            "read: nonsense",
            "read: x.",
            "read: a:/b:weird",
            "read: it's",
            "the cloud-init",
            "volumes with a size",
        ):
            assert part in notes
        made = read(text)
        assert ("resource", "docker_image", "web") not in made
        assert made["resource", "docker_container", "web"]["volumes"] == [
            {"volume_name": "data", "container_path": "/data", "read_only": False}
        ]

    @pytest.mark.parametrize(
        ("config", "host"),
        [({"host": "unix:///run/docker.sock"}, "unix:///run/docker.sock"), ({"host": "fd00::5"}, "tcp://[fd00::5]:2375")],
    )
    def test_where_the_engine_is(self, config: dict[str, Any], host: str) -> None:
        assert read(written("docker", DOCKER, config=config))["provider", "docker"] == {"host": host}


class TestKvm:
    def test_it_is_what_libvirt_is_given(self) -> None:
        made = read(written("kvm", KVM))
        machine, devices = made["resource", "libvirt_domain", "web"], made["resource", "libvirt_domain", "web"]["devices"]
        plan = domain.Plan(
            uuid="u",
            name="web",
            virt_type="kvm",
            architecture="x86_64",
            cores=2,
            ram_mib=2048,
            disk="/d",
            seed="/s",
            network="nat",
            efi=True,
        )
        xml = ElementTree.fromstring(domain.build(plan))
        assert machine["type"] == xml.get("type")
        assert machine["name"] == xml.findtext("name")
        assert f"{machine['memory']} {machine['memory_unit']}" == f"{xml.findtext('memory')} {xml.find('memory').get('unit')}"  # type: ignore[union-attr]
        assert str(machine["vcpu"]) == xml.findtext("vcpu")
        assert machine["os"]["firmware"] == xml.find("os").get("firmware")  # type: ignore[union-attr]
        assert [one["dev"] for one in machine["os"]["boot_devices"]] == [one.get("dev") for one in xml.findall("os/boot")]
        assert machine["cpu"]["mode"] == xml.find("cpu").get("mode")  # type: ignore[union-attr]
        assert [one["target"] for one in devices["disks"]] == [one.attrib for one in xml.findall("devices/disk/target")]
        assert [one["driver"] for one in devices["disks"]] == [one.attrib for one in xml.findall("devices/disk/driver")]
        assert [one.get("read_only", False) for one in devices["disks"]] == [
            one.find("readonly") is not None for one in xml.findall("devices/disk")
        ]
        assert devices["interfaces"][0]["source"]["network"] == xml.find("devices/interface/source").attrib  # type: ignore[union-attr]
        assert devices["interfaces"][0]["model"] == xml.find("devices/interface/model").attrib  # type: ignore[union-attr]
        assert devices["channels"][0]["target"]["virt_io"]["name"] == xml.find("devices/channel/target").get("name")  # type: ignore[union-attr]
        assert devices["serials"] == devices["consoles"] == [{}], "with a path, which libvirt chooses, an apply would fail"
        assert devices["rngs"] == [{"model": "virtio", "backend": {"random": "/dev/urandom"}}]
        assert (machine["running"], machine["autostart"]) == (True, True)

    def test_its_disk_is_on_top_of_the_image(self) -> None:
        disk = read(written("kvm", KVM))["resource", "libvirt_volume", "web_disk"]
        assert disk == {
            "name": "web.qcow2",
            "pool": "default",
            "capacity": Reference("30 * 1024 * 1024 * 1024"),
            "target": {"format": {"type": "qcow2"}},
            "backing_store": {"path": "/var/lib/libvirt/images/debian.qcow2", "format": {"type": "qcow2"}},
        }
        smaller = read(written("kvm", replace(KVM, disk_gib=None)))["resource", "libvirt_volume", "web_disk"]
        assert smaller["capacity"] == Reference("3 * 1024 * 1024 * 1024")

    def test_the_seed_holds_what_ours_holds(self) -> None:
        text = written("kvm", KVM)
        made = read(text)
        ours = files.seed_documents(replace(KVM, name="web"), "web")
        users = json.loads(ours["vendor-data"].partition("\n")[2])
        assert made["locals",] == {"web_cloud_config": users}
        seed = made["resource", "libvirt_cloudinit_disk", "web"]
        assert seed["user_data"] == "#cloud-config\n${jsonencode(local.web_cloud_config)}\n"
        inner = str(seed["meta_data"]).removeprefix("jsonencode(").removesuffix(")")
        assert read(f"locals {{\n  x = {inner}\n}}\n")["locals",]["x"] == json.loads(ours["meta-data"])
        volume = made["resource", "libvirt_volume", "web_seed"]
        assert volume["create"] == {"content": {"url": Reference("libvirt_cloudinit_disk.web.path")}}

    def test_each_of_several_has_its_own_disks(self) -> None:
        made = read(written("kvm", KVM, "web-{n}", 3), 1)
        assert made["resource", "libvirt_volume", "web_disk"]["name"] == "web-2.qcow2"
        disks = made["resource", "libvirt_domain", "web"]["devices"]["disks"]
        assert disks[0]["source"]["volume"] == {
            "pool": Reference("libvirt_volume.web_disk[1].pool"),
            "volume": Reference("libvirt_volume.web_disk[1].name"),
        }
        assert {body["count"] for labels, body in made.items() if labels[0] == "resource"} == {3}

    def test_an_installer_is_a_cd_beside_an_empty_disk(self) -> None:
        made = read(written("kvm", replace(KVM, image="10.0.0.9/srv/debian.ISO", disk_gib=None), image={}))
        assert ("resource", "libvirt_cloudinit_disk", "web") not in made
        assert made["resource", "libvirt_volume", "web_disk"]["capacity"] == Reference("10 * 1024 * 1024 * 1024")
        cd = made["resource", "libvirt_domain", "web"]["devices"]["disks"][1]
        assert (cd["device"], cd["source"]) == ("cdrom", {"file": {"file": "/srv/debian.ISO"}})

    def test_what_it_cannot_say_or_says_otherwise_is_said(self) -> None:
        config = {"hosts": [{"host": "10.0.0.9", "key": "k", "images_location": "/srv/images"}]}
        extra = {"disk_mode": "copy", "host_key": True}
        spec = replace(KVM, network=None, cloudinit="…", disk_gib=None, volumes=(VolumeSpec(size_gib=1),), extra=extra)
        text = written("kvm", spec, config=config, image={})
        notes = "\n".join(comments(text))
        for part in (
            "cloudinit.txt, beside",
            "the user ana",
            "/srv/images",
            "no full copy",
            "10 GiB",
            "No network",
            "host key",
            "the volumes",
        ):
            assert part in notes
        assert read(text)["resource", "libvirt_cloudinit_disk", "web"]["user_data"] == Reference('file("${path.module}/cloudinit.txt")')

    def test_where_the_host_is(self) -> None:
        there = replace(KVM, location="[fd00::1]:2222", image="[fd00::1]:2222/x.qcow2")
        made = read(written("kvm", there))
        assert made["provider", "libvirt"] == {"uri": "qemu+ssh://ana@[fd00::1]:2222/system"}
        assert made["resource", "libvirt_domain", "web"]["type"] == "qemu"
        with pytest.raises(Rejected):
            written("kvm", KVM, config={"hosts": []})
