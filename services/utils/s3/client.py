"""boto3's client, from the settings."""

from __future__ import annotations

from services.utils.env import S3Settings
from services.utils.errors import ConfigError
from services.utils.s3.bucket import Bucket


def connect(settings: S3Settings) -> Bucket:
    """The bucket that the environment names. Nothing is sent yet.

    Raises: ConfigError if boto3 is not installed, or cannot work with the settings.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ConfigError(
            "boto3 is not installed, which speaks to S3. Nothing was sent. "
            "Install it: pip install 'record-services[s3]'."
        ) from error
    config = Config(
        signature_version="s3v4",
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=settings.max_workers + 2,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Newer kinds of checksums are not known to every server; every body goes with its MD5 instead.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # A server of one's own has no host name for each bucket.
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
    )
    try:
        client = boto3.session.Session().client(
            "s3",
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"boto3 cannot work with these settings: {type(error).__name__}. Nothing was sent. "
            "Look at AWS_REGION, AWS_ENDPOINT_URL_S3 and boto3's own files."
        ) from error
    return Bucket(client, settings.bucket)
