"""The invented survey: the same from a seed, believable, with real pictures."""

import io
from collections import Counter

from PIL import Image

from dev.simulators.odk import OdkSimulator
from dev.simulators.odk.pictures import draw_picture
from dev.simulators.survey import FIELDS, NEXT_VERSION, build_survey


def render(odk, survey):
    """All rows with their repeats, oldest first."""
    form = odk.form(survey.project, survey.form_id)
    return [one.render(form.current.schema, True, False) for one in reversed(form.submissions)]


def test_build_survey__same_from_a_seed():
    """The same seed gives the same visits, files included; another gives others."""
    one, again, other = build_survey(1, 20), build_survey(1, 20), build_survey(2, 20)
    assert one == again and one != other
    assert len({visit.instance_id for visit in one.visits + other.visits}) == 40


def test_build_survey__every_kind_of_value():
    """Every field has a value somewhere, and every kind of field is there; repeats go two levels deep."""
    with OdkSimulator() as odk:
        survey = build_survey(1, 120)
        survey.plant(odk)
        filled: Counter[str] = Counter()

        def visit(value, path):
            if isinstance(value, dict) and not path.endswith(("location", "path_walked", "plot", "position")):
                for name, part in value.items():
                    visit(part, f"{path}/{name}" if path else name)
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                for part in value:
                    visit(part, path)
            elif value is not None:
                filled[path] += 1

        rows = render(odk, survey)
        for row in rows:
            visit(row, "")
        assert [path for path, kind in FIELDS if kind != "repeat" and not filled[path]] == []
        assert [row["__system"]["submissionDate"] for row in rows] == sorted(
            row["__system"]["submissionDate"] for row in rows
        )
        assert any(row["household"]["languages"] and " " in row["household"]["languages"] for row in rows)
        for row in rows:
            plot = row["place"]["plot"]
            assert plot is None or plot["coordinates"][0][0] == plot["coordinates"][0][-1]


def test_build_survey__files_are_pictures_and_some_are_missing():
    """Photos are JPEG or PNG files that a library opens, all different; a share has not arrived."""
    survey = build_survey(1, 60)
    contents = [(name, content) for visit in survey.visits for name, content in visit.files.items()]
    for name, content in contents:
        if not name.endswith(".csv"):
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                assert image.format == {"jpg": "JPEG", "png": "PNG"}[name[-3:]] and image.size == (24, 24)
    assert len({content for name, content in contents if not name.endswith(".csv")}) == sum(
        not name.endswith(".csv") for name, _ in contents
    )
    missing = sum(len(visit.missing) for visit in survey.visits)
    assert 0 < missing < len(contents) / 4
    assert not any(visit.files for visit in build_survey(1, 30, photos=False).visits)


def test_draw_picture__sizes():
    """A picture has the size that was asked for, whether it is a multiple of its blocks or not."""
    for size in (1, 8, 25, 200):
        for name in ("x.jpg", "x.png"):
            content, kind = draw_picture(name, size)
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                assert image.size == (size, size) and kind == Image.MIME[image.format]


def test_survey__changes():
    """An edit and a new version of the form show in every row."""
    with OdkSimulator() as odk:
        survey = build_survey(5, 10)
        survey.plant(odk)
        visit = survey.visits[3]
        survey.edit(odk, visit, {"notes": "corrected"})
        survey.publish_next(odk)
        rows = {row["__id"]: row for row in render(odk, survey)}
        assert rows[visit.instance_id]["notes"] == "corrected"
        assert rows[visit.instance_id]["__system"]["edits"] == 1
        assert all(row["household"]["wants_tree"] is None for row in rows.values())
        assert odk.form(survey.project, survey.form_id).current.definition.version == NEXT_VERSION
