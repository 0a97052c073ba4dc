"""One container's settings, read as data."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from services.utils import containers
from services.utils.errors import ConfigError

FULL = {
    "description": "Signals",
    "scene_id": "scene_1",
    "modified_date_field_id": "field_2",
    "location_fields": ["field_3", "field_4"],
    "socrata_resource_id": "abcd-1234",
    "service_id": "0123456789abcdef",
    "layer_id": 0,
    "item_type": "table",
    "upsert_matching_field": "signal_id",
    "no_replace_socrata": True,
    "schedule": "0 * * * *",
    "fields": ["a", "b"],
    "exclude_fields": ("c",),
    "dest_apps": {"other": {"container": "view_7", "object": "object_3"}},
    "append_timestamps_socrata": {"key": "imported_at"},
    "dev": {"socrata_resource_id": "wxyz-9876", "service_id": "fedcba"},
}


def build(settings: Any, **others: Any) -> dict[str, Any]:
    """Configuration with one container "c" of the app "a", and others."""
    return {"knack": {"a": {"c": settings, **others}}, "odk": {}}


def find(settings: Any, env: str = "prod", **others: Any) -> containers.Container:
    """That container."""
    return containers.find_container(build(settings, **others), "a", "c", env)


def write(folder: Path, text: str, name: str = "knack.py") -> Path:
    """A configuration file; its folder."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_find_container__every_setting() -> None:
    """Every setting arrives, lists as tuples, and nothing can be changed afterwards."""
    found = find(FULL)
    assert (found.system, found.app, found.id, found.env, found.where) == ("knack", "a", "c", "prod", "a/c")
    assert found.location_fields == ("field_3", "field_4")
    assert found.exclude_fields == ("c",)
    assert (found.layer_id, found.item_type, found.no_replace_socrata) == (0, "table", True)
    assert found.socrata_resource_id == "abcd-1234"
    assert found.dev_blocked == ()
    assert found.dest_apps == {"other": "object_3"}
    assert found.append_timestamps_socrata == "imported_at"
    with pytest.raises(FrozenInstanceError):
        found.layer_id = 1


def test_find_container__nothing_set() -> None:
    """An empty container has the defaults; None is the same as not set."""
    assert find({}) == find(dict.fromkeys(FULL))
    found = find({})
    assert (found.upsert_matching_field, found.item_type, found.layer_id, found.fields) == (
        "id",
        "layer",
        None,
        None,
    )


def test_find_container__fields_that_publish_nothing() -> None:
    """An empty allow-list is not the same as none."""
    assert find({"fields": []}).fields == ()


@pytest.mark.parametrize(
    ("old", "new", "value", "found"),
    [
        ("scene", "scene_id", "scene_7", "scene_7"),
        ("modified_date_field", "modified_date_field_id", "field_1", "field_1"),
        ("location_field_id", "location_fields", "field_9", ("field_9",)),
    ],
)
def test_find_container__older_spellings(old: str, new: str, value: str, found: Any) -> None:
    """Older spellings mean the same, in dev too; both at once, saying different things, are refused."""
    assert getattr(find({old: value}), new) == found
    assert getattr(find({new: "x", "dev": {old: value}}, "dev"), new) == found
    with pytest.raises(ConfigError, match=f"has both {new} and, as it used to be called, '{old}'"):
        find({old: value, new: "another"})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("socrata_resource", "socrata_resource_id"),
        ("modified_date_field_ids", "modified_date_field_id"),
        ("Service_id", "service_id"),
        ("layerid", "layer_id"),
        ("siblings", "there is|nearest"),
        ("dev_blocked", "there is|nearest"),
        ("env", "dev"),
    ],
)
def test_find_container__unknown_setting(key: str, nearest: str) -> None:
    """A setting that nobody knows is refused with the nearest known one; what code sets is no setting."""
    for settings in ({key: "x"}, {"dev": {key: "x"}}):
        with pytest.raises(
            ConfigError, match=rf"a/c.* has an unknown setting '{key}' in config/knack.py; .*({nearest})"
        ):
            find(settings)


def test_find_container__unknown_names() -> None:
    """An app or container that is not there is told with the nearest names."""
    config = {"knack": {"data-tracker": {"object_31": {}, "view_197": {}}}, "odk": {"survey": {"trees": {}}}}
    with pytest.raises(ConfigError, match="No app 'data-traker' is configured; nearest: data-tracker"):
        containers.find_container(config, "data-traker", "object_31", "prod")
    with pytest.raises(ConfigError, match="no container 'view_179'.*; nearest: view_197"):
        containers.find_container(config, "data-tracker", "view_179", "prod")
    with pytest.raises(ConfigError, match="; there is: object_31, view_197"):
        containers.find_container(config, "data-tracker", "zzz", "prod")
    with pytest.raises(ConfigError, match="there is none"):
        containers.find_container({"knack": {}, "odk": {}}, "x", "y", "prod")
    with pytest.raises(
        ConfigError, match="'survey' stands in config/odk.py, and this command works with knack only"
    ):
        containers.find_container(config, "survey", "trees", "prod")
    assert containers.find_container(config, "survey", "trees", "prod", ("odk",)).system == "odk"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer_id", "one"),
        ("layer_id", -1),
        ("layer_id", True),
        ("layer_id", 1.5),
        ("layer_id", "²"),
        ("item_type", "Layer"),
        ("schedule", "@yearly"),
        ("schedule", {"change": "5m"}),
        ("item_type", ["layer"]),
        ("socrata_resource_id", "abcd1234"),
        ("socrata_resource_id", "ABCD-1234"),
        ("socrata_resource_id", "abcd-1234/x"),
        ("socrata_resource_id", 7),
        ("no_replace_socrata", "yes"),
        ("no_replace_socrata", 1),
        ("shards", 0),
        ("shards", "4"),
        ("shards", True),
        ("shards", 101),
        ("append_timestamps_socrata", "published"),
        ("append_timestamps_socrata", {"key": ""}),
        ("append_timestamps_socrata", {"key": ":updated_at"}),
        ("append_timestamps_socrata", {"key": "published", "zone": "UTC"}),
        ("public_id", "hash"),
        ("public_id", True),
        ("dest_apps", {}),
        ("dest_apps", {"other": {}}),
        ("dest_apps", {"other": {"object": "view_3"}}),
        ("dest_apps", {"other": {"object": "object_3", "key": "field_1"}}),
        ("location_fields", {"field_1": 1}),
        ("location_fields", [1]),
        ("location_fields", [""]),
        ("fields", 3),
        ("service_id", 12),
        ("description", ["x"]),
        ("upsert_matching_field", False),
        ("dev", "x"),
        ("dev", [("service_id", "x")]),
    ],
)
def test_find_container__wrong_values(key: str, value: Any) -> None:
    """A value of the wrong kind is refused before anything is sent, naming container and setting."""
    with pytest.raises(ConfigError, match=rf"a/c: {key} is .*expected .*Nothing was sent"):
        find({key: value})
    if key != "dev":
        with pytest.raises(ConfigError, match=rf"a/c \(dev\): {key} is "):
            find({"dev": {key: value}})


def test_find_container__a_form_has_no_shards() -> None:
    """A form's feed is one walk, which shards could not share."""
    config: dict[str, Any] = {"knack": {}, "odk": {"survey": {"trees": {"shards": 2}}}}
    with pytest.raises(ConfigError, match="one walk"):
        containers.find_container(config, "survey", "trees", "prod", ("odk",))


def test_find_container__dev_in_dev() -> None:
    """Overrides hold no overrides of their own."""
    with pytest.raises(ConfigError, match=r"a/c \(dev\) has an unknown setting 'dev'"):
        find({"dev": {"dev": {}}})


def test_find_container__numbers_as_texts() -> None:
    """A layer's number and a project's may be given either way."""
    assert find({"layer_id": "3"}).layer_id == 3
    assert find({"project_id": 12}).project_id == "12"


def test_find_container__dev_overrides() -> None:
    """dev lays its overrides over the rest; prod does not see them."""
    dev, prod = find(FULL, "dev"), find(FULL, "prod")
    assert (dev.socrata_resource_id, dev.service_id) == ("wxyz-9876", "fedcba")
    assert dev.dev_blocked == ("attachments", "dest_apps") and prod.dev_blocked == ()
    assert (prod.socrata_resource_id, prod.service_id) == ("abcd-1234", "0123456789abcdef")
    assert dev.scene_id == prod.scene_id == "scene_1"


def test_require__dev_never_writes_public_data() -> None:
    """Where a destination has no override of its own, dev refuses to name it; prod does not."""
    for dev in ({}, {"layer_id": 3}, {"service_id": "x"}):
        found = find({**FULL, "dev": dev}, "dev")
        with pytest.raises(ConfigError, match="no socrata_resource_id of its own for dev.*over public data"):
            found.require("socrata_resource_id", "publish to Socrata")
    assert found.require("service_id", "publish") == "x"
    assert find({**FULL, "dev": {}}).require("socrata_resource_id", "publish") == "abcd-1234"


def test_require__unset() -> None:
    """What is needed and not set is named, with what it is needed for; a 0 is set."""
    with pytest.raises(ConfigError, match="a/c has no service_id, so it cannot publish to ArcGIS Online"):
        find({}).require("service_id", "publish to ArcGIS Online")
    with pytest.raises(ConfigError, match="has no layer_id"):
        find({}).require("layer_id", "publish")
    assert find({"layer_id": 0}).require("layer_id", "publish") == "0"


def test_find_container__siblings() -> None:
    """Containers that feed the same dataset know of each other, in the environment that is asked for."""
    others = {
        "d": {"socrata_resource_id": "abcd-1234"},
        "e": {"socrata_resource_id": "zzzz-9999", "dev": {"socrata_resource_id": "wxyz-9876"}},
        "f": {},
    }
    assert find(FULL, "prod", **others).siblings == ("d",)
    assert find(FULL, "dev", **others).siblings == ("e",)
    assert find({}, "prod", **others).siblings == ()


def test_find_container__broken_neighbour() -> None:
    """A mistake in another container does not break this one in ways nobody understands."""
    assert find(FULL, "dev", d={"dev": "oops"}, e={"dev": None}).siblings == ()


def test_find_app__checks_names() -> None:
    """A command on a whole app finds its source; a container that is named must be there."""
    config = build({})
    assert containers.find_app(config, "a") == "knack"
    assert containers.find_app(config, "a", "c") == "knack"
    with pytest.raises(ConfigError, match="no container 'd'.*there is: c"):
        containers.find_app(config, "a", "d")


def test_read_config__files(tmp_path: Path) -> None:
    """Files of literals are read, one or both of them, with annotations, docstrings and comments."""
    write(tmp_path, '"""Ours."""\n# c\nCONFIG: dict = {"a": {"c": {"layer_id": 1, "fields": ["x"]}}}\n')
    assert containers.read_config(tmp_path) == {
        "knack": {"a": {"c": {"layer_id": 1, "fields": ["x"]}}},
        "odk": {},
    }
    write(tmp_path, 'CONFIG = {"b": {}}', "odk.py")
    assert containers.read_config(tmp_path)["odk"] == {"b": {}}


def test_read_config__shipped() -> None:
    """What is shipped can be read."""
    assert set(containers.read_config()) == {"knack", "odk"}


def test_read_config__app_in_both(tmp_path: Path) -> None:
    """An app that stands in both files has no clear source."""
    write(tmp_path, 'CONFIG = {"a": {}, "b": {}}')
    write(tmp_path, 'CONFIG = {"b": {}}', "odk.py")
    with pytest.raises(ConfigError, match="'b' stands in both"):
        containers.read_config(tmp_path)


def test_read_config__no_file(tmp_path: Path) -> None:
    """A folder without configuration is told with the variable that names it."""
    with pytest.raises(ConfigError, match="No knack.py and no odk.py in .*SERVICES_CONFIG"):
        containers.read_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "CONFIG = dict(a={})",
        "CONFIG = {'a': {'c': {'service_id': open('MARK', 'w')}}}",
        "CONFIG = {'a': {'c': {'service_id': __import__('os').environ['HOME']}}}",
        "CONFIG = {'a': {'c': {'layer_id': 1 + 1}}}",
        "CONFIG = {**{'a': {}}}",
        "CONFIG = {n: {} for n in 'ab'}",
        "CONFIG = NAME",
        "CONFIG = f'{1}'",
        "import os\nCONFIG = {}",
        "CONFIG = {}\nopen('MARK', 'w')",
        "CONFIG = {}\nCONFIG['a'] = {}",
        "CONFIG = {}\nCONFIG = {'a': {}}",
        "CONFIG = {'a': {}}\nif True:\n    open('MARK', 'w')",
        "CONFIG = {}\ndef f(x=open('MARK', 'w')): pass",
    ],
)
def test_read_config__executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Anything but one literal is refused by file and never run: neither taken half nor passed over in silence."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"config/knack\.py.*literals"):
        containers.read_config(write(tmp_path, text))
    assert not (tmp_path / "MARK").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CONFIG = {", "line 1 is not Python"),
        ("x = 1\nCONFIG = ]", "line 2 is not Python"),
        ("'nothing here'", "has no CONFIG"),
        ("", "has no CONFIG"),
        ("CONFIG = []", "must be {app name"),
        ("CONFIG = {'a': []}", "must be {app name"),
        ("CONFIG = {'a': {'c': []}}", "must be {app name"),
        ("CONFIG = {1: {}}", "must be {app name"),
        ("CONFIG = {'a': {12: {}}}", "must be {app name"),
        ("CONFIG = {[]: {}}", "literals"),
        ("CONFIG = " + "[" * 5000, "not Python|literals"),
        ("CONFIG = {'a': {'c': {}},\n 'b': {},\n 'a': {}}", "line 3: 'a' stands twice"),
        ("CONFIG = {'a': {'c': {}, 'c': {}}}", "line 1: 'c' stands twice"),
        ("CONFIG = {'a': {'c': {'fields': [], 'fields': []}}}", "'fields' stands twice"),
    ],
)
def test_read_config__malformed(tmp_path: Path, text: str, said: str) -> None:
    """A file that cannot be read as configuration is told in one line with its name."""
    with pytest.raises(ConfigError, match=rf"config/knack\.py.*({said})") as caught:
        containers.read_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_read_config__bytes_that_are_no_text(tmp_path: Path) -> None:
    """A file in another encoding, and one that may not be read, are told too."""
    (tmp_path / "knack.py").write_bytes(b"CONFIG = {'\xff': {}}")
    with pytest.raises(ConfigError, match="cannot be read"):
        containers.read_config(tmp_path)


def test_copies_media__where_it_may() -> None:
    """Media are copied where the configuration says so, in dev only to a place of its own; {} takes the defaults."""
    assert not find({}).copies_media
    assert find({"attachments": {}}).copies_media
    assert not find({"attachments": {}}, "dev").copies_media
    assert find({"attachments": {}, "dev": {"attachments": {"prefix": "trial"}}}, "dev").copies_media


@pytest.mark.parametrize(
    ("attachments", "expected"),
    [
        ("photos", "a dict such as"),
        ({"prefx": "photos"}, "not 'prefx'"),
        ({"prefix": "/photos"}, "a prefix of letters"),
        ({"prefix": "photos//2026"}, "a prefix of letters"),
        ({"prefix": "my photos"}, "a prefix of letters"),
        ({"thumbnails": "256"}, "a number of pixels"),
        ({"thumbnails": True}, "a number of pixels"),
        ({"thumbnails": 5000}, "a number of pixels"),
    ],
)
def test_find_container__attachments(attachments: object, expected: str) -> None:
    """What would make keys that no tool likes, or pictures of no size, is refused."""
    with pytest.raises(ConfigError, match=expected):
        find({"attachments": attachments})


def test_find_container__attachments_right() -> None:
    """A prefix may have folders; thumbnails have a size."""
    given = {"prefix": "photos/2026.a", "thumbnails": 256}
    assert find({"attachments": given}).attachments == given
