"""Planned meetings that come again, and the configuration's block against the meeting's own settings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from conference.settings import Meeting, Settings
from edge_agent import config as configuration
from edge_agent import meeting_config

EXAMPLE = Path(__file__).parents[2] / "config" / "agent.example.yaml"


def at(text: str, zone: str = "Asia/Ho_Chi_Minh") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-12-01 08:00", "2026-12-07 14:00"),
        ("2026-12-07 15:00", "2026-12-07 14:00"),
        ("2026-12-07 16:00", "2026-12-14 14:00"),
        ("2031-12-07 16:00", "2031-12-08 14:00"),
    ],
)
def test_weekly_meeting_comes_again(now: str, start: str) -> None:
    """The one that runs counts until its end; then the next week's does, for ever."""
    weekly = Meeting(room="a", title="b", start=at("2026-12-07 14:00"), every=timedelta(days=7), minutes=120)
    found = Settings(schedule=(weekly,)).next_meeting(at(now).astimezone(UTC))
    assert found is not None
    assert (found.start, found.end) == (at(start), at(start) + timedelta(hours=2))


def test_meeting_keeps_its_hour_when_clocks_change() -> None:
    """Where the law changes clocks, a weekly meeting stays at two o'clock on the wall."""
    weekly = Meeting(
        room="a", title="b", start=at("2026-03-20 14:00", "Europe/Berlin"), every=timedelta(days=7), minutes=60
    )
    found = weekly.next(at("2026-04-01 00:00", "Europe/Berlin").astimezone(UTC))
    assert found is not None
    assert found.start == at("2026-04-03 14:00", "Europe/Berlin")


def test_single_meeting_is_over_once() -> None:
    """Nothing comes after it."""
    once = Meeting(room="a", title="b", start=at("2026-12-07 14:00"))
    assert once.next(at("2026-12-07 16:00").astimezone(UTC)) is None


def test_configuration_becomes_settings() -> None:
    """Every key of the example arrives."""
    config = configuration.load(EXAMPLE)
    assert config.meeting is not None
    settings = meeting_config.settings_of(config, config.meeting)
    assert settings.next_meeting(at("2026-12-01 08:00").astimezone(UTC)) is not None
    assert (settings.tickets, settings.help_phone) == (Path("/var/lib/edge-meet/tickets"), "0220 3882 123")
    assert settings.cert is not None
    assert settings.limits == config.meeting.limits


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("{room: a, listen: 'box:8443'}", "listen"),
        ("{room: a, cert: ./a.pem}", "cert_and_key"),
        ("{room: a, video_codecs: [VP9]}", "want_one_of"),
        ("{room: a, schedule: [{title: a, start: soon}]}", "meeting_start"),
        ("{room: a, schedule: [{title: a, start: 2026-12-07 14:00, every: 1h}]}", "meeting_overlaps"),
        ("{room: a, limits: {clients: 0}}", "too_small"),
        ("{room: A b}", "identifier"),
    ],
)
def test_faults_of_the_block(block: str, what: str, tmp_path: Path) -> None:
    """Each has its sentence, and its line."""
    file = tmp_path / "agent.yaml"
    file.write_text(f"site: cl-02\nmeeting: {block}\n")
    _, problems = configuration.check_report(file)
    assert [(problem.what, problem.line) for problem in problems] == [(what, 2)]
