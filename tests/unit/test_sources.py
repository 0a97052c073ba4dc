"""Which source a container has, and where its documents are."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.utils import containers, env, sources
from services.utils.containers import Container
from services.utils.errors import ConfigError
from services.utils.records import Part

ODK = {
    "ODK_BASE_URL": "https://odk.example.org/",
    "ODATA_USER": "viewer@example.org",
    "ODATA_PASS": "pass word",
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> env.Settings:
    """ODK's variables, and no others."""
    for name in ("ODK_PROJECT_ID", "ODK_FORM_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ODK.items():
        monkeypatch.setenv(name, value)
    return env.load(["odk"])


def build(**more: str) -> Container:
    """A container of an ODK app."""
    return Container(system="odk", app="park", id="trees", env="prod", **more)


def test_find_place__of_a_form(settings: env.Settings) -> None:
    """An app is host and project, a container the form, in the store."""
    place = sources.find_place(build(project_id="4"), settings)
    assert place == sources.Place("odk", "odk.example.org/4", "trees")
    assert sources.find_place(build(project_id="4", form_id="Trees 2"), settings).container_id == "Trees 2"


def test_find_form__from_the_environment(settings: env.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project and form come from the environment only where the configuration has none."""
    monkeypatch.setenv("ODK_PROJECT_ID", "012")
    monkeypatch.setenv("ODK_FORM_ID", "other")
    found = env.load(["odk"]).odk
    assert sources.find_form(build(), found) == sources.FormPlace("odk.example.org/12", "12", "other")
    own = build(project_id="4", form_id="mine")
    assert sources.find_form(own, found) == sources.FormPlace("odk.example.org/4", "4", "mine")


@pytest.mark.parametrize("project", ["", "abc", "-1", "1.5", "١"])
def test_find_form__no_project(settings: env.Settings, project: str) -> None:
    """A project that is not known, or no number, is told before anything is sent."""
    with pytest.raises(ConfigError, match="project_id") as caught:
        sources.find_form(build(project_id=project), settings.odk)
    assert "park/trees" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ODK.Example.org/v1/", "odk.example.org"),
        ("http://127.0.0.1:8383", "127.0.0.1:8383"),
        ("https://user:pw@odk.example.org", "odk.example.org"),
    ],
)
def test_odk_settings__host(monkeypatch: pytest.MonkeyPatch, url: str, host: str) -> None:
    """The host names the app: without case, sign-in or path, with its port."""
    for name, value in {**ODK, "ODK_BASE_URL": url}.items():
        monkeypatch.setenv(name, value)
    settings = env.load(["odk"]).odk
    assert settings.host == host
    assert not settings.url.endswith(("/", "/v1"))
    assert "pass word" not in repr(settings)


def test_refuse_repeat__names_the_form(tmp_path: Path) -> None:
    """A container that stands for a repeat is not loaded; the error names the one that is."""
    (tmp_path / "odk.py").write_text(
        'CONFIG = {"park": {"all trees": {"form_id": "trees"}, "branches": {"form_id": "trees", "repeat": "branch"}}}'
    )
    config = containers.read_config(tmp_path)
    container = containers.find_container(config, "park", "branches", "prod", ("odk",))
    with pytest.raises(ConfigError, match="-c all trees instead"):
        sources.refuse_repeat(config, container)
    sources.refuse_repeat(config, containers.find_container(config, "park", "all trees", "prod", ("odk",)))


def test_refuse_shards__a_form_is_one_walk(tmp_path: Path) -> None:
    """An ODK form is not loaded in shards, and the error says why; a Knack container is, and either one whole."""
    (tmp_path / "odk.py").write_text('CONFIG = {"park": {"trees": {}}}')
    (tmp_path / "knack.py").write_text('CONFIG = {"city": {"object_1": {}}}')
    config = containers.read_config(tmp_path)
    form = containers.find_container(config, "park", "trees", "prod", ("odk",))
    for part in (Part(4, 2), Part(4)):
        with pytest.raises(ConfigError, match=r"each page of its feed names the next one \(nextLink\)"):
            sources.refuse_shards(form, part)
    sources.refuse_shards(form, None)
    sources.refuse_shards(
        containers.find_container(config, "city", "object_1", "prod", ("knack",)), Part(4, 2)
    )
