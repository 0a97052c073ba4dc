"""The one reader of environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.utils import env
from services.utils.errors import ConfigError

SECRET = "0123456789abcdef0123456789abcdef"
STORE = {"PGREST_ENDPOINT": "http://127.0.0.1:3000/", "PGREST_JWT_SECRET": SECRET, "PGREST_ROLE": "api_user"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of our variables is set."""
    for variable in env.VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
        monkeypatch.delenv(f"{variable.name}_FILE", raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_load__all_missing_at_once() -> None:
    """Everything that is missing, of all systems asked for, is named in one line."""
    with pytest.raises(ConfigError) as caught:
        env.load(["knack", "store", "socrata", "agol", "database"])
    message = str(caught.value)
    for name in (
        "KNACK_APP_ID",
        "KNACK_API_KEY",
        "PGREST_ENDPOINT",
        "PGREST_JWT (or PGREST_JWT_SECRET and PGREST_ROLE)",
        "SOCRATA_URL",
        "SOCRATA_USERNAME",
        "SOCRATA_PASSWORD",
        "AGOL_USERNAME",
        "AGOL_PASSWORD",
        "DATABASE_URL",
    ):
        assert message.count(f"{name}") >= 1, name
    assert "\n" not in message
    for optional in ("KNACK_API_URL", "AGOL_URL", "SOCRATA_APP_TOKEN", "LOG_LEVEL"):
        assert optional not in message


def test_load__only_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script is not asked for variables of systems it does not use; defaults stand in, slashes go."""
    set_all(monkeypatch, {**STORE, "KNACK_APP_ID": "a1"})
    settings = env.load(["knack_app", "store"])
    assert settings.knack == env.KnackSettings("a1", "", "https://api.knack.com")
    assert settings.store == env.StoreSettings("http://127.0.0.1:3000", "", SECRET, "api_user")
    assert settings.agol.url == "https://www.arcgis.com"
    with pytest.raises(ConfigError, match="missing: KNACK_API_KEY"):
        env.load(["knack", "store"])


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "PGREST_JWT (or PGREST_JWT_SECRET and PGREST_ROLE)"),
        ({"PGREST_JWT_SECRET": SECRET}, "PGREST_ROLE"),
        ({"PGREST_ROLE": "api_user"}, "PGREST_JWT_SECRET (or PGREST_JWT)"),
        ({"PGREST_JWT": "a.b.c"}, ""),
        ({"PGREST_JWT_SECRET": SECRET, "PGREST_ROLE": "api_user"}, ""),
        ({"PGREST_JWT": "  ", "PGREST_JWT_SECRET": SECRET}, "PGREST_ROLE"),
    ],
)
def test_load__token_or_secret(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: str) -> None:
    """A token, or a secret and a role, will do; of a half pair the other half is named."""
    set_all(monkeypatch, {"PGREST_ENDPOINT": "http://localhost:3000", **given})
    if missing:
        with pytest.raises(ConfigError) as caught:
            env.load(["store"])
        assert f"missing: {missing}. Nothing" in str(caught.value)
    else:
        assert env.load(["store"]).store.endpoint == "http://localhost:3000"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"SOCRATA_USERNAME": "u"}, "SOCRATA_PASSWORD"),
        ({"SOCRATA_API_KEY_ID": "k"}, "SOCRATA_API_KEY_SECRET"),
        ({"SOCRATA_API_KEY_ID": "k", "SOCRATA_API_KEY_SECRET": "s"}, ""),
        ({"SOCRATA_USERNAME": "u", "SOCRATA_PASSWORD": "p"}, ""),
        ({"SOCRATA_USERNAME": "u", "SOCRATA_API_KEY_ID": "k", "SOCRATA_API_KEY_SECRET": "s"}, ""),
        ({"SOCRATA_USERNAME": "u", "SOCRATA_PASSWORD": "p", "SOCRATA_API_KEY_ID": "k"}, ""),
    ],
)
def test_load__socrata_user_or_key(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], missing: str
) -> None:
    """A user and password, or an API key's id and secret."""
    set_all(monkeypatch, {"SOCRATA_URL": "https://data.example.org/", **given})
    if missing:
        with pytest.raises(ConfigError, match=f"missing: {missing}"):
            env.load(["socrata"])
    else:
        found = env.load(["socrata"]).socrata
        assert (found.url, found.host) == ("https://data.example.org", "data.example.org")
        assert (found.username, found.password) in (("u", "p"), ("k", "s"))
        assert found.password == given.get("SOCRATA_PASSWORD", "s")


def test_load__short_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of fewer than 32 bytes is refused, counted in bytes, and not repeated in the message."""
    set_all(monkeypatch, {**STORE, "PGREST_JWT_SECRET": "hush" * 7 + "hus"})
    with pytest.raises(ConfigError, match="32 bytes or more") as caught:
        env.load(["store"])
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("PGREST_JWT_SECRET", "ü" * 16)
    assert env.load(["store"]).store.jwt_secret == "ü" * 16


@pytest.mark.parametrize("name", ["KNACK_API_URL", "PGREST_ENDPOINT", "SOCRATA_URL", "AGOL_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "data.example.org",
        "ftp://x",
        "https://",
        "https://x/?token=hush",
        "http://[x",
        "http://x:81x",
        "http://x:99999",
        "https://exa mple.org",
        "https://.example.org",
        "https://example.org/a\nb",
    ],
)
def test_load__urls(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """An address without scheme or host, or with a query, is refused by the variable's name."""
    others = {
        v.name: "x" * 40 for v in env.VARIABLES if v.required and v.name != name and "URL" not in v.name
    }
    set_all(
        monkeypatch, {**others, **STORE, "SOCRATA_URL": "https://a.b", "SOCRATA_USERNAME": "u", name: url}
    )
    monkeypatch.setenv("SOCRATA_PASSWORD", "p")
    with pytest.raises(ConfigError, match=f"{name} must be a URL") as caught:
        env.load(["knack", "store", "socrata", "agol"])
    assert "missing" not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://db_front:3000", "http://[::1]:3000/a", "https://bücher.example/x y"])
def test_load__urls_that_are_fine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Names of containers, numbers of IPv6 and letters of other alphabets are hosts too."""
    set_all(monkeypatch, {**STORE, "PGREST_ENDPOINT": url})
    assert env.load(["store"]).store.endpoint == url


@pytest.mark.parametrize("key", ["hush\nhush", "hush\u2019s", "hu\tsh"])
def test_load__keys_that_no_header_takes(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A key of two lines, or with a quote that a text editor made, is refused by its name; it is not shown."""
    set_all(monkeypatch, {**STORE, "KNACK_APP_ID": "a", "KNACK_API_KEY": key})
    with pytest.raises(ConfigError, match="KNACK_API_KEY holds a line break, or a letter") as caught:
        env.load(["knack", "store"])
    assert "hu" not in str(caught.value)


def test_load__plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests and the demo stand on plain http with a port."""
    set_all(
        monkeypatch,
        {**STORE, "KNACK_APP_ID": "a", "KNACK_API_KEY": "k", "KNACK_API_URL": "http://127.0.0.1:81/"},
    )
    assert env.load(["knack", "store"]).knack.url == "http://127.0.0.1:81"


@pytest.mark.parametrize("given", ["", "10", "2.5", " 1 "])
def test_load__requests_per_second(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """This machine's share of Knack's ten requests a second; all of them where nothing is said."""
    set_all(
        monkeypatch,
        {**STORE, "KNACK_APP_ID": "a", "KNACK_API_KEY": "k", "KNACK_REQUESTS_PER_SECOND": given},
    )
    assert env.load(["knack"]).knack.requests_per_second == float(given or 10)


@pytest.mark.parametrize("given", ["0", "-1", "11", "ten", "nan", "1e1", "0.0"])
def test_load__requests_per_second_wrong(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """No rate at all, and more than Knack allows, are refused by the variable's name."""
    set_all(monkeypatch, {"KNACK_APP_ID": "a", "KNACK_API_KEY": "k", "KNACK_REQUESTS_PER_SECOND": given})
    with pytest.raises(ConfigError, match="KNACK_REQUESTS_PER_SECOND must be a number over 0, at most 10"):
        env.load(["knack"])
    assert env.load(["knack_app"]).knack.app_id == "a"
    set_all(monkeypatch, {"KNACK_APP_ID_DEST": "b", "KNACK_API_KEY_DEST": "k"})
    with pytest.raises(ConfigError, match="KNACK_REQUESTS_PER_SECOND must be"):
        env.load(["knack_copy"])


def test_load__agol_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """AGOL_CLIENT is arcgis or nothing."""
    set_all(monkeypatch, {"AGOL_USERNAME": "u", "AGOL_PASSWORD": "p", "AGOL_CLIENT": "arcpy"})
    with pytest.raises(ConfigError, match="AGOL_CLIENT must be arcgis"):
        env.load(["agol"])
    monkeypatch.setenv("AGOL_CLIENT", "arcgis")
    assert env.load(["agol"]).agol.client == "arcgis"


def test_get__secret_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret may stand in the file that NAME_FILE names, its last line end left off; the variable itself wins."""
    (tmp_path / "key").write_text("from file\n")
    monkeypatch.setenv("KNACK_API_KEY_FILE", str(tmp_path / "key"))
    assert env.get("KNACK_API_KEY") == "from file"
    monkeypatch.setenv("KNACK_API_KEY", "direct")
    assert env.get("KNACK_API_KEY") == "direct"


def test_get__every_secret_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every secret has its NAME_FILE; what is no secret has none."""
    (tmp_path / "value").write_text("x" * 40)
    secrets = {v.name for v in env.VARIABLES if v.secret}
    assert {"PGREST_JWT", "PGREST_JWT_SECRET", "KNACK_API_KEY", "SOCRATA_PASSWORD", "DATABASE_URL"} <= secrets
    for variable in env.VARIABLES:
        monkeypatch.setenv(f"{variable.name}_FILE", str(tmp_path / "value"))
        assert (env.get(variable.name) == "x" * 40) == variable.secret, variable.name


def test_get__unreadable_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is not there, a folder, or bytes that are no text are told by variable and path."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, said in (("nowhere", "No such file"), (".", "Is a directory"), ("bytes", "it is not text")):
        monkeypatch.setenv("PGREST_JWT_FILE", str(tmp_path / name))
        with pytest.raises(ConfigError, match=rf"PGREST_JWT_FILE names .*{said}"):
            env.get("PGREST_JWT")


def test_get__empty_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty file is a missing secret."""
    (tmp_path / "key").write_text("\n")
    set_all(monkeypatch, {"KNACK_APP_ID": "a", "KNACK_API_KEY_FILE": str(tmp_path / "key")})
    with pytest.raises(ConfigError, match="missing: KNACK_API_KEY"):
        env.load(["knack"])


def test_secrets__all_that_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The log is kept clear of every secret that is set, those from files included."""
    (tmp_path / "key").write_text("from-file")
    set_all(
        monkeypatch,
        {
            "SOCRATA_PASSWORD": "hush-hush",
            "KNACK_API_KEY_FILE": str(tmp_path / "key"),
            "KNACK_APP_ID": "public",
        },
    )
    assert sorted(env.secrets()) == ["from-file", "hush-hush"]


def test_settings__no_secret_in_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that land in a traceback or a log show no secret."""
    values = {v.name: f"hush-{v.name}-{'x' * 32}" for v in env.VARIABLES if v.secret}
    set_all(
        monkeypatch,
        {**STORE, **values, "KNACK_APP_ID": "a", "SOCRATA_URL": "https://a.b", "SOCRATA_USERNAME": "u"},
    )
    set_all(monkeypatch, {"AGOL_USERNAME": "u"})
    settings = env.load(["knack", "store", "socrata", "agol", "database"])
    assert settings.store.jwt == values["PGREST_JWT"]
    assert "hush" not in repr(settings)


def test_variables__each_once() -> None:
    """A variable is told once, with words on what it is for."""
    names = [variable.name for variable in env.VARIABLES]
    assert len(set(names)) == len(names)
    assert all(variable.help for variable in env.VARIABLES)
