"""What an agent may answer, for the tests of the screens: a good ward, an empty, a loading and a bad one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from edge_agent.board import Counts, PointNow
from edge_agent.box_now import BoxNow, ClockNow, PowerNow, Service, StorageNow
from edge_agent.findings import Finding, Findings
from edge_agent.interfaces import Interface, NetworkNow
from edge_agent.logbook import LogLine
from edge_agent.maintain import Done, Maintenance
from edge_agent.meeting_now import MeetingNow, RoomNow
from edge_agent.status import JournalStat, JournalStatus, SinkCursor, SinkStatus, Status
from edge_agent.trial_now import ConfigNow
from edge_agent.tui.picture import Away, Known, Line, MeetingPlace, Picture, Slave, Way
from edge_agent.tui.runs import Progress
from edge_agent.tui.shell import Moment
from edge_agent.uplink import Uplink

NOW = 100_000.0
EPOCH = datetime(2026, 11, 23, 10, 32, 5, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh")).timestamp()
FILE, SOCKET = Path("/etc/edge-agent/agent.yaml"), Path("/run/edge-agent/control.sock")
STATES = ("ok", "empty", "loading", "error")
CHANGING = ("trial", "candidate", "refused")
"""A configuration on trial, one to be applied, one that cannot be."""
LONG = "cnt-1.traffic.count[lane=1,dir=forward,class=motorcycle]"


class Frozen(Moment):
    """Clocks that stand still, until a test moves them."""

    def __init__(self) -> None:
        """23 November 2026, 10:32:05."""
        super().__init__("Asia/Ho_Chi_Minh")
        self.at = NOW

    def now(self) -> float:
        """Monotonic seconds."""
        return self.at

    def wall(self) -> datetime:
        """Time of day."""
        return datetime.fromtimestamp(EPOCH, ZoneInfo("Asia/Ho_Chi_Minh"))


def picture(state: str, language: str = "vi") -> Picture:
    """One of STATES, just answered, in this language."""
    found = Picture(SOCKET, FILE)
    found.language = language
    if state != "loading":
        of_state = {"ok": _good, "empty": _empty, "error": _bad, "fault": _fault}
        of_state |= {"scan": _scan}
        of_state |= {"trial": _trial, "candidate": _candidate, "refused": _refused}
        of_state[state](found)
    return found


def _good(found: Picture) -> None:
    points = _points()
    found.status.take(_status("ok", [], points, [_sink("up", 0, None)]), NOW - 0.4)
    found.findings.take(Findings("ok", "", []), NOW - 0.4)
    found.points.take(points, NOW - 0.4)
    found.trends.take({each.point: [float(minute % 7) for minute in range(60)] for each in points}, NOW - 10)
    found.journal.take(_journal(0), NOW - 0.4)
    bar: list[int | None] = [*[0] * 60, 400, 900, 1400, *[0] * 33]
    found.uplink.take([Uplink("centre", bar, 2.0, 41.0, [])], NOW - 0.4)
    found.log.take([LogLine(1, EPOCH - 60, EPOCH - 60, "info", "edge.app", "ready site=cl-02 parts=6")], NOW - 0.4)
    found.box.take(_box(), NOW - 2)
    found.config.take(ConfigNow("/etc/edge-agent/agent.yaml", "", None, "", None, 0.0, "", "", 0.0), NOW - 0.4)
    found.maintenance.take(Maintenance(None, 0.0, 0.0), NOW - 0.4)
    found.audit.take([Done(EPOCH - 86_400, "tuan.nv", "tuan", "config confirm", "")], NOW - 0.4)
    found.meeting = MeetingPlace("giao-ban", "0.0.0.0:8443", "https://hop.chi-minh.example")
    found.meeting_now.take(MeetingNow("live", "", "https://hop.chi-minh.example", [_room()]), NOW - 0.4)
    members = [("members", 4.0, "1"), ("sending", 3.0, "1"), ("rtt_ms", 18.0, "ms")]
    points += [_point(f"meeting.meeting.{name}", value, unit, source="meeting") for name, value, unit in members]
    slaves = (Slave("water-1", 4, "hr", 0, 2), Slave("met-1", 5, "ir", 1, 1))
    found.buses = (Line("line-1", "/dev/ttyUSB0", slaves),)
    found.ways = (Way("field", "mqtt://10.0.0.2:1883"), Way("centre", "http://10.0.0.5:8086"))


def _scan(found: Picture) -> None:
    """A third of a line has been asked who is there."""
    _good(found)
    run = found.runs["modbus"]
    run.words, run.running, run.begun = ("modbus", "scan", "line-1"), True, NOW - 6
    run.lines.append("Địa chỉ 4, 9600 8N1: trả lời sau 31 ms; đã khai báo là water-1; có thể là: dfrobot-sen0676-radar")
    run.progress = Progress(11, 32, "đang hỏi địa chỉ 12, 9600 8N1")


def _room() -> RoomNow:
    """The chair speaks, one is muted, one has a weak line, one is away."""
    good: dict[str, object] = {
        "connected": True,
        "away": False,
        "weak": False,
        "voice": True,
        "picture": True,
        "level": 127,
    }
    good |= {"speaks": False, "up_kbit": 820, "down_kbit": 1640, "loss_pct": 0.1, "rtt_ms": 18}
    members: list[dict[str, object]] = [
        good | {"id": 1, "site": "hub", "role": "chair", "level": 22, "speaks": True},
        good | {"id": 2, "site": "cl-02", "role": "site", "voice": False},
        good | {"id": 3, "site": "cl-05", "role": "site", "level": 58, "weak": True, "loss_pct": 7.5},
        good | {"id": 4, "site": "cl-11", "role": "site", "connected": False, "away": True, "voice": False},
    ]
    return msgspec.convert({"name": "giao-ban", "waiting": False, "members": members}, RoomNow)


def _empty(found: Picture) -> None:
    found.status.take(_status("ok", [], [], []), NOW - 0.4)
    found.findings.take(Findings("ok", "", []), NOW - 0.4)
    found.points.take([], NOW - 0.4)
    found.journal.take(JournalStat(0, None, None, 0, [], 0, 0, 0), NOW - 0.4)
    found.log.take([], NOW - 0.4)
    found.audit.take([], NOW - 0.4)
    found.box.fault = found.config.fault = "missing"


def _bad(found: Picture) -> None:
    """A sensor is silent, the centre is gone, and then the agent stops answering."""
    _fault(found)
    for known in vars(found).values():
        if isinstance(known, Known) and known.at is not None:
            known.at -= 24.6
    found.away = Away("silent", NOW - 20)


DIFF = "--- agent.yaml\n+++ agent.yaml (new)\n@@ -1,3 +1,3 @@\n site: cl-02\n-name: Chí Minh\n+name: Phường Chí Minh"


def _configured(found: Picture, **facts: object) -> None:
    _good(found)
    bare = ConfigNow("/etc/edge-agent/agent.yaml", "", None, DIFF, None, 0.0, "", "", 0.0)
    found.config.take(msgspec.structs.replace(bare, **facts), NOW - 0.4)


def _trial(found: Picture) -> None:
    _configured(found, candidate="name: Phường Chí Minh", trial_by="tuan.nv", left_s=118.4)


def _candidate(found: Picture) -> None:
    _configured(found, candidate="name: Phường Chí Minh")


def _refused(found: Picture) -> None:
    _configured(found, problems=["/etc/edge-agent/agent.yaml:2:1: nmae: ?"], diff=DIFF.replace("+name", "+nmae"))


def _fault(found: Picture) -> None:
    """A sensor is silent and the centre is gone, but the agent answers."""
    _good(found)
    at = NOW - 0.4
    points = [*(found.points.value or [])]
    points[1] = _point(points[1].point, None, "%", "bad", "timeout", age=2040.0)
    points[2] = _point(points[2].point, 45.0, "m", "uncertain", "gross_range", age=8.0)
    found.status.take(_status("attention", ["met-1"], points, [_sink("down", 14_400, 8_520.0)]), at)
    found.findings.take(Findings("attention", "", _findings(found.language)), at)
    found.points.take(points, at)
    found.journal.take(_journal(14_400), at)
    warning = "device unreachable device=met-1 bus=line-1"
    found.log.take([LogLine(413, EPOCH - 2040, EPOCH - 30, "warning", "edge.modbus", warning, 412)], at)


SAID = {
    "vi": {
        "steps": ["Xem nguồn của cảm biến", "Xem dây A/B ở đầu cuối", "Xem địa chỉ 5 trên thiết bị"],
        "silent": "met-1: không trả lời (cổng /dev/ttyUSB0, địa chỉ 5).",
        "works": "Thiết bị 4, 6 vẫn tốt.",
        "away": "centre: không tới được http://10.0.0.5:8086 (connection refused).",
        "kept": "14 400 số liệu vẫn an toàn trên hộp, còn chỗ cho 41 ngày.",
        "network": ["Xem mạng"],
    },
    "en": {
        "steps": ["Look at the sensor's power", "Look at the A/B wires", "Look at address 5 on the device"],
        "silent": "met-1: no answer (port /dev/ttyUSB0, address 5).",
        "works": "Devices 4 and 6 are well.",
        "away": "centre: http://10.0.0.5:8086 cannot be reached (connection refused).",
        "kept": "14,400 readings are safe on the box, with room for 41 days.",
        "network": ["Look at the network"],
    },
}


def _findings(language: str) -> list[Finding]:
    """As the agent would say them."""
    said = SAID[language]
    bad: dict[str, object] = {
        "key": "sink_unreachable",
        "severity": "failed",
        "subject": "centre",
        "item": "centre",
        "of": "sink",
    }
    bad |= {"since": EPOCH - 8520, "sentence": said["away"], "works": said["kept"]}
    bad |= {"steps": said["network"], "screen": "uplink"}
    mute: dict[str, object] = {
        "key": "device_silent",
        "severity": "attention",
        "subject": "met-1",
        "item": "met-1",
        "of": "device",
    }
    mute |= {"since": EPOCH - 2040, "sentence": said["silent"], "works": said["works"]}
    mute |= {"steps": said["steps"], "screen": "modbus"}
    return msgspec.convert([bad, mute | {"bus": "line-1"}], list[Finding])


def _box() -> BoxNow:
    disk = ("/var/lib/edge-agent", "/dev/mmcblk0p2", "ext4")
    storage = StorageNow(*disk, 31 << 30, 12 << 30, 38.5, 97.0, False, 20, 1, 0)
    clock = ClockNow(EPOCH, True, "timesyncd", True)
    services = [Service("edge-agent", "active", 0), Service("edge-meet", "failed", 3)]
    versions = {"edge": "0.1.0", "python": "3.11.7"}
    power = PowerNow(True, False, True, False, False, False)
    return BoxNow(
        clock, power, 58.4, storage, 512.0, 0.42, 4, 1_036_800.0, "Raspberry Pi 4", services, versions, _network()
    )


def _network() -> NetworkNow:
    cable = Interface("eth0", "cable", True, 1000, None, ["192.168.1.20/24"])
    return NetworkNow([cable, Interface("wlan0", "wifi", False, None, None, [])], "192.168.1.1")


def _status(verdict: str, reasons: list[str], points: list[PointNow], sinks: list[SinkStatus]) -> Status:
    of = [point.quality for point in points]
    counted = Counts(len(points), of.count("good"), of.count("uncertain"), of.count("bad"))
    journal = JournalStatus(1_204_000, 214 << 20, 12, 4.2, None)
    return Status(verdict, reasons, counted, sinks, journal, "cl-02", "Chí Minh", "0.1.0", 1_036_800.0)


def _sink(state: str, waiting: int, oldest: float | None) -> SinkStatus:
    error = None if state == "up" else "connection refused"
    next_try = None if state == "up" else 42.0
    return SinkStatus("centre", state, waiting, oldest, 1_180_000, 3, "http://10.0.0.5:8086", error, next_try)


def _journal(waiting: int) -> JournalStat:
    times = ("2026-10-24T03:32:05.000Z", "2026-11-23T03:32:04.000Z")
    return JournalStat(1_204_000, *times, 214 << 20, [SinkCursor("centre", 1_204_000 - waiting, waiting)], 3, 0, 0)


def _points() -> list[PointNow]:
    return [
        _point("met-1.weather.temp_c", 27.85, "Cel"),
        _point("met-1.weather.rh_pct", 83.2, "%"),
        _point("water-1.water.level_m", 1.839, "m"),
        _point("power-1.power.energy_import_kwh", 18_204.51, "kW.h"),
        _point(LONG, 123, "1", source="field/cnt-1"),
        _point("box.box.uptime_s", 1_036_800, "s", source="box"),
    ]


def _point(
    name: str,
    value: float | None,
    unit: str,
    quality: str = "good",
    reason: str = "ok",
    *,
    age: float = 4.0,
    source: str = "line-1/5",
) -> PointNow:
    return PointNow(name, value, unit, quality, reason, age, source)
