"""One moto_server a session; before it a front of each test's own. What was done is read back with plain boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clouds.providers.amazon import Amazon
from clouds.providers.base import Context, Deadline
from tests.lab.ec2_front import Front, front
from tests.lab.moto import moto, plain, reset

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYTESTSECRET"
Connect = Callable[..., Amazon]


@pytest.fixture(scope="session")
def moto_port() -> Iterator[int]:
    with moto() as port:
        yield port


@pytest.fixture
def ec2(moto_port: int) -> Iterator[Front]:
    """An empty AWS, with its front."""
    reset(moto_port)
    with front(moto_port) as made:
        yield made


@pytest.fixture
def boto(ec2: Front, moto_port: int) -> Any:
    """Plain boto3 on moto itself: neither pages nor faults of the front, nor counted by it."""
    return plain(moto_port)


@pytest.fixture
def credentials(ec2: Front) -> dict[str, str]:
    return {"region": "us-east-1", "apikey": "AKIAIOSFODNN7EXAMPLE", "apisecret": SECRET, "endpoint": f"http://127.0.0.1:{ec2.port}"}


@pytest.fixture
def connect(credentials: dict[str, str]) -> Iterator[Connect]:
    """connect(deadline_s=30, context={…}, **credentials that differ) → a provider."""
    made: list[Amazon] = []

    def make(*, deadline_s: float = 30, context: dict[str, Any] | None = None, **changes: str) -> Amazon:
        made.append(Amazon({**credentials, **changes}, Context(deadline=Deadline(deadline_s), **(context or {}))))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cloud(connect: Connect) -> Amazon:
    return connect()


@pytest.fixture
def image(boto: Any) -> str:
    """An image that is there, with an EBS root."""
    found = boto.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["al2023-ami-2023.*-x86_64"]}])["Images"]
    return str(found[0]["ImageId"])


@pytest.fixture
def run(boto: Any, image: str) -> Callable[..., list[str]]:
    """run(count, **RunInstances' own) → ids of new instances, one reservation each."""

    def make(count: int = 1, **query: Any) -> list[str]:
        asked = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **query}
        return [boto.run_instances(**asked)["Instances"][0]["InstanceId"] for _ in range(count)]

    return make
