"""Which of the hundred thousand public images are offered: the newest of each of a few families.

Source: https://wiki.debian.org/Cloud/AmazonEC2Image, https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/,
https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from clouds.providers.facts import ImageInfo

from . import rows

CATALOGUE = 500  # images of a compatible cloud that are looked at, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Images of one publisher, release and architecture. `pattern` is EC2's, which is the shell's; `user` logs in."""

    owner: str
    pattern: str
    user: str


_DEBIAN, _CANONICAL, _AMAZON = "136693071363", "099720109477", "amazon"
FAMILIES = (
    *(
        Family(owner=_DEBIAN, pattern=f"debian-{release}-{architecture}-*", user="admin")
        for release in ("13", "12")
        for architecture in ("amd64", "arm64")
    ),
    *(
        Family(owner=_CANONICAL, pattern=f"ubuntu/images/hvm-ssd*/ubuntu-*-{release}-{architecture}-server-*", user="ubuntu")
        for release in ("26.04", "24.04", "22.04")
        for architecture in ("amd64", "arm64")
    ),
    *(Family(owner=_AMAZON, pattern=f"al2023-ami-2023.*-{architecture}", user="ec2-user") for architecture in ("x86_64", "arm64")),
)

Rows = Callable[..., Iterator[dict[str, Any]]]


def listing(ask: Rows, *, is_aws: bool) -> Iterator[ImageInfo]:
    """`ask(operation, key, **query)` yields the items of every page."""
    seen: set[str] = set()
    for item in ask("describe_images", "Images", Owners=["self"]):
        seen.add(item["ImageId"])
        yield rows.image(item)
    for family, item in _newest(ask):
        if item["ImageId"] not in seen:
            seen.add(item["ImageId"])
            yield rows.image(item, starred=True, user=family.user)
    if not is_aws:
        for item in islice(ask("describe_images", "Images", Filters=_AVAILABLE), CATALOGUE):
            if item["ImageId"] not in seen:
                seen.add(item["ImageId"])
                yield rows.image(item)


_AVAILABLE = [{"Name": "state", "Values": ["available"]}, {"Name": "image-type", "Values": ["machine"]}]


def _newest(ask: Rows) -> Iterator[tuple[Family, dict[str, Any]]]:
    """Each family's newest image, in the order of FAMILIES. Deprecated ones are not answered unless asked for."""
    newest: dict[Family, dict[str, Any]] = {}
    patterns = [family.pattern for family in FAMILIES]
    owners = sorted({family.owner for family in FAMILIES})
    for item in ask("describe_images", "Images", Owners=owners, Filters=[{"Name": "name", "Values": patterns}, *_AVAILABLE]):
        family = next((one for one in FAMILIES if fnmatchcase(item.get("Name", ""), one.pattern)), None)
        if family and (family not in newest or item.get("CreationDate", "") > newest[family].get("CreationDate", "")):
            newest[family] = item
    return ((family, newest[family]) for family in FAMILIES if family in newest)
