"""Warm-up and counters between the checks and the journal, and the totals that a restart must not lose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from drivers.profile import PointRule, library, read_profile
from drivers.profile_form import Counter
from drivers.reading import Readings, Reason, Source, Value, quantities
from edge_agent.config import load
from edge_agent.habits import SAVE_EVERY, Habits, rules_by_index, rules_of

DUST = Source("pm-1", tuple(quantities()[f"air.{name}"] for name in ("pm1_ugm3", "pm2_5_ugm3", "pm10_ugm3")))
RAIN = Source("met-1", tuple(quantities()[f"weather.{name}"] for name in ("rain_total_mm", "temp_c")))
PULSES = Source("adam", (quantities()["counter.count"],), (("src", "counter_3"),))
TOTAL = PointRule(0.01, Counter(wraps_at=65535, resettable=True, total=True), 0.0)
AS_READ = PointRule(0.01, Counter(wraps_at=65535, resettable=True), 0.0)


def rules(of: Mapping[Source, Mapping[int, PointRule]]) -> Habits:
    return Habits(lambda source: of.get(source, {}))


def read(source: Source, mono: int, *values: Value | None, why: Reason | None = None) -> Readings:
    faults = dict.fromkeys(range(len(values)), why) if why else {}
    return Readings(source, mono, mono, values, faults)


def test_warm_up_of_a_dust_sensor() -> None:
    """For ten seconds after its first answer it is uncertain, and again after a silence, but not after one bad poll."""
    profile = read_profile(library()["deltaohm-pmsense"])
    habits = Habits(lambda source: rules_by_index(source, profile.rules()))
    reasons = []
    for second in range(40):
        gone, glitch = 15 <= second < 20, second == 35
        values = (None, None, None) if gone or glitch else (1.0, 2.0, 3.0)
        why = Reason.timeout if gone else Reason.garbled if glitch else None
        reasons.append(habits(read(DUST, second * 1000, *values, why=why)).reason(1).name)
    assert reasons[:15] == ["warming_up"] * 10 + ["ok"] * 5
    assert reasons[15:35] == ["timeout"] * 5 + ["warming_up"] * 10 + ["ok"] * 5
    assert reasons[35:] == ["garbled", "ok", "ok", "ok", "ok"]


def test_warm_up_keeps_worse_reasons() -> None:
    """A value that is bad for another reason stays bad while the device warms up."""
    habits = rules({DUST: {0: PointRule(1, None, 10.0), 1: PointRule(1, None, 10.0)}})
    marked = habits(Readings(DUST, 0, 0, (1.0, 2.0, None), {1: Reason.gross_range, 2: Reason.sentinel}))
    assert marked.faults == {0: Reason.warming_up, 1: Reason.gross_range, 2: Reason.sentinel}


def test_device_without_rules() -> None:
    """Its readings pass as they are."""
    given = read(RAIN, 1, 1.0, 2.0)
    assert rules({})(given) is given


def test_total_through_wrap_and_reset(caplog: pytest.LogCaptureFixture) -> None:
    """A total goes on rising; the reset is said in the log, the wrap is not; what is not good is not counted."""
    habits = rules({RAIN: {0: TOTAL}})
    with caplog.at_level(logging.WARNING):
        course = [habits(read(RAIN, i, value, 20.0)).values[0] for i, value in enumerate((655.0, 655.3, 0.1, 0.4, 0.0))]
        bad = habits(read(RAIN, 9, 655.35, 20.0, why=Reason.sentinel))
    assert course == [655.0, 655.3, 655.46, 655.76, 655.76]
    assert [record.getMessage() for record in caplog.records] == [
        "counter reset point=met-1.weather.rain_total_mm from=0.4 to=0.0"
    ]
    assert bad.reason(0) is Reason.sentinel
    assert habits(read(RAIN, 10, 0.2, 20.0)).values[0] == 655.96


def test_counter_as_read(caplog: pytest.LogCaptureFixture) -> None:
    """Where the profile asks for no total the number stays as read and good; the reset is an event all the same."""
    habits = rules({RAIN: {0: AS_READ}})
    with caplog.at_level(logging.WARNING):
        course = [habits(read(RAIN, i, value, 20.0)) for i, value in enumerate((300.0, 0.0, 1.0))]
    assert [each.values[0] for each in course] == [300.0, 0.0, 1.0]
    assert all(each.reason(0) is Reason.ok for each in course)
    assert len(caplog.records) == 1


def test_step_of_a_profile() -> None:
    """A rise larger than the device can make is uncertain."""
    habits = rules({RAIN: {0: PointRule(0.01, Counter(wraps_at=65535, biggest_step=500), 0.0)}})
    reasons = [habits(read(RAIN, i, value, 20.0)).reason(0) for i, value in enumerate((1.0, 9.0, 9.5))]
    assert reasons == [Reason.ok, Reason.spike_or_step, Reason.ok]


def test_totals_after_a_restart(tmp_path: Path) -> None:
    """What wraps and resets took is on disk; a reset while the agent was away is found as well."""
    file = tmp_path / "counters.json"

    async def first() -> None:
        habits = Habits(lambda _: {0: TOTAL}, file)
        keeping = asyncio.create_task(habits.keep())
        await asyncio.sleep(0)
        for i, value in enumerate((655.3, 0.1)):
            habits(read(RAIN, i, value, 20.0))
        until = asyncio.get_running_loop().time() + SAVE_EVERY / 2
        while not file.exists() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        assert file.exists(), "a wrap is written at once"
        habits(read(RAIN, 5, 7.0, 20.0))
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(first())
    again = Habits(lambda _: {0: TOTAL}, file)
    assert again(read(RAIN, 0, 7.5, 20.0)).values[0] == 662.86
    again.save()
    assert Habits(lambda _: {0: TOTAL}, file)(read(RAIN, 0, 0.5, 20.0)).values[0] == 663.36


@pytest.mark.parametrize("text", ["", "{", '{"a": 5}', "\0"])
def test_damaged_file_of_totals(tmp_path: Path, text: str) -> None:
    """Whatever is in it, readings go on."""
    file = tmp_path / "counters.json"
    file.write_text(text)
    assert Habits(lambda _: {0: TOTAL}, file)(read(RAIN, 0, 7.5, 20.0)).values[0] == 7.5


def test_disk_that_takes_no_totals(tmp_path: Path) -> None:
    """It costs no reading, and is tried again."""
    habits = Habits(lambda _: {0: TOTAL}, tmp_path / "nowhere" / "counters.json")
    habits(read(RAIN, 0, 7.5, 20.0))
    habits.save()
    (tmp_path / "nowhere").mkdir()
    habits.save()
    assert (tmp_path / "nowhere/counters.json").exists()


def test_rules_by_index_a_second_counter() -> None:
    """A register that gives a quantity again has its own rule, by the tag src."""
    profile = read_profile(library()["advantech-adam-4150"])
    found = rules_by_index(PULSES, profile.rules(["keep rising"]))
    assert found[0].counter
    assert found[0].counter.total


def test_rules_of_a_configured_device(tmp_path: Path) -> None:
    """The variant that a device names decides whether its counter becomes a total; other sources have no rules."""
    file = tmp_path / "agent.yaml"
    file.write_text(
        "site: cl-02\nstate: state\nbuses:\n  - id: line-1\n    tcp: 127.0.0.1\n    devices:\n"
        "      - {id: met-1, profile: lufft-ws-umb, unit: 1, every: 10s, variant: keep rising}\n"
        "      - {id: met-2, profile: lufft-ws-umb, unit: 2, every: 10s}\n",
        encoding="utf-8",
    )
    config = load(file)
    other = Source("met-2", RAIN.quantities)
    found = [rules_of(config, source)[0].counter for source in (RAIN, other)]
    assert [counter.total for counter in found if counter] == [True, False]
    assert rules_of(config, DUST) == {}


def test_configuration_read_again() -> None:
    """A device that ran on does not warm up anew."""
    habits = rules({DUST: {0: PointRule(1, None, 10.0)}})
    assert [habits(read(DUST, t, 1.0, 2.0, 3.0)).reason(0).name for t in (0, 12_000)] == ["warming_up", "ok"]
    habits.adopt(lambda _: {0: PointRule(1, None, 10.0)})
    assert habits(read(DUST, 13_000, 1.0, 2.0, 3.0)).reason(0) is Reason.ok
