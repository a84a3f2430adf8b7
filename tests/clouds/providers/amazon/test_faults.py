"""What goes wrong between us and EC2, on a real socket: what is said then, how soon, and that nothing is done twice."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouds.providers import amazon
from clouds.providers.amazon import Amazon, wire
from clouds.providers.amazon.errors import words
from clouds.providers.base import Context, Deadline
from core.errors import AuthFailed, Gone, MistError, NotPermitted, NotSupported, RateLimited, Rejected, Unavailable
from tests.clouds.providers.contract import assert_silent
from tests.lab import ec2_front
from tests.lab.certificates import Authority
from tests.lab.ec2_front import Front, body, drip, error, half, silence

from .conftest import SECRET, Connect

Run = Callable[..., list[str]]
MACHINE = "i-0123456789abcdef0"


@pytest.mark.parametrize(
    ("code", "status", "kind", "says"),
    [
        ("AuthFailure", 401, AuthFailed, "access key"),
        ("InvalidClientTokenId", 403, AuthFailed, "access key"),
        ("SignatureDoesNotMatch", 403, AuthFailed, "secret"),
        ("ExpiredToken", 400, AuthFailed, "expired"),
        ("RequestExpired", 400, AuthFailed, "clock"),
        ("OptInRequired", 401, AuthFailed, "not subscribed"),
        ("UnauthorizedOperation", 403, NotPermitted, "ec2:StopInstances"),
        ("InvalidInstanceID.NotFound", 400, Gone, "not in the cloud"),
        ("InvalidInstanceID.Malformed", 400, Gone, "not in the cloud"),
        ("IncorrectInstanceState", 400, Rejected, "state"),
        ("InsufficientInstanceCapacity", 500, Rejected, "capacity"),
        ("InstanceLimitExceeded", 400, Rejected, "limit"),
        ("VcpuLimitExceeded", 400, Rejected, "limit"),
        ("OperationNotPermitted", 400, Rejected, "Something about it"),
        ("InvalidAction", 400, NotSupported, "cannot do that"),
        ("RequestLimitExceeded", 503, RateLimited, "too often"),
        ("Whatever", 429, RateLimited, "too often"),
        ("InternalError", 500, Unavailable, "internal fault"),
        ("Unavailable", 503, Unavailable, "internal fault"),
    ],
)
def test_each_error_of_ec2_is_one_of_ours_that_says_what_to_do(
    cloud: Amazon, ec2: Front, code: str, status: int, kind: type[MistError], says: str
) -> None:
    ec2.answer("StopInstances", error(code, status, f"Something about it and {SECRET}."))
    with pytest.raises(kind) as caught:
        cloud.stop_machine(MACHINE)
    assert type(caught.value) is kind
    assert says in caught.value.detail
    assert_silent(caught.value, (SECRET,))
    assert len(ec2.calls) == 1, "a write is asked once"


def test_a_missing_permission_comes_with_the_statement_that_gives_it(cloud: Amazon, ec2: Front) -> None:
    said = "You are not authorized to perform this operation. User: u is not authorized to perform: ec2:DescribeInstances on resource: x."
    ec2.answer("*", error("UnauthorizedOperation", 403, f"{said} Encoded authorization failure message: {'x' * 900}"))
    with pytest.raises(AuthFailed) as caught:
        list(cloud.list_machines())
    assert '{"Effect": "Allow", "Action": ["ec2:DescribeInstances"], "Resource": "*"}' in caught.value.detail
    assert caught.value.extra["action"] == "ec2:DescribeInstances"
    assert "xxx" not in caught.value.words


def test_what_a_policy_denies_is_not_told_to_be_allowed(cloud: Amazon, ec2: Front) -> None:
    said = "User: u is not authorized to perform: ec2:StopInstances on resource: x with an explicit deny in a service control policy"
    ec2.answer("*", error("UnauthorizedOperation", 403, said))
    with pytest.raises(AuthFailed, match="A service control policy denies it") as caught:
        cloud.stop_machine(MACHINE)
    assert '"Allow"' not in caught.value.detail


def test_an_image_that_is_not_shared_does_not_cast_doubt_on_the_credentials(cloud: Amazon, ec2: Front) -> None:
    ec2.answer("*", error("AuthFailure", 403, "Not authorized for images: [ami-1]"))
    with pytest.raises(Rejected, match="not shared with this AWS account"):
        cloud.stop_machine(MACHINE)


def test_reads_are_asked_again_after_faults_that_pass(cloud: Amazon, ec2: Front, run: Run) -> None:
    made = run(2)
    ec2.answer("DescribeInstances", error("RequestLimitExceeded", 503), times=1)
    ec2.answer("DescribeInstances", error("InternalError", 500), times=1)
    assert [info.external_id for info in cloud.list_machines()] == made
    assert len(ec2.calls) == 3


def test_each_attempt_and_each_page_is_counted(connect: Connect, ec2: Front, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon, "PAGE", 2)
    run(5)
    spent: list[str] = []
    ec2.answer("DescribeInstances", error("InternalError", 500), times=1, skip=1)
    assert len(list(connect(context={"spend": spent.append}).list_machines())) == 5
    assert spent == ["ec2"] * 4
    assert len(ec2.calls) == 4


def test_a_limit_that_lasts_is_told_with_the_time_to_wait(cloud: Amazon, ec2: Front) -> None:
    ec2.answer("*", error("RequestLimitExceeded", 429, headers={"Retry-After": "17"}))
    with pytest.raises(RateLimited) as caught:
        list(cloud.list_machines())
    assert caught.value.retry_after_s == 17
    assert len(ec2.calls) == 1, "17 s are not waited for in a worker"


@pytest.mark.parametrize("fault", [silence, drip])
def test_a_cloud_that_does_not_answer_costs_the_deadline_and_no_more(connect: Connect, ec2: Front, fault: ec2_front.Responder) -> None:
    ec2.answer("*", fault)
    start = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        list(connect(deadline_s=1).list_machines())
    assert time.monotonic() - start < 8
    assert caught.value.code == "cloud_timeout"
    assert_silent(caught.value, (SECRET,))


def test_silence_between_two_pages_ends_the_listing_and_not_as_complete(
    connect: Connect, ec2: Front, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amazon, "PAGE", 2)
    made = run(5)
    ec2.answer("DescribeInstances", silence, skip=1)
    listing = connect(deadline_s=1.5).list_machines()
    assert [next(listing).external_id for _ in range(2)] == made[:2]
    with pytest.raises(Unavailable):
        next(listing)


def test_half_a_page_and_a_reset_is_asked_again_and_then_unavailable(cloud: Amazon, ec2: Front, run: Run) -> None:
    made = run(3)
    ec2.answer("DescribeInstances", half, times=1)
    assert [info.external_id for info in cloud.list_machines()] == made
    ec2.answer("DescribeInstances", half)
    with pytest.raises(Unavailable, match="broke off"):
        list(cloud.list_machines())


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff not XML at all",
        b"<DescribeInstancesResponse><reservationSet><item>",
        b"<html><body>Please sign in to the hotel's network.</body></html>",
        b"",
        b'{"DescribeInstances": []}',
        b"<DescribeInstancesResponse><reservationSet><item><instancesSet><item/></instancesSet></item></reservationSet></DescribeInstancesResponse>",
        b"<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><launchTime>yesterday"
        b"</launchTime></item></instancesSet></item></reservationSet></DescribeInstancesResponse>",
    ],
)
def test_an_answer_that_makes_no_sense_is_never_an_empty_cloud(cloud: Amazon, ec2: Front, content: bytes) -> None:
    ec2.answer("*", body(content))
    with pytest.raises(Unavailable) as caught:
        list(cloud.list_machines())
    assert caught.value.code == "cloud_garbage"


def test_pages_that_go_in_circles_end(cloud: Amazon, ec2: Front) -> None:
    page = b'<DescribeInstancesResponse xmlns="x"><reservationSet/><nextToken>again</nextToken></DescribeInstancesResponse>'
    ec2.answer("*", body(page))
    with pytest.raises(Unavailable):
        list(cloud.list_machines())
    assert len(ec2.calls) < 5


def test_an_answer_without_end_is_not_read_to_it(cloud: Amazon, ec2: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LONGEST_ANSWER", 100_000)
    ec2.answer("*", body(b"<DescribeInstancesResponse>" + b" " * 3_000_000))
    with pytest.raises(Unavailable, match="longer"):
        list(cloud.list_machines())


def test_a_machine_destroyed_behind_our_back_is_gone(cloud: Amazon, boto: Any, run: Run) -> None:
    (made,) = run()
    boto.terminate_instances(InstanceIds=[made])
    assert cloud.get_machine(made).state == "terminated"
    with pytest.raises(Gone):
        cloud.stop_machine(MACHINE)


# -- connection and credentials


def _no_such_name(host: str, port: int) -> list[str]:
    raise Unavailable(f"The name {host} does not resolve.")  # as clouds.addresses.resolve does


def test_a_region_that_does_not_exist_is_said_to_be_none(credentials: dict[str, str]) -> None:
    for resolve in (_no_such_name, lambda host, port: [f"{host}.invalid"]):
        cloud = Amazon({**credentials, "region": "mars-west-1", "endpoint": ""}, Context(deadline=Deadline(20), resolve=resolve))
        with pytest.raises(Rejected, match="no AWS region “mars-west-1”"):
            cloud.check()


def test_a_region_that_exists_and_cannot_be_resolved_is_unavailable_and_not_wrong(credentials: dict[str, str]) -> None:
    cloud = Amazon({**credentials, "region": "eu-west-1", "endpoint": ""}, Context(deadline=Deadline(20), resolve=_no_such_name))
    with pytest.raises(Unavailable, match=r"ec2.eu-west-1.amazonaws.com does not resolve"):
        cloud.check()


@pytest.mark.parametrize("region", ["us-east-1.evil.example/", "a b", "eu_west_1", "../x", "", "x" * 300])
def test_a_region_that_is_no_name_reaches_no_network(credentials: dict[str, str], region: str) -> None:
    dialled: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        dialled.append(host)
        return []

    cloud = Amazon({**credentials, "region": region, "endpoint": ""}, Context(resolve=resolve))
    with pytest.raises(Rejected):
        cloud.check()
    assert dialled == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://x",
        "file:///etc/passwd",
        "http://user:pass@host",
        "http://",
        "http://host:99999",
        "host:8773",
        "http://h/?q=1",
        "http://h\x00",
    ],
)
def test_an_endpoint_that_is_no_web_address_is_refused(connect: Connect, endpoint: str) -> None:
    with pytest.raises(Rejected, match="endpoint"):
        connect(endpoint=endpoint).check()


def test_only_addresses_the_context_gave_are_dialled(connect: Connect, ec2: Front) -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    cloud = connect(endpoint=f"http://ec2.no-such-name.example:{ec2.port}", context={"resolve": resolve})
    cloud.check()
    cloud.check()
    assert asked == [("ec2.no-such-name.example", ec2.port)], "one connection is kept"
    assert ec2.calls[0].headers["Host"] == f"ec2.no-such-name.example:{ec2.port}"


def test_the_next_address_is_tried_where_one_does_not_answer(connect: Connect, ec2: Front) -> None:
    connect(context={"resolve": lambda host, port: ["127.0.0.99", "127.0.0.1"]}).check()
    assert len(ec2.calls) == 1


def test_a_redirect_is_not_followed(cloud: Amazon, ec2: Front) -> None:
    ec2.answer("*", lambda handler, params: handler.send(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}))
    with pytest.raises(Unavailable):
        cloud.check()
    assert len(ec2.calls) == 1


def test_tls_is_checked_against_the_name_and_dialled_by_the_address(
    connect: Connect, moto_port: int, ec2: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    pair = authority.issue("ec2.cloud.example", "ec2.cloud.example")
    (tmp_path / "pem").write_text(pair.certificate + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pem")
    here = {"resolve": lambda host, port: ["127.0.0.1"]}
    with ec2_front.front(moto_port, tls) as secured:
        with pytest.raises(Rejected, match="not to be trusted"):
            connect(endpoint=f"https://ec2.cloud.example:{secured.port}", context=here).check()
        trusted = ssl.create_default_context(cadata=authority.certificate)
        monkeypatch.setattr(wire, "_trust", lambda: trusted)
        connect(endpoint=f"https://ec2.cloud.example:{secured.port}", context=here).check()
        with pytest.raises(Rejected, match="not to be trusted"):
            connect(endpoint=f"https://other.cloud.example:{secured.port}", context=here).check()
        secured.answer("*", silence)
        start = time.monotonic()
        with pytest.raises(Unavailable):
            connect(deadline_s=1, endpoint=f"https://ec2.cloud.example:{secured.port}", context=here).check()
        assert time.monotonic() - start < 8
        assert len(secured.calls) == 2


def test_a_port_where_nobody_listens_is_unavailable(connect: Connect) -> None:
    with pytest.raises(Unavailable, match="refuses"):
        connect(endpoint="http://127.0.0.1:1").check()


def test_nothing_of_the_environment_gets_in(
    ec2: Front, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = ap-south-1\nendpoint_url = http://127.0.0.1:9\nmax_attempts = 9\n")
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id = FROMFILE\naws_secret_access_key = x\n")
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "FROMENV",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_SESSION_TOKEN": "tokenfromenv",
        "AWS_DEFAULT_REGION": "ap-south-1",
        "AWS_REGION": "ap-south-1",
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/no/such/file",
        "REQUESTS_CA_BUNDLE": "/no/such/file",
        "AWS_DATA_PATH": str(tmp_path),
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    Amazon(credentials, Context()).check()
    (call,) = ec2.calls
    assert f"Credential={credentials['apikey']}/" in call.headers["Authorization"]
    assert "/us-east-1/ec2/" in call.headers["Authorization"]
    assert "X-Amz-Security-Token" not in call.headers


@pytest.mark.parametrize("missing", ["apikey", "apisecret"])
def test_credentials_that_are_not_there_are_not_looked_for_elsewhere(
    connect: Connect, ec2: Front, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(Rejected, match="needed"):
        connect(**{missing: ""}).check()
    assert ec2.calls == []


def test_a_role_is_assumed_and_its_keys_are_used(connect: Connect, ec2: Front) -> None:
    connect(role_arn="arn:aws:iam::123456789012:role/mist", external_id="tenant-7").check()
    assume, describe = ec2.calls
    assert (assume.params["RoleArn"], assume.params["ExternalId"]) == ("arn:aws:iam::123456789012:role/mist", "tenant-7")
    assert "/us-east-1/sts/" in assume.headers["Authorization"]
    assert "AKIAIOSFODNN7EXAMPLE" not in describe.headers["Authorization"]
    assert describe.headers["X-Amz-Security-Token"]


def test_a_role_that_may_not_be_assumed_says_which_permission_is_missing(connect: Connect, ec2: Front) -> None:
    ec2.answer(
        "AssumeRole",
        body(
            b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>", status=403
        ),
    )
    with pytest.raises(AuthFailed, match="sts:AssumeRole"):
        connect(role_arn="arn:aws:iam::123456789012:role/mist").check()


def test_the_token_of_an_assumed_role_is_said_nowhere(connect: Connect, ec2: Front) -> None:
    cloud = connect(role_arn="arn:aws:iam::123456789012:role/mist")
    cloud.check()
    token = ec2.calls[-1].headers["X-Amz-Security-Token"]
    ec2.answer("StopInstances", error("Strange", 400, f"you sent {token}"))
    with pytest.raises(Rejected) as caught:
        cloud.stop_machine(MACHINE)
    assert_silent(caught.value, (token,))


def test_what_aws_said_is_one_short_printable_line() -> None:
    said = words("a\x00b\n\tc\x1b[31m " + "long " * 200, ())
    assert "\n" not in said
    assert said.isprintable()
    assert len(said) <= 300
