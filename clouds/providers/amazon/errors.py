"""botocore's errors in, ours out; and what each of AWS's error codes asks of the reader.

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, InvalidRegionError, ParamValidationError
from botocore.parsers import ResponseParserError

from core.errors import AuthFailed, Gone, NotPermitted, NotSupported, ProviderError, RateLimited, Rejected, Unavailable

log = logging.getLogger(__name__)

WORDS_LENGTH = 300

_UNKNOWN_KEY = (
    "AWS does not accept this access key: it is mistyped, deleted or inactive, or the region is not enabled for the account."
    " Look under IAM, Users, Security credentials."
)
_EXPIRED = "These credentials have expired. Give new ones."
AUTH = {
    "AuthFailure": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "MissingAuthenticationToken": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": "The secret does not belong to this access key, or this server's clock is wrong. Enter the secret again.",
    "InvalidSignatureException": "The secret does not belong to this access key, or this server's clock is wrong. Enter the secret again.",
    "IncompleteSignature": "AWS cannot read the signature: the access key has characters that do not belong there.",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": "AWS took the request for one of another time: these credentials have expired, or this server's clock is wrong.",
    "OptInRequired": "The AWS account is not subscribed to EC2 in this region. Enable it in the AWS console.",
    "PendingVerification": "AWS is still verifying the account. Its mail says what is needed.",
    "Blocked": "AWS has blocked the account. Ask AWS Support.",
}
DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "EC2ThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "SlowDown",
    }
)
GONE = ("InvalidInstanceID", "InvalidSnapshot.NotFound", "InvalidID")
NOT_SUPPORTED = frozenset({"InvalidAction", "UnknownOperation", "UnknownOperationException", "NotImplemented", "UnsupportedProtocol"})
STATE = frozenset({"IncorrectInstanceState", "IncorrectState", "IncorrectSpotRequestState"})
CAPACITY = "AWS has not enough capacity for this size there now. Try another zone or size, or later."
LIMIT = "A limit of the AWS account is reached. Ask AWS for a higher one under Service Quotas, or make room."
LIMITS = ("LimitExceeded", "MaxSpotInstanceCountExceeded", "AddressLimitExceeded", "ResourceLimitExceeded")


def is_throttled(code: str, status: int) -> bool:
    return code in THROTTLED or status == 429


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; None where there is none, or a date (AWS sends none)."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, min(float(value), 3600.0))
            except ValueError:
                return None
    return None


def statement(*actions: str) -> str:
    """The IAM policy statement that allows these actions, as it is pasted into a policy."""
    return json.dumps({"Effect": "Allow", "Action": list(actions), "Resource": "*"})


def _add(action: str) -> str:
    return f"Add to their IAM policy: {statement(action)}"


def words(message: str, secrets: Iterable[str]) -> str:
    """What AWS said, on one line, shortened, without anything secret."""
    said = re.sub(r"\s*Encoded authorization failure message:\s*\S+", "", message)
    for secret in secrets:
        said = said.replace(secret, "…")
    said = " ".join("".join(char if char.isprintable() else " " for char in said).split())
    return said if len(said) <= WORDS_LENGTH else said[: WORDS_LENGTH - 1] + "…"


@contextmanager
def translated(secrets: Callable[[], tuple[str, ...]]) -> Iterator[None]:
    """Everything botocore raises inside comes out as one of `core.errors`.

    `secrets` is asked when something was raised: an assumed role's are known only then. The cause stays in the chain, for
    the log, unless it says one of them.
    """
    try:
        yield
    except ClientError as error:
        ours: ProviderError = from_answer(error, secrets())
        cause: BaseException | None = error
    except InvalidRegionError as error:
        ours, cause = Rejected("This is no AWS region. Regions look like eu-west-1.", code="cloud_bad_region"), error
    except ParamValidationError as error:
        ours, cause = Rejected("AWS cannot be asked for that.", words=words(str(error), secrets())), error
    except (BotoCoreError, ResponseParserError, LookupError, TypeError, ValueError) as error:
        # What cannot be parsed, pages that go in circles, items without an id: botocore checks no answer against its model.
        log.warning("EC2 answered what makes no sense to us: %s", type(error).__name__)
        ours, cause = Unavailable("The cloud's answer makes no sense. It will be asked again.", code="cloud_garbage"), error
    else:
        return
    raise ours from (cause if not any(secret in str(cause) for secret in secrets()) else None)


def from_answer(error: ClientError, secrets: Iterable[str]) -> ProviderError:
    """Our error for an error answer of AWS."""
    answer: Mapping[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    said = words(str(answer.get("Error", {}).get("Message", "")), secrets)
    metadata = answer.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    if is_throttled(code, status):
        wait_s = retry_after_s(metadata.get("HTTPHeaders", {}))
        return RateLimited(
            "AWS is asked too often for this account and region. It will be asked again later.", retry_after_s=wait_s, words=said
        )
    if code in DENIED:
        action = _iam_action(error.operation_name, said)
        forbidden = re.search(r"explicit deny in an? ([a-z-]+(?: [a-z-]+)*)", said)
        fix = f"A {forbidden[1]} denies it, so that no statement allows it: change that one." if forbidden else _add(action)
        return NotPermitted(f"The credentials may not do {action}. {fix}", words=said, action=action)
    if code == "AuthFailure" and "Not authorized for images" in said:  # the key is good, the image is not ours to use
        return Rejected("The image is not there, or is not shared with this AWS account. Choose another.", words=said)
    if code in AUTH:
        return AuthFailed(AUTH[code], words=said)
    if code.startswith("InvalidVolume") and error.operation_name == "DeleteVolume":  # elsewhere it is what was asked for that is wrong
        return Gone("The volume is not in the cloud any more.", words=said)
    if code.startswith(GONE):
        thing = "snapshot" if "Snapshot" in code else "machine"
        return Gone(f"The {thing} is not in the cloud any more.", words=said)
    if code.startswith("Insufficient"):  # before the 5xx: AWS answers it as a 500
        return Rejected(CAPACITY, words=said, code="cloud_capacity")
    if code in NOT_SUPPORTED or status == 501:
        return NotSupported("This endpoint of EC2 cannot do that.", words=said)
    if status >= 500:
        return Unavailable("AWS has an internal fault. It will be asked again.", words=said)
    if code == "VolumeInUse":
        return Rejected("The volume is attached to a machine. Detach it first.", words=said, code="cloud_wrong_state")
    if code in STATE:
        return Rejected("The machine's state does not allow that now.", words=said, code="cloud_wrong_state")
    if any(limit in code for limit in LIMITS):
        return Rejected(LIMIT, words=said, code="cloud_quota")
    if status < 400:
        return Unavailable("The cloud's answer makes no sense. It will be asked again.", code="cloud_garbage")
    return Rejected(f"AWS said no: {said or code or status}", words=said)


def _iam_action(operation: str, said: str) -> str:
    """The IAM action that is missing: AWS names it in newer messages, else it is called as the operation."""
    named = re.search(r"perform: ([a-z0-9-]+:[A-Za-z]+)", said)
    if named:
        return named[1]
    return f"{'sts' if operation == 'AssumeRole' else 'ec2'}:{operation}"
