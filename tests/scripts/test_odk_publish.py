"""A form at ODK Central, through the store, to Socrata and ArcGIS Online, by the scripts as Airflow runs them."""

from __future__ import annotations

import json
import os
import pprint
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dev import stack as stacks
from dev.simulators.agol import AgolSimulator
from dev.simulators.odk import OdkSimulator
from dev.simulators.socrata import SocrataSimulator
from tests.forks import Done, ForkServer

APP, FORM, SERVICE = "park", "trees", "7061726b" * 4
FIELDS = [
    ("species", "string"),
    ("planted", "date"),
    ("seen", "dateTime"),
    ("at", "time"),
    ("healthy", "boolean"),
    ("uses", "select_multiple"),
    ("photo", "image"),
    ("site/height", "decimal"),
    ("site/place", "geopoint"),
    ("site/path", "geotrace"),
    ("site/area", "geoshape"),
    ("branch", "repeat"),
    ("branch/length", "decimal"),
    ("branch/place", "geopoint"),
    ("branch/leaf", "repeat"),
    ("branch/leaf/colour", "string"),
]
OAK = {
    "species": "oak",
    "planted": "2020-04-01",
    "seen": "2026-03-01T23:30:00.000+05:00",
    "at": "16:30:00.000+05:00",
    "healthy": "true",
    "uses": "shade fruit",
    "photo": "oak.jpg",
    "site": {
        "height": 7.5,
        "place": "43.2 76.9 750 4.5",
        "path": "43.2 76.9 0 0;43.3 76.95 0 0;43.25 77 0 0",
        # Counter-clockwise.
        "area": "43 76 0 0;43 76.5 0 0;43.5 76.5 0 0;43 76 0 0",
    },
    "branch": [
        {"length": 2.5, "place": "43.2 76.9 0 0", "leaf": [{"colour": "green"}, {"colour": "red"}]},
        {"length": 1.5},
        {"length": 0.5, "leaf": [{"colour": "brown"}]},
    ],
}
ELM = {"species": "elm", "healthy": "false", "site": {"place": "43.4 77.1 0 0"}, "branch": [{"length": 4}]}
ASH = {"species": "ash"}

TREE_COLUMNS = {
    "id": "text",
    "species": "text",
    "planted": "calendar_date",
    "seen": "calendar_date",
    "at": "text",
    "healthy": "checkbox",
    "uses": "text",
    "photo": "text",
    "site_height": "number",
    "site_place": "point",
    "site_path": "line",
    "site_area": "multipolygon",
    "system_submission_date": "date",
    "system_submitter_name": "text",
    "system_review_state": "text",
    "system_edits": "number",
}
TREE_FIELDS = {
    "id": ("String", 64, False),
    "SPECIES": ("String", 50),
    "PLANTED": ("Date",),
    "SEEN": ("Date",),
    "AT": ("String", 20),
    "HEALTHY": ("String", 3),
    "USES": ("String", 50),
    "SITE_HEIGHT": ("Double",),
    "SYSTEM_EDITS": ("Integer",),
}
PART_COLUMNS = {"id": "text", "submission_id": "text", "parent_id": "text", "position": "number"}
PART_FIELDS = {
    "id": ("String", 128, False),
    "submission_id": ("String", 64),
    "parent_id": ("String", 128),
    "position": ("Integer",),
}
TREES, AREAS, PATHS, BRANCHES, LEAVES = range(5)
CONTAINERS: dict[str, dict[str, Any]] = {
    "trees": {"socrata_resource_id": "tree-tree", "service_id": SERVICE, "layer_id": TREES},
    "areas": {"form_id": "trees", "service_id": SERVICE, "layer_id": AREAS},
    "paths": {"form_id": "trees", "service_id": SERVICE, "layer_id": PATHS},
    "branches": {
        "form_id": "trees",
        "repeat": "branch",
        "socrata_resource_id": "bran-bran",
        "service_id": SERVICE,
        "layer_id": BRANCHES,
    },
    "leaves": {
        "form_id": "trees",
        "repeat": "branch/leaf",
        "socrata_resource_id": "leaf-leaf",
        "service_id": SERVICE,
        "layer_id": LEAVES,
        "item_type": "table",
    },
}
PUBLISHED = [
    ("records_to_socrata", "trees"),
    ("records_to_socrata", "branches"),
    ("records_to_socrata", "leaves"),
    ("records_to_agol", "trees"),
    ("records_to_agol", "branches"),
    ("records_to_agol", "leaves"),
]


@dataclass
class Park:
    """A form, the store, and everything that it is published to."""

    stack: stacks.Stack
    central: OdkSimulator
    socrata: SocrataSimulator
    agol: AgolSimulator
    server: ForkServer
    folder: Path
    project: int
    env: dict[str, str] = field(default_factory=dict)

    def configure(self, containers: dict[str, dict[str, Any]] = CONTAINERS) -> None:
        """Write the configuration."""
        given = {name: {"project_id": self.project, **settings} for name, settings in containers.items()}
        text = f"CONFIG = {pprint.pformat({APP: given})}\n"
        (self.folder / "odk.py").write_text(text, encoding="utf-8")

    def add(self, instance_id: str, values: dict[str, Any], form: str = FORM) -> None:
        """A submission."""
        self.central.clock.advance(60)
        self.central.add_submission(self.project, form, values, instance_id=instance_id)

    def edit(self, instance_id: str, values: dict[str, Any]) -> None:
        """Replace a submission's content."""
        self.central.clock.advance(60)
        self.central.edit_submission(self.project, FORM, instance_id, values)

    def run(self, script: str, container: str, *flags: str) -> Done:
        """Run a script to its end, however it ends."""
        return self.server.start(script, "-a", APP, "-c", container, *flags, **self.env).wait()

    def do(self, script: str, container: str, *flags: str) -> dict[str, Any]:
        """Run a script and insist that it went well; its summary."""
        done = self.run(script, container, *flags)
        assert done.code == 0, done.stderr
        return done.summary

    def load(self, *flags: str) -> None:
        """The form's fields and submissions into the store."""
        self.central.clock.advance(3600)
        self.do("metadata_to_postgrest", FORM)
        self.do("records_to_postgrest", FORM, *flags)

    def follow(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What changed since, from Central to all destinations; the summaries."""
        self.load("--since-last", "--max-delete-pct", "100")
        flags = ("--since-last", "--max-delete-pct", "100", "--allow-empty")
        return {what: self.do(*what, *flags) for what in PUBLISHED}

    def dataset(self, four_by_four: str) -> dict[str, dict[str, Any]]:
        """{id: row} as a dataset truly holds them."""
        return {row["id"]: row for row in self.socrata.rows(four_by_four)}

    def features(self, layer: int) -> dict[str, dict[str, Any]]:
        """{id: feature} as a layer truly holds them, in degrees; fails if an id stands twice."""
        found = self.agol.features(SERVICE, layer, 4326)
        by_id = {feature["attributes"]["id"]: feature for feature in found}
        assert len(by_id) == len(found)
        return by_id

    def view(self, name: str = "trees") -> dict[str, dict[str, Any]]:
        """{id: row} as the form's view in schema bi shows them."""
        found = self.stack.execute(f"select row_to_json(v)::text from bi.{name} v")
        rows = [json.loads(row[0]) for row in found]
        return {row["id"]: row for row in rows}

    def ids(self) -> dict[str, tuple[set[str], set[str]]]:
        """What stands where: {container: (ids in Socrata, ids in ArcGIS)}."""
        return {
            "trees": (set(self.dataset("tree-tree")), set(self.features(TREES))),
            "branches": (set(self.dataset("bran-bran")), set(self.features(BRANCHES))),
            "leaves": (set(self.dataset("leaf-leaf")), set(self.features(LEAVES))),
        }

    def lengths(self) -> dict[str, float]:
        """{id: length} of the branches; fails if the destinations do not agree."""
        rows = {one: float(row["length"]) for one, row in self.dataset("bran-bran").items()}
        features = {one: feature["attributes"]["length"] for one, feature in self.features(BRANCHES).items()}
        assert rows == features
        return rows


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """Scripts that start quickly."""
    with ForkServer({"PATH": os.environ["PATH"], "SERVICES_ENV": "prod"}) as running:
        yield running


@pytest.fixture
def park(
    clean_store: stacks.Stack, store_env: dict[str, str], server: ForkServer, tmp_path: Path
) -> Iterator[Park]:
    """The form with an oak, an elm and an ash; an empty store without views, empty destinations."""
    # Of an earlier test's form they would have the names that this one's are to get.
    for (name,) in clean_store.execute("select viewname::text from pg_views where schemaname = 'bi'"):
        clean_store.execute(f'drop view if exists bi."{name}" cascade')
    with OdkSimulator() as central, SocrataSimulator() as socrata, AgolSimulator() as agol:
        central.clock.set("2026-03-01T08:00:00Z")
        project = central.create_project("Park")
        central.create_form(project, FORM, FIELDS, title="Trees of the park")
        socrata.create_dataset("tree-tree", TREE_COLUMNS)
        socrata.create_dataset("bran-bran", {**PART_COLUMNS, "length": "number", "place": "point"})
        socrata.create_dataset("leaf-leaf", {**PART_COLUMNS, "colour": "text"})
        agol.create_layer(SERVICE, TREES, fields=TREE_FIELDS)
        agol.create_layer(SERVICE, AREAS, fields=TREE_FIELDS, geometry="esriGeometryPolygon")
        agol.create_layer(SERVICE, PATHS, fields=TREE_FIELDS, geometry="esriGeometryPolyline")
        agol.create_layer(SERVICE, BRANCHES, fields={**PART_FIELDS, "length": ("Double",)})
        agol.create_layer(SERVICE, LEAVES, kind="table", fields={**PART_FIELDS, "colour": ("String", 20)})
        env = {
            **store_env,
            "ODK_BASE_URL": central.url,
            "ODATA_USER": central.viewer,
            "ODATA_PASS": central.viewer_password,
            "SOCRATA_URL": socrata.url,
            "SOCRATA_USERNAME": socrata.username,
            "SOCRATA_PASSWORD": socrata.password,
            "SOCRATA_APP_TOKEN": socrata.app_token,
            "AGOL_URL": agol.url,
            "AGOL_USERNAME": agol.username,
            "AGOL_PASSWORD": agol.password,
            "SERVICES_CONFIG": str(tmp_path),
        }
        park = Park(clean_store, central, socrata, agol, server, tmp_path, project, env)
        park.configure()
        park.add("uuid:oak", OAK)
        park.add("uuid:elm", ELM)
        park.add("uuid:ash", ASH)
        yield park


@pytest.fixture
def published(park: Park) -> Park:
    """The form loaded and published everywhere."""
    park.load()
    for script, container in PUBLISHED:
        park.do(script, container)
    return park


OAK_BRANCHES = {f"uuid:oak/branch[{number}]" for number in (1, 2, 3)}
OAK_LEAVES = {
    "uuid:oak/branch[1]/leaf[1]",
    "uuid:oak/branch[1]/leaf[2]",
    "uuid:oak/branch[3]/leaf[1]",
}
ELM_BRANCHES = {"uuid:elm/branch[1]"}


# -- submissions -----------------------------------------------------------------------------------


def test_publish__submissions(published: Park) -> None:
    """Every type arrives as its column or field takes it; running again changes nothing."""
    row = published.dataset("tree-tree")["uuid:oak"]
    assert row == {
        "id": "uuid:oak",
        "species": "oak",
        "planted": "2020-04-01T00:00:00.000",
        "seen": "2026-03-01T23:30:00.000",
        "at": "16:30:00.000+05:00",
        "healthy": True,
        "uses": "shade, fruit",
        "photo": "oak.jpg",
        "site_height": "7.5",
        "site_place": {"type": "Point", "coordinates": [76.9, 43.2]},
        "site_path": {"type": "LineString", "coordinates": [[76.9, 43.2], [76.95, 43.3], [77.0, 43.25]]},
        "site_area": {
            "type": "MultiPolygon",
            "coordinates": [[[[76.0, 43.0], [76.5, 43.0], [76.5, 43.5], [76.0, 43.0]]]],
        },
        "system_submission_date": "2026-03-01T08:01:00.000Z",
        "system_submitter_name": row["system_submitter_name"],
        "system_edits": "0",
    }
    assert row["system_submitter_name"]
    assert published.dataset("tree-tree")["uuid:ash"].keys() <= {
        "id",
        "species",
        "system_submission_date",
        "system_submitter_name",
        "system_edits",
    }
    feature = published.features(TREES)["uuid:oak"]
    assert {name: value for name, value in feature["attributes"].items() if name != "OBJECTID"} == {
        "id": "uuid:oak",
        "SPECIES": "oak",
        "PLANTED": 1585699200000,
        "SEEN": 1772389800000,
        "AT": "16:30:00.000+05:00",
        "HEALTHY": "Yes",
        "USES": "shade, fruit",
        "SITE_HEIGHT": 7.5,
        "SYSTEM_EDITS": 0,
    }
    assert feature["geometry"] == {"x": pytest.approx(76.9), "y": pytest.approx(43.2)}
    assert published.features(TREES)["uuid:ash"]["geometry"] is None
    for script, container in PUBLISHED:
        again = published.do(script, container)
        assert (again["inserted"], again["deleted"], again["rejected"]) == (0, 0, 0), (script, container)
        if script == "records_to_agol":
            assert again["updated"] == 0 and again["unchanged"] == again["read"] > 0


def test_publish__what_happens_to_submissions(published: Park) -> None:
    """Edits, reviews, deletions, restores, purges and late files show in views and destinations after the next run."""
    park = published
    park.edit("uuid:oak", {**OAK, "species": "holm oak", "site": {"height": 8}})
    park.central.review(park.project, FORM, "uuid:elm", "approved")
    park.central.delete(park.project, FORM, "uuid:ash")
    park.add("uuid:fir", {"species": "fir"})
    park.follow()
    rows, features = park.dataset("tree-tree"), park.features(TREES)
    assert set(rows) == set(features) == {"uuid:oak", "uuid:elm", "uuid:fir"}
    assert (rows["uuid:oak"]["species"], rows["uuid:oak"]["system_edits"]) == ("holm oak", "1")
    assert "site_place" not in rows["uuid:oak"] and features["uuid:oak"]["geometry"] is None
    assert features["uuid:oak"]["attributes"]["SITE_HEIGHT"] == 8
    assert rows["uuid:elm"]["system_review_state"] == "approved"
    view = park.view()
    assert set(view) == set(rows)
    assert (view["uuid:oak"]["species"], view["uuid:oak"]["site_place"]) == ("holm oak", None)
    assert view["uuid:elm"]["system_review_state"] == "approved"
    assert set(park.view("trees_branch")) == OAK_BRANCHES | ELM_BRANCHES

    park.add("uuid:yew", {"species": "yew", "photo": "yew.jpg"})
    park.follow()
    assert park.view()["uuid:yew"]["system_attachments_present"] == 0
    park.central.put_attachment(park.project, FORM, "uuid:yew", "yew.jpg", b"picture")
    park.follow()
    assert park.view()["uuid:yew"]["system_attachments_present"] == 1
    park.central.delete(park.project, FORM, "uuid:yew")

    park.central.restore(park.project, FORM, "uuid:ash")
    park.central.delete(park.project, FORM, "uuid:oak")
    park.follow()
    assert set(park.dataset("tree-tree")) == set(park.features(TREES)) == {"uuid:ash", "uuid:elm", "uuid:fir"}
    assert set(park.view()) == set(park.view("trees_unified")) == {"uuid:ash", "uuid:elm", "uuid:fir"}
    assert park.ids()["branches"] == (ELM_BRANCHES, ELM_BRANCHES)
    assert park.ids()["leaves"] == (set(), set())

    park.central.restore(park.project, FORM, "uuid:oak")
    park.central.purge(park.project, FORM, "uuid:fir")
    park.load("--max-delete-pct", "100")
    park.follow()
    assert set(park.dataset("tree-tree")) == set(park.features(TREES)) == {"uuid:ash", "uuid:elm", "uuid:oak"}
    assert set(park.view()) == {"uuid:ash", "uuid:elm", "uuid:oak"}
    assert park.ids()["branches"] == (OAK_BRANCHES | ELM_BRANCHES,) * 2
    assert set(park.view("trees_branch")) == OAK_BRANCHES | ELM_BRANCHES
    assert park.ids()["leaves"] == (OAK_LEAVES,) * 2


def test_publish__new_version(published: Park) -> None:
    """A new version's fields are published, the column of one that was taken out keeps what it holds and is named."""
    park = published
    fields = [("species", "string"), ("site/height", "string"), ("site/place", "geopoint")]
    park.central.publish_version(
        park.project, FORM, [*fields, ("branch", "repeat"), ("branch/length", "decimal")]
    )
    park.central.clock.advance(60)
    park.load("--since-last")
    before = park.dataset("tree-tree")["uuid:oak"]
    done = park.run("records_to_socrata", "trees", "--since-last")
    assert (done.code, done.summary["read"]) == (0, 3), done.stderr
    row = park.dataset("tree-tree")["uuid:oak"]
    assert (row["species"], row["site_height"]) == ("oak", "7.5")
    assert row["planted"] == before["planted"]
    assert "column planted gets no more values, and keeps what it holds: its field planted" in done.stderr
    refused = park.run("records_to_socrata", "leaves")
    assert refused.code == 2 and "no repeat 'branch/leaf'; there is: branch" in refused.stderr
    assert set(park.dataset("leaf-leaf")) == OAK_LEAVES


def test_publish__encrypted(park: Park) -> None:
    """A submission that nobody here can read is published by what Central knows of it."""
    park.central.create_form(
        park.project, "secret", [("species", "string")], key="MIIBIjANBgkqhkiG9w0BAQEFAAOC"
    )
    park.add("uuid:dark", {"species": "yew"}, form="secret")
    park.configure({"secret": {"socrata_resource_id": "tree-tree"}})
    park.do("metadata_to_postgrest", "secret")
    park.do("records_to_postgrest", "secret")
    done = park.run("records_to_socrata", "secret")
    assert done.code == 0 and "is encrypted" in done.stderr
    # The stand-in lets a plain submission into an encrypted form; what matters here is that nothing stops.
    assert set(park.dataset("tree-tree")) == {"uuid:dark"}


def test_publish__chosen_fields(park: Park) -> None:
    """fields and exclude_fields take paths, groups and row names; the rest is not published."""
    trees = {**CONTAINERS["trees"], "fields": ["site", "species"], "exclude_fields": ["site_place"]}
    park.configure({"trees": trees})
    park.load()
    park.do("records_to_socrata", "trees")
    assert set(park.dataset("tree-tree")["uuid:oak"]) == {
        "id",
        "species",
        "site_height",
        "site_path",
        "site_area",
    }
    trees["exclude_fields"] = ["site/plce"]
    park.configure({"trees": trees})
    refused = park.run("records_to_socrata", "trees")
    assert refused.code == 2 and "nearest: 'site/place'" in refused.stderr


def test_publish__without_metadata(park: Park) -> None:
    """Without the form's fields nothing has a name: an error that says what to run."""
    done = park.run("records_to_agol", "trees")
    assert done.code == 1 and "no metadata of the form trees" in done.stderr
    assert "Run metadata_to_postgrest.py first" in done.stderr


# -- repeats ---------------------------------------------------------------------------------------


def test_publish__repeat(published: Park) -> None:
    """A repeat is a dataset of its own: rows lead back to their submission and parent, inner repeats too."""
    assert published.lengths() == {
        "uuid:oak/branch[1]": 2.5,
        "uuid:oak/branch[2]": 1.5,
        "uuid:oak/branch[3]": 0.5,
        "uuid:elm/branch[1]": 4,
    }
    row = published.dataset("bran-bran")["uuid:oak/branch[1]"]
    assert row == {
        "id": "uuid:oak/branch[1]",
        "submission_id": "uuid:oak",
        "parent_id": "uuid:oak",
        "position": "1",
        "length": "2.5",
        "place": {"type": "Point", "coordinates": [76.9, 43.2]},
    }
    assert published.features(BRANCHES)["uuid:oak/branch[1]"]["geometry"] == {
        "x": pytest.approx(76.9),
        "y": pytest.approx(43.2),
    }
    leaf = published.dataset("leaf-leaf")["uuid:oak/branch[3]/leaf[1]"]
    assert (leaf["submission_id"], leaf["parent_id"], leaf["colour"]) == (
        "uuid:oak",
        "uuid:oak/branch[3]",
        "brown",
    )
    assert set(published.features(LEAVES)) == OAK_LEAVES


def test_publish__vanished_parts(published: Park) -> None:
    """An edit that takes instances out moves the others up and removes the last rows, in the incremental run."""
    park = published
    park.edit("uuid:oak", {**OAK, "branch": OAK["branch"][1:]})
    summaries = park.follow()
    assert park.lengths() == {
        "uuid:oak/branch[1]": 1.5,
        "uuid:oak/branch[2]": 0.5,
        "uuid:elm/branch[1]": 4,
    }
    assert park.ids()["leaves"] == ({"uuid:oak/branch[2]/leaf[1]"},) * 2
    assert [
        summaries[script, "branches"]["deleted"] for script in ("records_to_socrata", "records_to_agol")
    ] == [
        1,
        1,
    ]
    park.edit("uuid:oak", {"species": "oak"})
    park.follow()
    assert park.ids()["branches"] == (ELM_BRANCHES,) * 2
    assert park.ids()["leaves"] == (set(), set())
    # Nothing has happened since: nothing is sent.
    writes = len(park.socrata.writes("bran-bran"))
    summaries = park.follow()
    assert all(summary["read"] == 0 for summary in summaries.values())
    assert len(park.socrata.writes("bran-bran")) == writes


def test_publish__hashed_ids(published: Park) -> None:
    """With public_id no destination tells a submission's key, rows of repeats still lead back, and deletions arrive."""
    park = published
    plain = park.ids()
    park.configure({name: {**settings, "public_id": "hashed"} for name, settings in CONTAINERS.items()})
    wrong = park.run("records_to_socrata", "trees")
    assert wrong.code == 2 and "missing: PUBLIC_ID_SECRET" in wrong.stderr
    park.env["PUBLIC_ID_SECRET"] = "a secret of thirty-two bytes ...."
    for script, container in PUBLISHED:
        early = park.run(script, container, "--since-last")
        assert early.code == 1 and "rows whose ids are not hashed" in early.stderr, early.stderr
        stopped = park.run(script, container)
        assert stopped.code == 1 and "--max-delete-pct" in stopped.stderr
    assert park.ids() == plain
    for script, container in PUBLISHED:
        park.do(script, container, "--max-delete-pct", "100")
    hashed = park.ids()
    assert all(
        rows == features and len(rows) == len(plain[name][0]) for name, (rows, features) in hashed.items()
    )
    for four_by_four in ("tree-tree", "bran-bran", "leaf-leaf"):
        assert "uuid:" not in json.dumps(park.socrata.rows(four_by_four))
    for layer in (TREES, BRANCHES, LEAVES):
        assert "uuid:" not in json.dumps(park.agol.features(SERVICE, layer, 4326))
    trees = park.dataset("tree-tree")
    assert all(re.fullmatch("p[a-z2-7]{23}", one) for one in trees)
    (oak,) = (one for one, row in trees.items() if row.get("species") == "oak")
    branches = park.dataset("bran-bran")
    assert {one for one, row in branches.items() if row["submission_id"] == oak} == {
        f"{oak}/branch[{number}]" for number in (1, 2, 3)
    }
    assert {row["parent_id"] for row in park.dataset("leaf-leaf").values()} <= set(branches)

    park.edit("uuid:oak", {**OAK, "branch": OAK["branch"][1:]})
    park.follow()
    assert {one for one in park.dataset("bran-bran") if one.startswith(oak)} == {
        f"{oak}/branch[1]",
        f"{oak}/branch[2]",
    }
    park.central.clock.advance(60)
    park.central.delete(park.project, FORM, "uuid:oak")
    park.follow()
    left = park.ids()
    assert all(rows == features for rows, features in left.values())
    assert left["trees"][0] == set(trees) - {oak} and not any(oak in one for one in left["branches"][0])


def test_publish__edited_then_deleted(published: Park) -> None:
    """Rows that a submission had when it was last published go with it, however few it had in the end."""
    park = published
    park.edit("uuid:oak", {**OAK, "branch": OAK["branch"][:1]})
    park.load("--since-last")
    park.central.clock.advance(60)
    park.central.delete(park.project, FORM, "uuid:oak")
    park.follow()
    assert park.ids()["branches"] == (ELM_BRANCHES,) * 2
    assert park.ids()["leaves"] == (set(), set())


def test_publish__full_run_heals(published: Park) -> None:
    """A full run makes the dataset exactly what the submissions have, whatever stood there."""
    park = published
    park.socrata.upsert("bran-bran", [{"id": "uuid:oak/branch[9]"}, {"id": "uuid:gone/branch[1]"}])
    park.agol.add_features(SERVICE, BRANCHES, [{"attributes": {"id": "uuid:oak/branch[9]"}}])
    for script in ("records_to_socrata", "records_to_agol"):
        park.do(script, "branches", "--max-delete-pct", "50")
    assert park.ids()["branches"] == (OAK_BRANCHES | ELM_BRANCHES,) * 2


def test_publish__others_parts_stay(published: Park) -> None:
    """An incremental run leaves rows alone that belong to no submission that came, also where ids look alike."""
    park = published
    others = [
        "uuid:oak2/branch[1]",
        "uuid:oak/branch[4]/leaf[1]",
        "uuid_oak/branch[4]",
        "UUID:OAK/twig[1]",
        "x",
    ]
    park.socrata.upsert("bran-bran", [{"id": one} for one in others])
    park.agol.add_features(SERVICE, BRANCHES, [{"attributes": {"id": one}} for one in others])
    park.edit("uuid:oak", {**OAK, "branch": OAK["branch"][:1]})
    park.follow()
    assert park.ids()["branches"] == ({"uuid:oak/branch[1]", *ELM_BRANCHES, *others},) * 2


@pytest.mark.parametrize("script", ["records_to_socrata", "records_to_agol"])
def test_publish__vanished_parts_and_the_brake(published: Park, script: str) -> None:
    """Too many vanished rows stop an incremental run before anything is changed; a dry run says what would go."""
    park = published
    park.edit("uuid:oak", {**OAK, "branch": []})
    park.load("--since-last")
    done = park.run(script, "branches", "--since-last")
    assert done.code == 1 and "3 of the 4 records" in done.stderr
    flags = ("--since-last", "--max-delete-pct", "80")
    assert park.do(script, "branches", *flags, "--dry-run")["deleted"] == 3
    assert park.ids()["branches"] == (OAK_BRANCHES | ELM_BRANCHES,) * 2
    assert park.do(script, "branches", *flags)["deleted"] == 3
    place = park.dataset("bran-bran") if script == "records_to_socrata" else park.features(BRANCHES)
    assert set(place) == ELM_BRANCHES


def test_publish__refused_part(published: Park) -> None:
    """A row that does not fit is refused by its submission's key, its published version stays, and it closes."""
    park = published
    long = {**OAK, "branch": [{"length": 2.5, "leaf": [{"colour": "x" * 21}]}]}
    park.edit("uuid:oak", long)
    park.load("--since-last")
    done = park.run("records_to_agol", "leaves", "--since-last", "--max-delete-pct", "100")
    assert done.code == 3 and done.summary["rejected"] == 1
    assert set(park.features(LEAVES)) == {"uuid:oak/branch[1]/leaf[1]"}
    assert park.features(LEAVES)["uuid:oak/branch[1]/leaf[1]"]["attributes"]["colour"] == "green"
    open_rejects = "select record_id from api.rejects where closed_at is null"
    assert park.stack.execute(open_rejects) == [("uuid:oak",)]
    park.edit("uuid:oak", OAK)
    park.load("--since-last")
    park.do("records_to_agol", "leaves", "--since-last")
    assert park.stack.execute(open_rejects) == []
    assert set(park.features(LEAVES)) == OAK_LEAVES


def test_publish__many_documents_at_once(published: Park) -> None:
    """Where many submissions changed, rows that vanished from them are found as well."""
    park = published
    for number in range(60):
        park.add(f"uuid:{number:03}", {"branch": [{"length": 1}, {"length": 2}]})
    park.follow()
    assert len(park.dataset("bran-bran")) == len(park.features(BRANCHES)) == 124
    for number in range(60):
        park.edit(f"uuid:{number:03}", {"branch": [{"length": 3}]})
    park.follow()
    lengths = park.lengths()
    assert len(lengths) == 64 and lengths["uuid:007/branch[1]"] == 3


def test_publish__wrong_repeat_settings(park: Park) -> None:
    """A repeat's rows are matched by their id, and are loaded with their form."""
    park.configure({**CONTAINERS, "branches": {**CONTAINERS["branches"], "upsert_matching_field": "length"}})
    park.load()
    done = park.run("records_to_agol", "branches")
    assert done.code == 2 and "matched by id, not by 'length'" in done.stderr
    done = park.run("records_to_postgrest", "branches")
    assert done.code == 2 and "which is loaded with its form" in done.stderr
    park.socrata.create_dataset("bran-bran", {**PART_COLUMNS, "length": "number"}, row_id="position")
    park.configure()
    done = park.run("records_to_socrata", "branches")
    assert done.code == 2 and "the rows of a repeat are matched by 'id'" in done.stderr
    park.agol.create_layer(SERVICE, 9, kind="table", fields={"id": ("Integer",)})
    park.configure({**CONTAINERS, "leaves": {**CONTAINERS["leaves"], "layer_id": 9}})
    done = park.run("records_to_agol", "leaves", "-d", "2020-01-01")
    assert done.code == 2 and "are matched by a text" in done.stderr


# -- lines and polygons ----------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_publish__polygons(park: Park, turned: bool) -> None:
    """A geoshape fills a layer of polygons, outer ring clockwise; it is compared as it is, wherever it begins."""
    park.agol.switches.turned_rings = turned
    park.load()
    summary = park.do("records_to_agol", "areas")
    assert (summary["inserted"], summary["rejected"]) == (3, 0)
    ring = park.features(AREAS)["uuid:oak"]["geometry"]["rings"][0]
    assert ring == [
        [pytest.approx(x), pytest.approx(y)] for x, y in [(76, 43), (76.5, 43.5), (76.5, 43), (76, 43)]
    ]
    assert park.features(AREAS)["uuid:elm"]["geometry"] is None
    assert park.do("records_to_agol", "areas")["unchanged"] == 3
    moved = {**OAK["site"], "area": "43 76 0 0;43 76.5 0 0;43.5001 76.5 0 0"}
    park.edit("uuid:oak", {**OAK, "site": moved})
    park.load("--since-last")
    assert park.do("records_to_agol", "areas", "--since-last")["updated"] == 1
    ring = park.features(AREAS)["uuid:oak"]["geometry"]["rings"][0]
    assert len(ring) == 4 and ring[1] == [pytest.approx(76.5), pytest.approx(43.5001)]
    park.edit("uuid:oak", {**OAK, "site": {}})
    park.load("--since-last")
    assert park.do("records_to_agol", "areas", "--since-last")["updated"] == 1
    assert park.features(AREAS)["uuid:oak"]["geometry"] is None


def test_publish__lines(park: Park) -> None:
    """A geotrace fills a layer of lines; a location field of another kind is an error before anything is sent."""
    park.load()
    park.do("records_to_agol", "paths")
    assert park.features(PATHS)["uuid:oak"]["geometry"] == {
        "paths": [
            [[pytest.approx(x), pytest.approx(y)] for x, y in [(76.9, 43.2), (76.95, 43.3), (77, 43.25)]]
        ]
    }
    assert park.do("records_to_agol", "paths")["unchanged"] == 3
    park.configure({**CONTAINERS, "paths": {**CONTAINERS["paths"], "location_fields": ["site/place"]}})
    done = park.run("records_to_agol", "paths")
    assert done.code == 2 and "polyline geometry, which comes from fields of type geotrace" in done.stderr


def test_publish__a_shape_that_is_none(park: Park) -> None:
    """A geometry that cannot be is refused with its reason; all other rows are published."""
    park.add("uuid:bad", {"species": "bad", "site": {"area": "43 76 0 0;43 76.5 0 0", "place": "95 10 0 0"}})
    park.load()
    done = park.run("records_to_agol", "areas")
    assert done.code == 3 and set(park.features(AREAS)) == {"uuid:oak", "uuid:elm", "uuid:ash"}
    assert "location site_area: a polygon's ring has four positions" in done.stderr
    done = park.run("records_to_socrata", "trees")
    assert done.code == 3 and set(park.dataset("tree-tree")) == {"uuid:oak", "uuid:elm", "uuid:ash"}
    assert "site_place: the latitude is not within 90 degrees; site_area: a polygon's ring" in done.stderr


# -- reconcile


def reconcile(park: Park, container: str, *flags: str) -> tuple[int, dict[str, int], list[str]]:
    """Compare a container's places: the exit code, what differs, and the lines that name ids."""
    done = park.run("reconcile", container, "--ids", "20", *flags)
    endings = ("_missing", "_extra", "_differing", "_refused")
    numbers = {name: n for name, n in done.summary.items() if name.endswith(endings) and n}
    return done.code, numbers, [line for line in done.stdout.splitlines() if ": " in line and "{" not in line]


def test_reconcile__a_form_and_its_repeats_agree(published: Park) -> None:
    """After publishing, submissions of every type of field and the rows of both repeats agree in all places."""
    published.env["PGREST_ROLE"] = "api_publisher"
    for container in ("trees", "branches", "leaves"):
        assert reconcile(published, container) == (0, {}, []), container
    held = published.run("reconcile", "branches").summary
    assert (held["socrata_count"], held["agol_count"], "store_count" in held) == (4, 4, False)
    refused = published.run("reconcile", "leaves", "--only", "store")
    assert refused.code == 2 and "is loaded with its form" in refused.stderr


def test_reconcile__a_form_repaired(published: Park) -> None:
    """What is missing, strange or another in store and destinations of a form is named and brought."""
    park = published
    ids = park.ids()
    park.stack.execute("delete from api.odk where record_id = 'uuid:elm'")
    park.stack.execute("update api.odk set record = '{\"__id\": \"uuid:ash\"}' where record_id = 'uuid:ash'")
    assert reconcile(park, FORM, "--only", "store") == (
        3,
        {"store_missing": 1, "store_differing": 1},
        ["store missing: uuid:elm", "store differing: uuid:ash"],
    )
    # A submission that was deleted at Central, and one that came, and nobody loaded that.
    park.central.delete(park.project, FORM, "uuid:oak")
    park.add("uuid:fir", {**ELM, "species": "fir"})
    assert reconcile(park, FORM, "--only", "store")[1] == {
        "store_missing": 2,
        "store_extra": 1,
        "store_differing": 1,
    }
    done = park.run("reconcile", FORM, "--repair", "--max-delete-pct", "60")
    assert (done.code, done.summary["store_count"], done.summary["status"]) == (0, 3, "ok"), done.stderr
    assert park.ids()["trees"] == ({"uuid:elm", "uuid:ash", "uuid:fir"},) * 2 != ids["trees"]
    # Its repeats have still to follow: they are containers of their own.
    assert reconcile(park, "leaves") == (
        3,
        {"socrata_extra": 3, "agol_extra": 3},
        [f"{place} extra: {', '.join(sorted(ids['leaves'][0]))}" for place in ("socrata", "agol")],
    )
    assert park.run("reconcile", "leaves", "--repair").code == 1
    assert reconcile(park, "leaves", "--repair", "--allow-empty")[:2] == (0, {})
    assert park.ids()["leaves"] == (set(), set())


def test_reconcile__rows_of_a_repeat_repaired(published: Park) -> None:
    """Rows of a repeat that are missing, strange or another are found by their own ids, and just they are sent."""
    park = published
    gone, other = "uuid:oak/branch[2]", "uuid:oak/branch[3]"
    strange = ("uuid:oak/branch[9]", "By Hand")
    lengths = park.lengths()
    park.socrata.upsert(
        "bran-bran",
        [
            {"id": gone, ":deleted": True},
            {"id": other, "length": 99},
            *({"id": one, "length": 1} for one in strange),
        ],
    )
    with park.agol.lock:
        layer = park.agol.layer(SERVICE, BRANCHES)
        oids = {feature.attributes["id"]: oid for oid, feature in layer.rows.items()}
        layer.apply(
            adds=[{"attributes": {"id": one, "length": 1}} for one in strange],
            updates=[{"attributes": {"OBJECTID": oids[other], "length": 99}}],
            deletes=[oids[gone]],
        )
    found = {"missing": 1, "extra": 2, "differing": 1}
    code, numbers, lines = reconcile(park, "branches")
    assert (code, numbers) == (
        3,
        {f"{place}_{kind}": n for place in ("socrata", "agol") for kind, n in found.items()},
    )
    assert [line for line in lines if "extra" not in line] == [
        f"{place} {kind}: {one}"
        for place in ("socrata", "agol")
        for kind, one in (("missing", gone), ("differing", other))
    ]
    before = len(park.socrata.writes("bran-bran"))
    park.agol.edits.clear()
    assert reconcile(park, "branches", "--repair", "--max-delete-pct", "50")[:2] == (0, {})
    assert park.lengths() == lengths
    assert sum(write.rows for write in park.socrata.writes("bran-bran")[before:]) == 4
    assert sum(call.adds + call.updates + call.deletes for call in park.agol.edits) == 4
