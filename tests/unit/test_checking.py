"""What a check finds without asking anybody: every container's settings, beside one another, and the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.utils import checking, containers
from services.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
DATED = {"modified_date_field_id": "field_1"}
SERVICE, OTHER = "0" * 32, "1" * 32
SET = {
    "KNACK_APP_ID": "5d00a1b2c3d4e5f601020304",
    "KNACK_API_KEY": "k",
    "PGREST_ENDPOINT": "http://127.0.0.1:1",
    "PGREST_JWT": "t",
    "SOCRATA_URL": "https://data.example.org",
    "SOCRATA_USERNAME": "u",
    "SOCRATA_PASSWORD": "p",
    "AGOL_USERNAME": "u",
    "AGOL_PASSWORD": "p",
    "ODK_BASE_URL": "https://odk.example.org",
    "ODATA_USER": "u",
    "ODATA_PASS": "p",
    "AWS_BUCKET_NAME": "b",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that a script may need, and no other."""
    for variable in list(os.environ):
        if variable.startswith(("KNACK_", "PGREST_", "SOCRATA_", "AGOL_", "OD", "AWS_", "SERVICES_")):
            monkeypatch.delenv(variable)
    for name, value in SET.items():
        monkeypatch.setenv(name, value)


def check(
    knack: dict[str, Any] | None = None,
    odk: dict[str, Any] | None = None,
    env: str = "prod",
    folder: Path | None = None,
) -> list[tuple[str, str, str]]:
    """(level, where, text) of what is found in an app "city" of each source."""
    config: dict[str, Any] = {"knack": {"city": knack or {}}, "odk": {"survey": odk or {}}}
    report = checking.Report()
    chosen = checking.choose_containers(config, "", "", env, report)
    checking.check_offline(config, chosen, report, folder)
    return [(finding.level, finding.where, finding.text) for finding in report.findings]


KEY = {"src": "field_1", "works": "field_2", "primary_key": True}


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (None, "there is no list of fields"),
        ("FIELD_MAPS = {'city': {'object_1': [{'src': 'field_1', 'works': 'field_2'}]}}", "expected one"),
        (
            f"FIELD_MAPS = {{'city': {{'object_1': [{KEY!r}, {KEY | {'handlr': 'strip'}!r}]}}}}",
            "unknown setting 'handlr'; nearest: handler",
        ),
        ("FIELD_MAPS = make()", "must be literals only"),
        (f"FIELD_MAPS = {{'city': {{'object_1': [{KEY!r}]}}}}", ""),
    ],
)
def test_check__field_maps(tmp_path: Path, maps: str | None, said: str) -> None:
    """The field map of a container that is copied to another app is read too, where it is copied in this env."""
    if maps is not None:
        (tmp_path / "field_maps.py").write_text(maps)
    knack = {"object_1": {**DATED, "dest_apps": {"works": {"object": "object_5"}}}}
    found = check(knack, folder=tmp_path)
    assert [(level, where) for level, where, _ in found] == [("error", "city/object_1")] * bool(said)
    assert all(said in text and "Nothing was" not in text for _, _, text in found)
    assert [level for level, _, _ in check(knack, env="dev", folder=tmp_path)] == ["note"]


def test_check__a_sound_configuration_has_no_findings() -> None:
    """Containers of both sources with all that belongs to them are complained of in no way."""
    knack = {
        "object_1": {**DATED, "socrata_resource_id": "abcd-1234", "service_id": SERVICE, "layer_id": 0},
        "view_2": {**DATED, "service_id": SERVICE, "layer_id": 1, "dev": {"service_id": OTHER}},
    }
    odk = {
        "trees": {"project_id": 1, "socrata_resource_id": "tree-tree", "attachments": {"prefix": "a"}},
        "leaves": {"project_id": 1, "form_id": "trees", "repeat": "leaf", "socrata_resource_id": "leaf-leaf"},
    }
    assert check(knack, odk) == []


def test_check__finds_all_of_it_in_one_run() -> None:
    """Two wrong settings of one container and one of another are found together, each in a line of its own."""
    found = check(
        {
            "object_1": {**DATED, "scen_id": "scene_1", "socrata_resource_id": "abcd-12345"},
            "object_2": {**DATED, "schedule": "5 parsecs", "dev": {"layer_idd": 1}},
        }
    )
    assert [(level, where) for level, where, _ in found] == [
        ("error", "city/object_1"),
        ("error", "city/object_1"),
        ("error", "city/object_2"),
        ("error", "city/object_2"),
    ]
    texts = [text for _, _, text in found]
    for text, word in zip(texts, ("nearest: scene_id", "abcd-1234", "5 parsecs", "nearest: layer_id")):
        assert word in text
        assert "Nothing was sent" not in text


@pytest.mark.parametrize(
    ("knack", "level", "words"),
    [
        ({"object_1": {}}, "warning", "modified_date_field_id"),
        ({"object1": DATED}, "error", "no object and no view"),
        ({"object_1": {**DATED, "service_id": SERVICE}}, "error", "no layer_id"),
        ({"object_1": {**DATED, "layer_id": 0}}, "warning", "no service_id"),
        ({"object_1": {**DATED, "service_id": "my-layer", "layer_id": 0}}, "error", "32 hex digits"),
        (
            {"object_1": {**DATED, "fields": ["a", "b"], "exclude_fields": ["b"]}},
            "warning",
            "b stand in fields",
        ),
        ({"object_1": {**DATED, "fields": ["a", "a"]}}, "warning", "twice in fields"),
        (
            {"object_1": {**DATED, "location_fields": ["a"], "exclude_fields": ["a"]}},
            "error",
            "location_fields and in exclude_fields",
        ),
        ({"object_1": {**DATED, "exclude_fields": ["id"]}}, "error", "names id"),
        ({"object_1": {**DATED, "repeat": "leaf"}}, "warning", "repeat means nothing for Knack"),
        (
            {
                "object_1": {
                    **DATED,
                    "socrata_resource_id": "abcd-1234",
                    "dev": {"socrata_resource_id": "abcd-1234"},
                }
            },
            "error",
            "write over its own dataset abcd-1234",
        ),
        (
            {
                "object_1": {**DATED, "socrata_resource_id": "abcd-1234"},
                "object_2": {**DATED, "dev": {"socrata_resource_id": "abcd-1234"}},
            },
            "error",
            "write over city/object_1's dataset abcd-1234",
        ),
    ],
)
def test_check__one_thing_wrong_is_one_finding(knack: dict[str, Any], level: str, words: str) -> None:
    """Each thing that is wrong is found once, at its level, in words that name it."""
    found = check(knack)
    assert len(found) == 1
    assert found[0][0] == level
    assert words in found[0][2]


@pytest.mark.parametrize(
    ("odk", "words"),
    [
        ({"trees": {}}, "no project_id"),
        ({"trees": {"project_id": "one"}}, "expected a whole number"),
        (
            {"leaves": {"project_id": 1, "form_id": "trees", "repeat": "leaf"}},
            "no container of the app loads",
        ),
        (
            {
                "trees": {"project_id": 1},
                "l": {"project_id": 1, "form_id": "trees", "repeat": "leaf", "upsert_matching_field": "a"},
            },
            "matched by id",
        ),
    ],
)
def test_check__forms(odk: dict[str, Any], words: str) -> None:
    """What only forms can have wrong is found too."""
    found = check(odk=odk)
    assert [level for level, _, _ in found] == ["error"]
    assert words in found[0][2]


def test_check__a_dataset_fed_by_two() -> None:
    """Each of two containers that feed a dataset is to say so; one that does is left in peace."""
    one = {**DATED, "socrata_resource_id": "abcd-1234"}
    found = check({"view_1": {**one, "no_replace_socrata": True}, "view_2": one})
    assert [(level, where) for level, where, _ in found] == [("warning", "city/view_2")]
    assert "city/view_1 too" in found[0][2]


def test_check__a_layer_written_by_two() -> None:
    """Two containers on one layer would empty each other's features: an error at both; two layers are none."""
    one = {**DATED, "service_id": SERVICE, "layer_id": 3}
    found = check({"view_1": one, "view_2": one, "view_3": {**one, "item_type": "table"}})
    assert [(level, where) for level, where, _ in found] == [
        ("error", "city/view_1"),
        ("error", "city/view_2"),
    ]


def test_check__dev_tells_what_it_does_not_write() -> None:
    """With -e dev each destination without an override is told, and its variables are not asked for."""
    container = {**DATED, "socrata_resource_id": "abcd-1234", "service_id": SERVICE, "layer_id": 0}
    assert check({"object_1": container}) == []
    found = check({"object_1": {**container, "dev": {"service_id": OTHER}}}, env="dev")
    assert [level for level, _, _ in found] == ["note"]
    assert "no socrata_resource_id of its own for dev" in found[0][2]


def test_check__variables_of_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a configured container needs and that are missing are named, by system; others are not."""
    for name in ("KNACK_API_KEY", "SOCRATA_URL", "AGOL_USERNAME", "AWS_BUCKET_NAME"):
        monkeypatch.delenv(name)
    found = check({"object_1": {**DATED, "socrata_resource_id": "abcd-1234"}})
    assert [(level, where) for level, where, _ in found] == [
        ("error", "environment, Knack"),
        ("error", "environment, Socrata"),
    ]
    assert "KNACK_API_KEY" in found[0][2] and "SOCRATA_URL" in found[1][2]
    found = check({"object_1": {**DATED, "socrata_resource_id": "abcd-1234", "public_id": "hashed"}})
    assert "PUBLIC_ID_SECRET" in {where: text for _, where, text in found}["environment, public ids"]


def test_choose_containers__unknown_ones_are_refused() -> None:
    """An app or container that is not configured is refused, with the nearest name."""
    config: dict[str, Any] = {"knack": {"city": {"object_1": DATED}}, "odk": {}}
    for app, container_id in (("citi", ""), ("city", "object_2"), ("", "object_2")):
        with pytest.raises(ConfigError, match="object_1|city|Name its app"):
            checking.choose_containers(config, app, container_id, "prod", checking.Report())


def test_read_config__complains_of_each_file(tmp_path: Path) -> None:
    """Where complaints are collected, one bad file does not hide the other one, nor a name that stands twice."""
    (tmp_path / "knack.py").write_text("CONFIG = {'a': {'b': {}, 'b': {}}}\nimport os\n", encoding="utf-8")
    (tmp_path / "odk.py").write_text("CONFIG = {'c': {'d': {}, 'd': {}}}\n", encoding="utf-8")
    complaints: list[str] = []
    config = containers.read_config(tmp_path, lambda error: complaints.append(str(error)))
    assert len(complaints) == 2
    assert "line 2" in complaints[0] and "stands twice" in complaints[1]
    assert config == {"knack": {}, "odk": {"c": {"d": {}}}}


def run_check(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "services/check.py", *flags],
        cwd=ROOT,
        env={**kept, **SET, "SERVICES_CONFIG": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_script__exit_codes_and_summary(tmp_path: Path) -> None:
    """Errors end with exit 2, warnings alone with 0; each finding is a line, the last line the usual JSON."""
    file = tmp_path / "knack.py"
    file.write_text('CONFIG = {"city": {"object_1": {}, "object_2": {"scen": "x"}}}', encoding="utf-8")
    done = run_check(tmp_path)
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["warning", "city/object_1:"],
        ["error", "city/object_2"],
        ["warning", "city/object_2:"],
    ]
    summary = json.loads(last)
    assert (done.returncode, summary["status"]) == (2, "failed")
    assert (summary["read"], summary["errors"], summary["warnings"], summary["notes"]) == (2, 1, 2, 0)
    done = run_check(tmp_path, "-a", "city", "-c", "object_1")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, summary["status"], summary["warnings"]) == (0, "ok", 1)
    assert run_check(tmp_path, "-a", "town").returncode == 2


def test_script__a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is no configuration is what is told, also where an app is named that might stand in it."""
    (tmp_path / "knack.py").write_text("CONFIG = {", encoding="utf-8")
    for flags in ((), ("-a", "city"), ("-c", "object_1")):
        done = run_check(tmp_path, *flags)
        assert done.returncode == 2
        (line, _) = done.stdout.splitlines()
        assert line.startswith("error    configuration: config/knack.py cannot be read"), done.stderr
