"""In a storm of faults a script ends right or red, never green and wrong; afterwards one run mends everything.

Each round is made by its seed alone: `SOAK_FIRST=<seed> SOAK_ROUNDS=1 pytest tests/storm/test_storm.py` repeats
one. `make soak` runs thousands.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from tests.days import Days
from tests.storm.weather import draw_weather
from tests.world import CONTAINERS, SCRIPTS, Killer, Places, Witness

FIRST, ROUNDS = int(os.environ.get("SOAK_FIRST", "0")), int(os.environ.get("SOAK_ROUNDS", "200"))
SHARE = min(ROUNDS, 25)
PLACES = dict(zip(SCRIPTS, ("store", "dataset", "layer")))


def find_wrong(days: Days, script: str, container: str, since_last: bool, refused: set[str]) -> str:
    """What is wrong with a place after a run that says that it is done; "" if nothing is."""
    held: Places = days.world.places(container)
    place = PLACES[script]
    there: dict[str, Any] = getattr(held, place)
    wanted: dict[str, Any] = dict(getattr(days.today[container], place))
    if place == "store" and since_last:
        # A load since a time removes nothing, and brings what has a new date.
        old, dated = days.old[container].store, days.worked[container]
        wanted = {one: wanted[one] if one in dated else there.get(one) for one in wanted}
        wanted.update((one, old[one]) for one in old.keys() - wanted.keys())
    wrong = {one for one in there.keys() | wanted.keys() if there.get(one) != wanted.get(one)} - refused
    if not wrong:
        return ""
    extra, missing = sorted(wrong - wanted.keys()), sorted(wrong - there.keys())
    return f"{len(wrong)} records of the {place} are wrong; extra: {extra}; missing: {missing}"


def weather_a_storm(days: Days, seed: int) -> None:
    """One round: begin, storm, look; then a clear sky, and everything is right."""
    dice = random.Random(seed)
    world = days.world
    script = dice.choice([*SCRIPTS, *SCRIPTS, "metadata_to_postgrest"])
    container = dice.choice(CONTAINERS)
    since_last = script in SCRIPTS and dice.random() < 0.5
    world.restore(days.yesterday if script == SCRIPTS[0] else days.loaded)
    world.socrata.switches.max_body_bytes = dice.choice([6_000, 250_000_000])
    world.socrata.switches.replica_lag_reads = dice.choice([0, 0, 1, 3])
    world.agol.switches.stale_reads = dice.choice([0, 0, 1, 3])
    world.knack.switches.overstate_total = dice.choice([0, 0, 2])
    flags = ["-c", container] if script in SCRIPTS else []
    if script not in SCRIPTS:
        world.sql("update api.knack_metadata set metadata = '{\"application\": {}}'")
    flags += ["--since-last"] if since_last else []
    wanted = set(getattr(days.today[container], PLACES[script])) if script in SCRIPTS else set()
    witness = Witness(world, PLACES.get(script, ""), container, wanted)
    witness.look()
    before = len(world.ledger())
    weather = draw_weather(dice, script)
    weather.brew(world, seed)
    words = f"round {seed}: {script} {' '.join(flags)}; {weather}"
    done = Killer(world, witness.look).run(
        script, *flags, waits=weather.waits, RETRY_SECONDS=dice.choice(["1", "5", "60"])
    )
    words += f"\n{done.stdout}{done.stderr}"

    assert done.code in (0, 1, 3), words
    assert "Traceback" not in done.stderr, words
    assert not witness.lost, f"{witness.lost} went out of sight; {words}"
    refused = {row[0] for row in world.sql("select record_id from api.rejects where closed_at is null")}
    status = {0: "ok", 1: "failed", 3: "partial"}[done.code]
    assert done.summary["status"] == status, words
    told = {run["status"] for run in world.ledger()[before:]} - {"failed"}
    if done.code != 1:
        assert told == {status}, f"{told}; {words}"
        assert bool(refused) is (done.code == 3), f"{refused}; {words}"
    else:
        # The ledger may not know, or may have got the good news without our hearing that it did.
        assert len(done.errors) == 1 and told <= {"running", "ok"}, f"{told}; {words}"
    if script in SCRIPTS and (done.code != 1 or "ok" in told):
        wrong = find_wrong(days, script, container, since_last, refused if done.code == 3 else set())
        assert not wrong, f"{wrong}; {words}"

    for simulator in world.simulators:
        simulator.faults.clear()
    # What was late has come by then; nothing of it is to come after the next run.
    time.sleep(0.06 if weather.waits.timeout_s > 1 else 0.3)
    again = Killer(world, witness.look).run(script, *flags)
    words += f"\nthen: {again.stdout}{again.stderr}"
    assert again.code == 0, words
    assert not witness.lost, f"{witness.lost} went out of sight; {words}"
    if script in SCRIPTS:
        wrong = find_wrong(days, script, container, since_last, set())
        assert not wrong, f"{wrong}; {words}"
    else:
        assert world.sql("select metadata::text from api.knack_metadata") == [(days.metadata,)], words
    assert {run["status"] for run in world.ledger()[before:]} <= {"ok", "failed", "partial"}, words
    assert not world.sql("select record_id from api.rejects where closed_at is null"), words


@pytest.mark.parametrize("first", range(FIRST, FIRST + ROUNDS, SHARE))
def test_storm__right_or_red_and_mended_by_one_run(days: Days, first: int) -> None:
    """No round ends green and wrong, none shows fewer records, and each is mended by the next run."""
    failures = []
    for seed in range(first, min(first + SHARE, FIRST + ROUNDS)):
        try:
            weather_a_storm(days, seed)
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, f"{len(failures)} rounds:\n" + "\n\n".join(failures)
