"""botocore's clients, made of the credentials that were given and of nothing else.

botocore is the part of boto3 that speaks to AWS. By itself it looks for settings and credentials in some fifty environment
variables, in ~/.aws and at the instance's metadata address; here each of its settings is a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import parse_timestamp

from clouds.providers.base import Context
from core.errors import Rejected

from .errors import translated
from .wire import Wire

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

SESSION_NAME = "mist"  # who we are in an assumed role, as CloudTrail shows it
# The description of EC2's API takes 24 MB and 0.3 s to read: once a process, whatever number of clouds.
_loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
_SETTINGS = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()} | {
    "config_file": None,
    "credentials_file": None,
    "ignore_configured_endpoint_urls": True,
}
_CONFIG = Config(
    proxies={},  # None would ask the environment
    retries={"mode": "standard", "total_max_attempts": 1},  # Wire.retry does it
    user_agent_extra="Mist",
    parameter_validation=True,
)


def parse_time(value: object) -> datetime:
    """Without botocore's way through dateutil, which takes 80 µs a time: a third of the CPU of polling 5,000 instances."""
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    found: datetime = parse_timestamp(cast(str, value))  # or a number
    return found.astimezone(UTC)


def endpoint_of(credentials: Mapping[str, Any]) -> str | None:
    """The endpoint given, checked and without a trailing slash; None: AWS's own.  Raises: Rejected."""
    text = str(credentials.get("endpoint") or "").strip()
    if not text:
        return None
    try:
        url = urlsplit(text)
        valid = url.scheme in {"http", "https"} and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        valid = False
    if not valid or url.username is not None or url.password is not None or url.query or url.fragment or not text.isprintable():
        raise Rejected("The endpoint is not a web address such as https://ec2.example.org:8773.", code="cloud_bad_endpoint")
    return text.rstrip("/")


class Clients:
    """One session and its clients. For one provider object, so for one thread."""

    def __init__(self, credentials: Mapping[str, Any], context: Context) -> None:
        self._credentials = credentials
        self._assumed: tuple[str, ...] = ()
        self.wire = Wire(context)

    @cached_property
    def session(self) -> Session:
        session = Session()
        session.register_component("data_loader", _loader)
        session.register_component("config_store", ConfigValueStore({name: ConstantProvider(value) for name, value in _SETTINGS.items()}))
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
        return session

    @property
    def region(self) -> str:
        return str(self._credentials.get("region") or "").strip()

    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        given = (str(self._credentials.get("apisecret") or "").strip(), *self._assumed)
        return tuple(value for value in given if value)

    def is_known_region(self) -> bool:
        """Is the region in botocore's list? A region newer than botocore is not."""
        partitions = self.session.get_available_partitions()
        return any(self.region in self.session.get_available_regions("ec2", partition, True) for partition in partitions)

    @cached_property
    def ec2(self) -> EC2Client:
        """Raises: as `translated()`, when a role is to be assumed."""
        role = str(self._credentials.get("role_arn") or "").strip()
        keys = self._assume(role) if role else self._keys()
        client: EC2Client = self._client("ec2", keys)
        return client

    def close(self) -> None:
        self.wire.close()

    def _keys(self) -> dict[str, str]:
        access, secret = (str(self._credentials.get(name) or "").strip() for name in ("apikey", "apisecret"))
        if not access or not secret:
            raise Rejected("An access key and its secret are needed.")
        return {"aws_access_key_id": access, "aws_secret_access_key": secret}

    def _assume(self, role: str) -> dict[str, str]:
        external_id = str(self._credentials.get("external_id") or "").strip()
        given = self._client("sts", self._keys()).assume_role(
            RoleArn=role, RoleSessionName=SESSION_NAME, **({"ExternalId": external_id} if external_id else {})
        )["Credentials"]
        self._assumed = (given["SecretAccessKey"], given["SessionToken"])
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }

    def _client(self, service: str, keys: Mapping[str, str]) -> Any:
        if not self.region:
            raise Rejected("A region is needed, such as eu-west-1.", code="cloud_bad_region")
        endpoint = endpoint_of(self._credentials)
        with translated(self.secrets):
            client: Any = cast(Any, self.session).create_client(
                service, self.region, endpoint_url=endpoint, verify=True, config=_CONFIG, **keys
            )
        client.meta.events.register(f"before-send.{service}", self.wire.send)
        client.meta.events.register(f"needs-retry.{service}", self.wire.retry)
        return client
