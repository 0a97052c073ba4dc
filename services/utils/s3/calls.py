"""One operation on a bucket until it has an answer: what is repeated, what is refused and in which words.

What may be repeated is decided here, with the waits of `session`: boto3's own retries know neither this process'
patience nor answers that are none (a proxy's page under a status of 200 is an empty listing to it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from services.utils.errors import ConfigError, OutcomeUnknown, PublishError, RequestRefused
from services.utils.session import Backoff, Waits, build_failure, check_may_write, pause

log = logging.getLogger(__name__)

# Hidden behind a load balancer or under load, a third of requests may fail for a while.
BACKOFF = Backoff(attempts=12, factor_s=0.3, max_wait_s=8.0, deadline_s=240.0)
_AGAIN = frozenset({"SlowDown", "TooManyRequests", "429", "RequestLimitExceeded"})
_UNKNOWN = frozenset(
    {
        "RequestTimeout",
        "InternalError",
        "ServiceUnavailable",
        "OperationAborted",
        "ConditionalRequestConflict",
        # The body did not come through as it was sent.
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    }
)
_READS = frozenset({"head_object", "list_objects_v2", "get_object"})
_MEANINGS = {
    "NoSuchBucket": "there is no such bucket; check AWS_BUCKET_NAME and AWS_ENDPOINT_URL_S3",
    "InvalidBucketName": "that is no bucket's name; check AWS_BUCKET_NAME",
    "InvalidAccessKeyId": "the key is not known; check AWS_ACCESS_KEY",
    "SignatureDoesNotMatch": "the signature is refused; check AWS_SECRET_KEY",
    "ExpiredToken": "the sign-in has expired",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "AccessDenied": "the key may not do this; it needs to list the bucket and to read, write and delete its objects",
    "403": "the key may not do this, or is not known; it needs to list the bucket and to read and write its objects",
    "PermanentRedirect": "the bucket is in another region; check AWS_REGION",
    "KeyTooLongError": "the object's key is too long",
    "EntityTooLarge": "the object is too large",
}


class Caller:
    """Carries out operations on one bucket; safe to use by several threads. client: boto3's."""

    def __init__(self, client: Any, bucket: str, where: str, backoff: Backoff) -> None:
        self._client = client
        self._bucket = bucket
        self._where = where
        self._backoff = backoff

    def __call__(
        self,
        operation: str,
        what: str,
        *,
        check: Callable[[dict[str, Any]], str] = lambda answer: "",
        before: Callable[[], object] = lambda: None,
        look: Callable[[], dict[str, Any] | None] = lambda: None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """One operation on the bucket until it has an answer. All of them may be repeated.

        check: what is wrong with an answer, "" if nothing. before: called before each try. look: called after a
        try that may have been carried out; what stands for its answer if it was.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        where = f"{self._where} {operation} {self._bucket}/{what}"
        waits = Waits(self._backoff)
        tries = failures = 0
        while True:
            tries += 1
            before()
            if operation not in _READS:
                check_may_write()
            status, code, counts = 0, "", True
            try:
                answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
                reason = check(answer)
                if not reason:
                    return answer
            except ClientError as error:
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                code = str(error.response.get("Error", {}).get("Code", ""))
                reason = _MEANINGS.get(code) or (_name_status(status) if code in ("", str(status)) else code)
                counts = code not in _AGAIN
                if counts and code not in _UNKNOWN and status < 500 and status != 408:
                    raise build_failure(
                        PublishError, RequestRefused, f"{where}: {status} {reason}", status, code=code
                    ) from error
            except (BotoCoreError, ResponseParserError, HTTPError) as error:
                reason = _name_failure(error)
            failures += counts
            said = f"{where}: {f'{status} ' if status else ''}{reason}"
            gave_up = build_failure(
                PublishError, OutcomeUnknown, f"{said}; gave up after {tries} tries", status, code=code
            )
            wait_s = waits.find_next() if failures < self._backoff.attempts else None
            if wait_s is None:
                raise gave_up
            log.info("%s; trying again in %.1f s (try %d)", said, wait_s, tries + 1)
            pause(wait_s)
            try:
                # Being told to wait is the one answer that surely means that nothing was done.
                found = look() if counts else None
            except RequestRefused:
                found = None  # the key may write, and not read
            except OutcomeUnknown as error:
                raise gave_up from error
            if found is not None:
                return found


def _name_failure(error: Exception) -> str:
    """Words for an operation without an answer. Raises: ConfigError where none can come."""
    from botocore import exceptions

    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.ProfileNotFound,
    ):
        raise ConfigError(
            "There is no sign-in for S3. Nothing was sent. "
            "Set AWS_ACCESS_KEY and AWS_SECRET_KEY, or what boto3 reads itself."
        ) from error
    if isinstance(error, exceptions.ParamValidationError):
        raise ConfigError(
            "boto3 takes neither this bucket's name nor key. Nothing was sent. Check AWS_BUCKET_NAME."
        ) from error
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return "no connection (is it running at this address?)"
    if isinstance(error, exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.SSLError):
        return "the TLS handshake failed (wrong scheme or untrusted certificate)"
    if isinstance(error, exceptions.ResponseStreamingError | exceptions.IncompleteReadError):
        return "the answer was cut short"
    return "the connection was lost or the answer cannot be read"


def _name_status(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "refused"
