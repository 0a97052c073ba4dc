"""The one reader of environment variables: it names all that are missing at once.

Every variable is told here once; the README's table is held to `VARIABLES` by a test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from services.utils.errors import ConfigError


@dataclass(frozen=True)
class Variable:
    """One variable. system: who needs it. A secret may also come as NAME_FILE, a file that holds it."""

    name: str
    system: str
    help: str
    secret: bool = False
    default: str = ""
    required: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable("KNACK_APP_ID", "knack_app", "id of the Knack application", required=True),
    Variable("KNACK_API_KEY", "knack", "its API key", secret=True, required=True),
    Variable("KNACK_API_URL", "knack", "where Knack answers", default="https://api.knack.com"),
    Variable(
        "KNACK_REQUESTS_PER_SECOND",
        "knack",
        "this machine's share of the ten requests a second that Knack allows an app",
        default="10",
    ),
    Variable("KNACK_APP_ID_SRC", "knack_copy", "app to app: the source's id, where KNACK_APP_ID is not it"),
    Variable("KNACK_APP_ID_DEST", "knack_copy", "app to app: the destination's id", required=True),
    Variable(
        "KNACK_API_KEY_DEST",
        "knack_copy",
        "app to app: the destination's API key",
        secret=True,
        required=True,
    ),
    Variable(
        "KNACK_API_URL_DEST", "knack_copy", "app to app: where the destination answers; default KNACK_API_URL"
    ),
    Variable("ODK_BASE_URL", "odk_app", "where ODK Central answers", required=True),
    Variable("ODATA_USER", "odk", "e-mail of a Central user with the role Project Viewer", required=True),
    Variable("ODATA_PASS", "odk", "the user's password", secret=True, required=True),
    Variable("ODK_PROJECT_ID", "odk_app", "the project's number, where the configuration has none"),
    Variable("ODK_FORM_ID", "odk_app", "the form's id, where it is not the container's id"),
    Variable("PGREST_ENDPOINT", "store", "where PostgREST answers", required=True),
    Variable(
        "PGREST_JWT", "store", "a token for PostgREST; or give the secret and a role instead", secret=True
    ),
    Variable("PGREST_JWT_SECRET", "store", "PostgREST's secret, to mint short-lived tokens", secret=True),
    Variable("PGREST_ROLE", "store", "the role to mint tokens for: api_user, api_publisher, api_monitor"),
    Variable("SOCRATA_URL", "socrata", "the portal: scheme and host", required=True),
    Variable("SOCRATA_USERNAME", "socrata", "user who may edit the datasets"),
    Variable("SOCRATA_PASSWORD", "socrata", "the user's password", secret=True),
    Variable("SOCRATA_API_KEY_ID", "socrata", "an API key's id, instead of a user"),
    Variable("SOCRATA_API_KEY_SECRET", "socrata", "the API key's secret", secret=True),
    Variable("SOCRATA_APP_TOKEN", "socrata", "an app token: more requests before throttling", secret=True),
    Variable("AGOL_URL", "agol", "the portal", default="https://www.arcgis.com"),
    Variable("AGOL_USERNAME", "agol", "user who may edit the layers", required=True),
    Variable("AGOL_PASSWORD", "agol", "the user's password", secret=True, required=True),
    Variable(
        "AGOL_CLIENT",
        "agol",
        "`arcgis`: sign in with the arcgis package, for portals that plain tokens do not cover",
    ),
    Variable("AWS_ACCESS_KEY", "s3", "the key's id; without it boto3 looks where it always does"),
    Variable("AWS_SECRET_KEY", "s3", "the key's secret", secret=True),
    Variable("AWS_BUCKET_NAME", "s3", "the bucket", required=True),
    Variable("AWS_REGION", "s3", "its region"),
    Variable("AWS_ENDPOINT_URL_S3", "s3", "where S3 answers, if it is not Amazon's (MinIO)"),
    Variable("MAX_WORKERS", "s3", "how many files are copied at a time", default="8"),
    Variable("PRIORITIZE_NEW", "s3", "`true`: the newest submissions' files first", default="true"),
    Variable(
        "PUBLIC_ID_SECRET",
        "public_id",
        "32 bytes or more: what public ids are hashed with, where a container has public_id",
        secret=True,
        required=True,
    ),
    Variable(
        "SYNC_INTERVAL", "sync", "seconds from one round's start to the next one's; without it, one round"
    ),
    Variable(
        "DATABASE_URL",
        "database",
        "the database, as a libpq URL (migrate.py only)",
        secret=True,
        required=True,
    ),
    Variable("SERVICES_ENV", "", "prod or dev, where -e is not given"),
    Variable("SERVICES_CONFIG", "", "a folder with knack.py and / or odk.py, instead of services/config"),
    Variable(
        "RETRY_SECONDS",
        "",
        "give up on a system that does not answer after so many seconds (default: minutes, by system)",
    ),
    Variable("LOG_FORMAT", "", "`json`: one JSON object a line"),
    Variable("NO_COLOR", "", "anything: no colours on a terminal"),
    Variable("LOG_LEVEL", "", "DEBUG, INFO, WARNING or ERROR", default="INFO"),
)
_URLS = (
    "KNACK_API_URL",
    "KNACK_API_URL_DEST",
    "ODK_BASE_URL",
    "PGREST_ENDPOINT",
    "SOCRATA_URL",
    "AGOL_URL",
    "AWS_ENDPOINT_URL_S3",
)
# Sent as they are in a request's head, which takes one line of ASCII.
_IN_HEADERS = (
    "KNACK_APP_ID",
    "KNACK_API_KEY",
    "KNACK_APP_ID_SRC",
    "KNACK_APP_ID_DEST",
    "KNACK_API_KEY_DEST",
    "PGREST_JWT",
    "SOCRATA_APP_TOKEN",
    "AWS_ACCESS_KEY",
)
_BY_NAME = {variable.name: variable for variable in VARIABLES}


@dataclass(frozen=True)
class KnackSettings:
    """Where Knack is and who asks."""

    app_id: str
    api_key: str = field(repr=False)
    url: str
    requests_per_second: float = 10.0


@dataclass(frozen=True)
class KnackCopySettings:
    """From which Knack app, into which one, and who writes there."""

    source_app_id: str
    app_id: str
    api_key: str = field(repr=False)
    url: str
    requests_per_second: float = 10.0


@dataclass(frozen=True)
class OdkSettings:
    """Where ODK Central is and who asks. project_id and form_id: "" where the configuration has them."""

    url: str
    user: str
    password: str = field(repr=False)
    project_id: str = ""
    form_id: str = ""

    @property
    def host(self) -> str:
        """Central's host, with its port if it is not the scheme's own, in lower case."""
        return urlsplit(self.url).netloc.rpartition("@")[2].lower()


@dataclass(frozen=True)
class S3Settings:
    """The bucket and who writes it, "" where boto3 is to look itself; how files are copied to it."""

    access_key: str
    secret_key: str = field(repr=False)
    bucket: str
    region: str
    endpoint: str
    max_workers: int = 8
    prioritize_new: bool = True


@dataclass(frozen=True)
class StoreSettings:
    """Where PostgREST is; a fixed token, or the secret and the role to mint tokens with."""

    endpoint: str
    jwt: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    role: str


@dataclass(frozen=True)
class SocrataSettings:
    """Where Socrata is and who writes (a user and password, or an API key's id and secret)."""

    url: str
    username: str
    password: str = field(repr=False)
    app_token: str = field(repr=False)

    @property
    def host(self) -> str:
        """The portal's host, which with a dataset's id names it."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class AgolSettings:
    """Where ArcGIS Online is and who writes; client: "" (plain tokens) or "arcgis"."""

    url: str
    username: str
    password: str = field(repr=False)
    client: str


@dataclass(frozen=True)
class Settings:
    """What `load` found for the systems it was asked about."""

    knack: KnackSettings
    store: StoreSettings
    socrata: SocrataSettings
    agol: AgolSettings
    odk: OdkSettings
    s3: S3Settings
    # 0: one round.
    sync_interval_s: int
    database_url: str = field(repr=False)
    knack_copy: KnackCopySettings


def get(name: str) -> str:
    """One variable's value, its default, or "". A secret may stand in the file that NAME_FILE names.

    Raises: ConfigError if that file cannot be read.
    """
    variable = _BY_NAME[name]
    value = os.environ.get(name, "").strip()
    path = os.environ.get(f"{name}_FILE", "").strip() if variable.secret else ""
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(
                f"{name}_FILE names {path}, which cannot be read: {reason}. Nothing was sent. "
                "Correct the path or its permissions and run again."
            ) from error
    return value or variable.default


def load(systems: Iterable[str]) -> Settings:
    """Settings of the systems a script works with.

    systems: "knack" or "odk" to read from it, "knack_app" or "odk_app" to know which app only, "store",
        "socrata", "agol", "s3", "sync", "database".
    Raises: ConfigError that names every missing or malformed variable of all of them.
    """
    asked = set(systems)
    if "knack" in asked:
        asked.add("knack_app")
    if "odk" in asked:
        asked.add("odk_app")
    missing = [v.name for v in VARIABLES if v.system in asked and v.required and not get(v.name)]
    if "knack_copy" in asked and not (get("KNACK_APP_ID_SRC") or get("KNACK_APP_ID")):
        missing.append("KNACK_APP_ID_SRC")
    wrong: list[str] = []
    if "store" in asked:
        missing += _missing_token()
    if "socrata" in asked:
        missing += _missing_socrata_user()
    if "s3" in asked:
        missing += _missing_half(("AWS_ACCESS_KEY", "AWS_SECRET_KEY"))
        if get("PRIORITIZE_NEW").lower() not in ("true", "false"):
            wrong.append("PRIORITIZE_NEW must be true or false")
    for name in ("MAX_WORKERS", "SYNC_INTERVAL"):
        if _BY_NAME[name].system in asked and get(name) and not _is_count(get(name)):
            wrong.append(f"{name} must be a whole number, 1 or more")
    if asked & {"knack", "knack_copy"} and not 0 < _number(get("KNACK_REQUESTS_PER_SECOND")) <= 10:
        wrong.append("KNACK_REQUESTS_PER_SECOND must be a number over 0, at most 10")
    for name in _URLS:
        if _BY_NAME[name].system in asked and get(name) and not _is_url(get(name)):
            wrong.append(
                f"{name} must be a URL that begins with https:// (or http://), with a host and no query"
            )
    for name in _IN_HEADERS:
        if _BY_NAME[name].system in asked and not _fits_header(get(name)):
            wrong.append(f"{name} holds a line break, or a letter that is none of an id, a key or a token")
    if "agol" in asked and get("AGOL_CLIENT") not in ("", "arcgis"):
        wrong.append("AGOL_CLIENT must be arcgis or left out")
    if "store" in asked and get("PGREST_JWT_SECRET") and len(get("PGREST_JWT_SECRET").encode()) < 32:
        wrong.append("PGREST_JWT_SECRET must have 32 bytes or more")
    if "public_id" in asked and 0 < len(get("PUBLIC_ID_SECRET").encode()) < 32:
        wrong.append("PUBLIC_ID_SECRET must have 32 bytes or more")
    if missing or wrong:
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        raise ConfigError(
            f"Environment variables are not right: {'; '.join(parts + wrong)}. Nothing was sent. "
            "Set them (a secret also as NAME_FILE, a file that holds it) and run again."
        )
    return Settings(
        KnackSettings(
            get("KNACK_APP_ID"),
            get("KNACK_API_KEY"),
            get("KNACK_API_URL").rstrip("/"),
            _number(get("KNACK_REQUESTS_PER_SECOND")),
        ),
        StoreSettings(
            get("PGREST_ENDPOINT").rstrip("/"),
            get("PGREST_JWT"),
            get("PGREST_JWT_SECRET"),
            get("PGREST_ROLE"),
        ),
        SocrataSettings(get("SOCRATA_URL").rstrip("/"), *_find_socrata_user(), get("SOCRATA_APP_TOKEN")),
        AgolSettings(
            get("AGOL_URL").rstrip("/"), get("AGOL_USERNAME"), get("AGOL_PASSWORD"), get("AGOL_CLIENT")
        ),
        OdkSettings(
            get("ODK_BASE_URL").rstrip("/").removesuffix("/v1"),
            get("ODATA_USER"),
            get("ODATA_PASS"),
            get("ODK_PROJECT_ID"),
            get("ODK_FORM_ID"),
        ),
        S3Settings(
            get("AWS_ACCESS_KEY"),
            get("AWS_SECRET_KEY"),
            get("AWS_BUCKET_NAME"),
            get("AWS_REGION"),
            get("AWS_ENDPOINT_URL_S3").rstrip("/"),
            int(get("MAX_WORKERS")) if "s3" in asked else 1,
            get("PRIORITIZE_NEW").lower() == "true",
        ),
        int(get("SYNC_INTERVAL") or 0) if "sync" in asked else 0,
        get("DATABASE_URL"),
        KnackCopySettings(
            get("KNACK_APP_ID_SRC") or get("KNACK_APP_ID"),
            get("KNACK_APP_ID_DEST"),
            get("KNACK_API_KEY_DEST"),
            (get("KNACK_API_URL_DEST") or get("KNACK_API_URL")).rstrip("/"),
            _number(get("KNACK_REQUESTS_PER_SECOND")),
        ),
    )


def secrets() -> list[str]:
    """The values of all secrets that are set, so that a log can be kept clear of them."""
    return [value for v in VARIABLES if v.secret and (value := get(v.name)) and len(value) >= 4]


def _missing_token() -> list[str]:
    if get("PGREST_JWT") or (get("PGREST_JWT_SECRET") and get("PGREST_ROLE")):
        return []
    if get("PGREST_JWT_SECRET"):
        return ["PGREST_ROLE"]
    if get("PGREST_ROLE"):
        return ["PGREST_JWT_SECRET (or PGREST_JWT)"]
    return ["PGREST_JWT (or PGREST_JWT_SECRET and PGREST_ROLE)"]


def _find_socrata_user() -> tuple[str, str]:
    """A user and password, else a key's id and secret; never half of one with half of the other."""
    for names in (("SOCRATA_USERNAME", "SOCRATA_PASSWORD"), ("SOCRATA_API_KEY_ID", "SOCRATA_API_KEY_SECRET")):
        if all(map(get, names)):
            return get(names[0]), get(names[1])
    return "", ""


def _missing_socrata_user() -> list[str]:
    if all(_find_socrata_user()):
        return []
    names = ("SOCRATA_USERNAME", "SOCRATA_PASSWORD")
    if get("SOCRATA_API_KEY_ID") or get("SOCRATA_API_KEY_SECRET"):
        names = ("SOCRATA_API_KEY_ID", "SOCRATA_API_KEY_SECRET")
    return [name for name in names if not get(name)]


def _missing_half(names: tuple[str, str]) -> list[str]:
    """The one that is missing of two that make sense together only."""
    given = [name for name in names if get(name)]
    return [name for name in names if name not in given] if given else []


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0


def _number(text: str) -> float:
    """A number as people write it; 0 where it is none."""
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) else 0.0


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode()
        # Read for what it raises: a port that is none.
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.%]*", host, re.ASCII))
        and text.isprintable()
        and not parts.query
        and not parts.fragment
    )


def _fits_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
