"""The recorded exchanges with a real Central, sent to the simulator.

One simulator goes through the recording from its first request to its last. Between the requests there happens what
happened there without being recorded, at its own time, from the dataset (`history.py`). The same: status, body with
the order of its keys, content type, file names, links, ETags of files; feed ETags stay and change where the real ones
do. Aside: times within seconds, tokens, and numbers that a server draws for itself.

What does not replay, and why:

| file | exchanges | why |
|---|---|---|
| 17_csv | 0-5 | CSV exports are not simulated: nothing here reads them, and they print texts as they were sent, which the dataset (JSON values) does not have |
| 18_schema_evolution | 21, 28 | CSV |
| 18_schema_evolution | 32 | a list of forms with the hash of race_test's XML, which was not recorded |
| 23_encrypted | 0, 6 | the hash of a form whose public key is blacked out in the recording |

What was made up for the rest: the rows of race_test that no answer shows (11, 21), bodies of multipart requests (02, 03,
23, 26), contents of files that were never downloaded, and the state of five rows before their edits, from answers that
showed them (`tests/data/odk/earlier.json`). 20_timings and 28_pyodk hold no exchanges.
"""  # noqa: E501

import pytest

from tests.simulators.odk.recordings import Exchange, read_recordings
from tests.simulators.odk.replay import Replay, replay_everything

# How many exchanges of each file replay, of how many.
REPLAYED = {
    "01_setup": (10, 10),
    "02_create_submissions": (6, 6),
    "03_mutations": (46, 46),
    "04_form_new_version": (15, 15),
    "05_auth": (58, 58),
    "06_metadata": (19, 19),
    "07_rows": (22, 22),
    "08_paging": (33, 33),
    "09_paging_concurrent": (8, 8),
    "10_filters": (71, 71),
    "11_watermark": (19, 19),
    "12_repeats": (28, 28),
    "13_attachments": (33, 33),
    "14_etag": (16, 16),
    "15_errors": (19, 19),
    "16_rest": (16, 16),
    "17_csv": (0, 6),
    "18_schema_evolution": (36, 39),
    "19_entities": (17, 17),
    "21_purge_and_cursor": (13, 13),
    "22_attachments_s3": (4, 4),
    "23_encrypted": (5, 7),
    "24_identity_restore": (17, 17),
    "25_database_down": (4, 4),
    "26_openrosa_resend": (10, 10),
    "27_repeat_in_group": (6, 6),
}
NOT_REPLAYED = {
    "17_csv": {0, 1, 2, 3, 4, 5},
    "18_schema_evolution": {21, 28, 32},
    "23_encrypted": {0, 6},
}


@pytest.fixture(scope="module")
def recordings() -> dict[str, list[Exchange]]:
    """All recordings."""
    return read_recordings()


@pytest.fixture(scope="module")
def replay() -> Replay:
    """All recordings, sent once."""
    return replay_everything()


def test_recordings__all_are_here(recordings):
    """Every file of the table is among the data, and no other."""
    assert {name: len(exchanges) for name, exchanges in recordings.items()} == {
        name: total for name, (_, total) in REPLAYED.items()
    }


@pytest.mark.parametrize("name", REPLAYED)
def test_replay__same_answers(name, replay, recordings):
    """What replayed once replays; what does not is in the table above, and nothing else is."""
    results = replay.results[name]
    told = [
        f"{exchange.index} {exchange.name} ({exchange.method} {exchange.target[:120]})\n    "
        + "\n    ".join(str(one) for one in differences[:3])
        for exchange, differences in zip(recordings[name], results)
        if differences and exchange.index not in NOT_REPLAYED.get(name, ())
    ]
    assert not told, "\n".join(told)
    assert {index for index, found in enumerate(results) if found} == NOT_REPLAYED.get(name, set())
    assert (sum(not found for found in results), len(results)) == REPLAYED[name]


def test_replay__history_is_used_up(replay):
    """Everything that happened between the requests has happened, and the world ends as the dataset has it."""
    history = replay.history
    assert history.events == []
    for form_id, content in history.dataset["forms"].items():
        form = history.simulator.form(1, form_id)
        schema = form.current.schema
        rows = {one.instance_id: one.render(schema, expand=True, wkt=False) for one in form.submissions}
        assert rows.keys() == {row["__id"] for row in (*content["rows"], *content["deleted_rows"])}
        for row in (*content["rows"], *content["deleted_rows"]):
            assert rows[row["__id"]] == row
