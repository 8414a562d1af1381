"""The configuration of a box: the examples load, every fault is said at once with its place, in both languages."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from drivers.marked import Problems, Secret
from drivers.marked_tree import Node, Tree, compose, read
from drivers.marked_words import models_at
from drivers.settings import Part
from edge_agent.config import Config, check_report, load, render
from edge_agent.text import texts

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config/agent.example.yaml"
CONTRACT = """\
# One box, every block once (the contract with scripts outside the project).
site: cl-02
name: Phường Sao Đỏ
language: vi
timezone: Asia/Ho_Chi_Minh
state: ./state
control: ./state/control.sock

buses:
  - id: line-1
    serial: ./line-1.tty
    baud: 9600
    framing: 8N1
    devices:
      - {id: met-1, profile: renke-01f4-station, unit: 1, every: 10s}
      - {id: cab-1, profile: xy-md02, unit: 2, every: 30s}
  - id: meters
    tcp: 127.0.0.1:5020
    devices:
      - {id: power-1, profile: eastron-sdm630, unit: 1, every: 5s}
      - {id: water-1, profile: dfrobot-sen0676-radar, unit: 7, every: 10s, limits: {water.level_m: {low: 0, high: 8}}}

mqtt:
  - id: field
    broker: mqtt://127.0.0.1:1883
    client_id: edge-cl-02
    username: edge
    password: !secret mqtt-field
    subscriptions:
      - {topic: application/+/device/+/event/up, decoder: chirpstack, qos: 1}
      - {topic: zigbee2mqtt/+, decoder: zigbee2mqtt}
      - topic: traffic/+/interval
        decoder: json
        device: "{1}"
        time: $.end
        tags: {lane: $.lane, dir: $.dir, class: $.class}
        points: {traffic.count: $.count, traffic.speed_avg_kmh: $.speed}

sinks:
  - id: centre
    influxdb: {url: "http://127.0.0.1:8086", version: 1, database: city}
  - id: province
    influxdb: {url: "http://127.0.0.1:8428", version: 2, org: city, bucket: city, token: !secret influx-province}
    only: [air, weather, water]
  - id: uplink
    mqtt: {broker: "mqtt://127.0.0.1:1883", format: sparkplug, group: chi-linh}

journal: {keep_days: 30, max_bytes: 2GiB}

alarms:
  - {id: flood-1, when: water.level_m > 4.0, clear: water.level_m < 3.8, for: 60s, severity: high}

meeting:
  listen: 0.0.0.0:8443
  room: giao-ban
"""
BUS = "site: a\nbuses:\n- id: b\n  tcp: 10.0.0.5\n  devices:\n"


def written(folder: Path, text: str) -> Path:
    """The text as a configuration file."""
    file = folder / "agent.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(folder: Path, text: str) -> list[tuple[int, int, str, str]]:
    """Line, column, path and kind of every problem of the text."""
    _, problems = check_report(written(folder, text))
    return [(p.line, p.column, p.path, p.what) for p in problems]


def test_identity_of_a_device(tmp_path: Path) -> None:
    """A register that the profile does not know a device by is refused with its place and those that it does know."""
    told = "  - {id: %s, profile: %s, unit: %d, every: 1s, identity: {%s}}\n"
    rows = [
        ("a", "ecowitt-wn90lp", 1, "device_id: 10423"),
        ("b", "ecowitt-wn90lp", 2, "serial: 10423"),
        ("c", "dfrobot-sen0676-radar", 3, "serial: 10423"),
        ("d", "ecowitt-wn90lp", 4, "device_id: abc"),
        ("e", "ecowitt-wn90lp", 5, "name: 145"),
    ]
    file = written(tmp_path, BUS + "".join(told % row for row in rows))
    problems = check_report(file)[1]
    at = "buses[0].devices[{}].identity.{}"
    assert [(p.line, p.path, p.what) for p in problems] == [
        (7, at.format(1, "serial"), "unknown_identity"),
        (8, at.format(2, "serial"), "no_identity"),
        (9, at.format(3, "device_id"), "identity_kind"),
        (10, at.format(4, "name"), "identity_model"),
    ]
    assert problems[0].facts["choices"] == "name, device_id"


def test_alarm_points_of_a_device(tmp_path: Path) -> None:
    """They must be points of the device; a slip of the pen is named."""
    device = "  - {id: %s, profile: xy-md02, unit: %d, every: 1s, alarm_points: [weather.%s]}\n"
    text = BUS + device % ("a", 1, "temp_c") + device % ("b", 2, "temp")
    assert [(line, path, what) for line, _, path, what in faults(tmp_path, text)] == [
        (7, "buses[0].devices[1].alarm_points[0]", "unknown_point_of_device_near")
    ]


def test_contract_file(tmp_path: Path) -> None:
    """The file that scripts outside rely on loads as it is, with paths from its own folder."""
    config = load(written(tmp_path, CONTRACT))
    assert (config.site, config.name, config.language) == ("cl-02", "Phường Sao Đỏ", "vi")
    assert config.file == tmp_path / "agent.yaml"
    assert config.control == tmp_path / "state" / "control.sock"
    line, meters = config.buses
    assert (line.serial, line.is_serial, line.where) == (tmp_path / "line-1.tty", True, str(tmp_path / "line-1.tty"))
    assert (meters.host, meters.port, meters.where) == ("127.0.0.1", 5020, "127.0.0.1:5020")
    assert [device.every for bus in config.buses for device in bus.devices] == [10.0, 30.0, 5.0, 10.0]
    assert meters.devices[1].limits["water.level_m"].high == 8
    assert config.mqtt[0].password == Secret("mqtt-field")
    assert (config.mqtt[0].host, config.mqtt[0].port, config.mqtt[0].tls) == ("127.0.0.1", 1883, False)
    assert config.journal.max_bytes == 2 << 30
    assert sorted(config.used_profiles) == ["dfrobot-sen0676-radar", "eastron-sdm630", "renke-01f4-station", "xy-md02"]


def test_blocks_of_later_versions(tmp_path: Path) -> None:
    """What validates but is not built yet is named with its path."""
    assert load(written(tmp_path, CONTRACT)).not_built() == [
        ("sinks[2].mqtt", "mqtt"),
        ("mqtt[0].subscriptions[1].decoder", "zigbee2mqtt"),
        ("alarms", "alarms"),
    ]


def test_smallest_configuration(tmp_path: Path) -> None:
    """Only the site is required."""
    config = load(written(tmp_path, "site: cl-02\n"))
    assert config.control == Path("/var/lib/edge-agent/control.sock")
    assert not config.not_built()


def _models(tree: Tree) -> dict[type[Part], set[str]]:
    """The keys that the file shows, by the model they belong to."""
    shown: dict[type[Part], set[str]] = {}

    def walk(node: Node, loc: tuple[str | int, ...]) -> None:
        if isinstance(node.value, dict):
            for model in models_at(Config, loc):
                if issubclass(model, Part):
                    shown.setdefault(model, set()).update(map(str, node.value))
        for step, child in _children(node):
            walk(child, (*loc, step))

    walk(tree.root, ())
    return shown


def _children(node: Node) -> list[tuple[str | int, Node]]:
    if isinstance(node.value, dict):
        return list(node.value.items())
    return list(enumerate(node.value)) if isinstance(node.value, list) else []


def _parts(model: type[Part]) -> set[type[Part]]:
    """The model and every model below it."""
    keys = [field.alias or name for name, field in model.model_fields.items()]
    below = {m for key in keys for step in ((key,), (key, 0)) for m in models_at(model, step)}
    below |= {m for key in keys for m in models_at(model, (key, "any"))}
    parts = {m for m in below if issubclass(m, Part)}
    return {model}.union(*(_parts(part) for part in parts))


def test_example_shows_every_key() -> None:
    """config/agent.example.yaml loads, and shows each key of each model with a sentence behind it."""
    load(EXAMPLE)
    shown = _models(Tree(str(EXAMPLE), compose(read(EXAMPLE), str(EXAMPLE))[0]))
    assert len(_parts(Config)) >= 15
    for model in _parts(Config):
        keys = {field.alias or name for name, field in model.model_fields.items()}
        assert keys == shown.get(model), model.__name__


def test_example_says_a_sentence_for_every_key() -> None:
    """The first line of every key in the example ends with a comment, unless it only opens a block."""
    seen: set[str] = set()
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        found = re.match(r"(?:  )*(?:- )?([a-z_]+): +[^#{ ]", line)
        if found and found[1] not in seen:
            seen.add(found[1])
            assert re.search(r" # .+\.$", line), line


def test_all_faults_at_once(tmp_path: Path) -> None:
    """Faults of syntax traps, unknown keys, wrong values and checks across the parts come together, by line."""
    text = (
        CONTRACT.replace("site: cl-02", "sit: cl-02")
        .replace("baud: 9600", "baud: 012")
        .replace("profile: xy-md02, unit: 2", "profile: xy-md20, unit: 1")
        .replace("id: power-1", "id: met-1")
        .replace("water.level_m: {low", "water.levl_m: {low")
        .replace("!secret mqtt-field", "geheim")
        .replace("only: [air, weather, water]", "only: [air, wether]")
        .replace("qos: 1}", "qos: 2}")
        .replace("clear: water.level_m < 3.8", "clear: water.level < 3.8")
    )
    assert faults(tmp_path, text) == [
        (2, 1, "site", "missing_key"),
        (2, 1, "sit", "unknown_key_near"),
        (12, 11, "buses[0].baud", "leading_zero"),
        (16, 30, "buses[0].devices[1].profile", "unknown_profile_near"),
        (16, 45, "buses[0].devices[1].unit", "unit_twice"),
        (20, 14, "buses[1].devices[0].id", "id_twice"),
        (21, 85, "buses[1].devices[1].limits.water.levl_m", "unknown_point_of_device_near"),
        (28, 15, "mqtt[0].password", "plain_secret"),
        (30, 76, "mqtt[0].subscriptions[0].qos", "want_one_of"),
        (44, 11, "sinks[1].only", "unknown_measurement"),
        (51, 53, "alarms[0].clear", "unknown_point_near"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("site: a\nlanguage: de\n", (2, 11, "language", "want_one_of")),
        ("site: a\ntimezone: Asia/Saigonn\n", (2, 11, "timezone", "timezone")),
        ("site: a\ntimezone: ../../etc/passwd\n", (2, 11, "timezone", "timezone")),
        ("site: Chí Linh\n", (1, 7, "site", "identifier")),
        ("site: a\nstate: 5\n", (2, 8, "state", "path")),
        (f"site: a\nstate: /{'x' * 120}\n", (2, 8, "state", "socket_path")),
        ("site: a\njournal: {max_bytes: 2GB}\n", (2, 22, "journal.max_bytes", "size")),
        ("site: a\njournal: {max_bytes: 1KiB}\n", (2, 22, "journal.max_bytes", "out_of_range")),
        ("site: a\njournal: {commit_window: 2s}\n", (2, 26, "journal.commit_window", "out_of_range")),
        ("site: a\njournal: {keep_days: 0}\n", (2, 22, "journal.keep_days", "too_small")),
        ("site: a\nbuses: [{id: b}]\n", (2, 9, "buses[0]", "serial_or_tcp")),
        ("site: a\nbuses: [{id: b, tcp: 'a b'}]\n", (2, 22, "buses[0].tcp", "endpoint")),
        ("site: a\nbuses: [{id: b, tcp: 'a:70000'}]\n", (2, 22, "buses[0].tcp", "endpoint")),
        ("site: a\nbuses: [{id: b, tcp: a, framing: 8X1}]\n", (2, 34, "buses[0].framing", "framing")),
        ("site: a\nbuses: [{id: b, serial: /x}, {id: c, serial: /x}]\n", (2, 46, "buses[1].serial", "serial_twice")),
        ("site: a\nbuses: [{id: b, tcp: x}, {id: c, tcp: X:502}]\n", (2, 39, "buses[1].tcp", "tcp_twice")),
        (
            "site: a\nbuses: [{id: b, tcp: localhost:9}, {id: c, tcp: 127.0.0.1:9}]\n",
            (2, 49, "buses[1].tcp", "tcp_twice"),
        ),
        ("site: a\nbuses: [{id: b, serial: /x, framing: '7E1'}]\n", (2, 38, "buses[0].framing", "framing_bits")),
        ("site: a\nbuses: [{id: b, tcp: x}]\nmqtt: [{id: b, broker: mqtt://x}]\n", (3, 13, "mqtt[0].id", "id_twice")),
        ("site: a\nmqtt: [{id: b, broker: http://x}]\n", (2, 24, "mqtt[0].broker", "url")),
        ("site: a\nmqtt: [{id: b, broker: 'mqtt://u:p@x'}]\n", (2, 24, "mqtt[0].broker", "url_with_user")),
        ("site: a\nmqtt: [{id: b, broker: mqtt://x, ca: y}]\n", (2, 8, "mqtt[0]", "tls_without_mqtts")),
        ("site: a\nmqtt: [{id: b, broker: mqtts://x, cert: y}]\n", (2, 8, "mqtt[0]", "cert_and_key")),
        ("site: a\nmqtt: [{id: b, broker: mqtt://x}, {id: c, broker: mqtt://x}]\n", (2, 35, "mqtt[1]", "client_twice")),
        ("site: a\nsinks: [{id: s}]\n", (2, 9, "sinks[0]", "influxdb_or_mqtt")),
        (
            "site: a\nsinks: [{id: s, mqtt: {format: json, broker: mqtts://x, cert: y}}]\n",
            (2, 23, "sinks[0].mqtt", "cert_and_key"),
        ),
        (
            "site: a\nsinks: [{id: s, influxdb: {url: http://x, version: 2}}]\n",
            (2, 27, "sinks[0].influxdb", "influx_needs"),
        ),
        ("site: a\nalarms: [{id: x, when: hot}]\n", (2, 24, "alarms[0].when", "condition")),
        (
            BUS + "  - {id: d, profile: xy-md02, unit: 300, every: 1s}\n",
            (6, 37, "buses[0].devices[0].unit", "too_large"),
        ),
        (
            BUS + "  - {id: d, profile: xy-md02, unit: 1, every: 1ms}\n",
            (6, 47, "buses[0].devices[0].every", "out_of_range"),
        ),
        (
            BUS + "  - {id: d, profile: vega-level-modbus, unit: 1, every: 1s}\n",
            (6, 5, "buses[0].devices[0]", "profile.choose_variant"),
        ),
        (
            BUS + "  - {id: d, profile: vega-level-modbus, unit: 1, every: 1s, variant: yd}\n",
            (6, 70, "buses[0].devices[0].variant", "profile.unknown_variant"),
        ),
        (
            BUS + "  - {id: d, profile: xy-md02, unit: 1, every: 1s, variant: x}\n",
            (6, 60, "buses[0].devices[0].variant", "profile.no_variants"),
        ),
    ],
)
def test_one_fault(tmp_path: Path, text: str, expected: tuple[int, int, str, str]) -> None:
    """Each rule of the configuration is one problem at the value that breaks it, and no other."""
    assert faults(tmp_path, text) == [expected]


def test_checks_of_a_device_with_a_fault(tmp_path: Path) -> None:
    """A device whose unit is wrong still has its id and its profile checked."""
    devices = "  - {id: d, profile: xy-md02, unit: 1, every: 1s}\n  - {id: d, profile: xy-md20, unit: x, every: 1}\n"
    assert faults(tmp_path, BUS + devices) == [
        (7, 10, "buses[0].devices[1].id", "id_twice"),
        (7, 22, "buses[0].devices[1].profile", "unknown_profile_near"),
        (7, 37, "buses[0].devices[1].unit", "want_whole_number"),
        (7, 47, "buses[0].devices[1].every", "duration"),
    ]
    without_profile = "  - {id: d, unit: 1, every: 1s}\n"
    assert faults(tmp_path, BUS + without_profile) == [(6, 5, "buses[0].devices[0].profile", "missing_key")]


def test_reserved_id(tmp_path: Path) -> None:
    """The box's own readings are those of `box`, so no bus and no device is called that."""
    text = "site: a\nbuses: [{id: box, tcp: x, devices: [{id: box, profile: xy-md02, unit: 1, every: 1s}]}]\n"
    assert [what for *_, what in faults(tmp_path, text)] == ["id_reserved", "id_reserved"]


def test_unit_on_a_serial_line(tmp_path: Path) -> None:
    """0 is broadcast on a line but common behind a TCP gateway."""
    device = "  - {id: d, profile: xy-md02, unit: 0, every: 1s}\n"
    assert not faults(tmp_path, BUS + device)
    serial = BUS.replace("tcp: 10.0.0.5", "serial: /dev/ttyUSB0")
    for number in (0, 253):
        there = serial + device.replace("unit: 0", f"unit: {number}")
        assert faults(tmp_path, there) == [(6, 37, "buses[0].devices[0].unit", "unit_on_line")]
    assert not faults(tmp_path, serial + device.replace("unit: 0", "unit: 252"))


def test_fault_of_a_site_profile(tmp_path: Path) -> None:
    """A profile of the site is checked with the configuration, and its faults carry its own file name."""
    folder = tmp_path / "devices"
    folder.mkdir()
    own = (ROOT / "drivers/devices/xy-md02.yaml").read_text(encoding="utf-8").replace("addr: 2,", "addr: two,")
    (folder / "our-md02.yaml").write_text(own.replace('id: "xy-md02"', 'id: "our-md02"'), encoding="utf-8")
    text = BUS + "  - {id: d, profile: our-md02, unit: 1, every: 1s}\nprofiles: [./devices]\n"
    _, problems = check_report(written(tmp_path, text))
    assert [(Path(p.file).name, p.path) for p in problems] == [("our-md02.yaml", "registers[1].addr")]


@pytest.mark.parametrize("language", ["vi", "en"])
def test_printed_problem(tmp_path: Path, language: str) -> None:
    """A problem is printed as file:line:column: path: sentence, in the language asked for."""
    text = texts(language, strict=True)
    file = written(tmp_path, "site: a\nbuses: [{id: b, tcp: x, baud: no}]\nx: 1\n")
    _, problems = check_report(file)
    lines = render(problems, text)
    assert lines[0].startswith(f"{file}:2:31: buses[0].baud: ")
    assert lines[1].startswith(f"{file}:3:1: x: ")
    assert all(line.rstrip()[-1] in ".?" for line in lines)
    broken = written(tmp_path, "site: [a\n")
    assert render(check_report(broken)[1], text)[0].startswith(f"{broken}:2:1: site: ")


def test_mutations_of_the_contract_file(tmp_path: Path) -> None:
    """Whatever is typed into the file, it loads or is refused with problems that can be printed, within a second."""
    chance = random.Random(7)
    text = texts("vi", strict=True)
    for _ in range(300):
        mutated = list(CONTRACT)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(mutated))
            mutated[at : at + chance.choice((0, 1, 1, 8, 60))] = chance.choice(
                ["", "x", ":", "\t", "[", "}", "&a ", "*a", "!!x ", "- ", "\n", '"', "0", " ", "null", "'"]
            )
        began = time.perf_counter()
        _, problems = check_report(written(tmp_path, "".join(mutated)))
        assert time.perf_counter() - began < 1
        assert all(re.match(r".+:\d+:\d+: .+: .+", line) for line in render(problems, text))


def test_refused_configuration(tmp_path: Path) -> None:
    """`load` raises what `check_report` lists."""
    with pytest.raises(Problems):
        load(written(tmp_path, "site: 5\n"))
