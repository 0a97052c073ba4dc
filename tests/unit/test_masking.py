"""Public ids: keyed, the same every time, told from plain ones, and nothing else of a row changed."""

from __future__ import annotations

import re

from services.utils.masking import KEY_NAMES, Mask
from services.utils.parts import Parts
from services.utils.records import Row

SECRET = "0123456789abcdef0123456789abcdef"


def test_mask__depends_on_secret_scope_and_id() -> None:
    """The same three give the same id, any other gives another; it is lower-case and 24 characters long."""
    mask = Mask(SECRET, "knack", "app")
    assert mask("5d00") == Mask(SECRET, "knack", "app")("5d00") == "pskp6usvcvemb6emixcsjgvf"
    others = {Mask(SECRET[::-1], "knack", "app")("5d00"), Mask(SECRET, "knack", "ap")("5d00"), mask("5d01")}
    assert len({mask("5d00"), *others}) == 4
    assert all(re.fullmatch("p[a-z2-7]{23}", one) for one in others)


def test_cover__hides_the_id_wherever_it_stands() -> None:
    """Keys and their beginnings are hashed, copies too, a tombstone's as well; the row's own id stays for messages."""
    mask = Mask(SECRET, "odk", "app", "form")
    part = {"id": "k/person[2]", "submission_id": "k", "parent_id": "k/person[1]", "name": "k"}
    main = {"id": "k", "uuid": " k ", "meta_instanceid": "uuid:other", "empty": None}
    covered = [
        *mask.cover([Row("k", part)], KEY_NAMES, []),
        *mask.cover([Row("k", main, deleted=True)], ["id"], ["uuid", "meta_instanceid", "empty"]),
    ]
    public = mask("k")
    assert covered[0].values == {
        "id": f"{public}/person[2]",
        "submission_id": public,
        "parent_id": f"{public}/person[1]",
        "name": "k",
    }
    assert covered[1] == Row(
        "k",
        {"id": public, "uuid": public, "meta_instanceid": mask("uuid:other"), "empty": None},
        deleted=True,
    )
    assert (covered[0].record_id, part["id"]) == ("k", "k/person[2]")


def test_parts__know_their_owners_by_public_ids() -> None:
    """What a destination holds of a document is found by the hashed id that its keys begin with."""
    parts = Parts(lambda key: key.partition("/")[0])
    parts.mask = Mask(SECRET, "odk")
    parts.note("k")
    assert list(parts.owners()) == [parts.mask("k")]
    assert parts.owns(f"{parts.mask('k')}/person[1]") and not parts.owns("k/person[1]")
    parts.close()
