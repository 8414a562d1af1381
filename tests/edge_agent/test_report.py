"""No secret and no person leaves the box in a support bundle."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from edge_agent import config as configuration
from edge_agent.redact import HIDDEN, Redactor, secrets_of
from edge_agent.report import pack, without_agent

CONFIG = """
site: cl-02
state: ./state
mqtt:
  - {id: field, broker: "mqtts://b.example", username: box, password: !secret field-password,
     subscriptions: [{topic: a, decoder: json, points: {water.level_m: $.l}}]}
sinks:
  - {id: v1, influxdb: {url: "http://a:8086", version: 1, database: city, username: u, password: !secret v1-password}}
  - {id: v2, influxdb: {url: "http://a:8086", version: 2, bucket: city, token: !secret v2-token}}
"""
VALUES = {"field-password": "Mật khẩu/1+", "v1-password": 'abcd&"efgh=ijkl', "v2-token": "T0k3n==with.dots"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> configuration.Config:
    """A configuration whose secrets are set."""
    for name, value in VALUES.items():
        monkeypatch.setenv("EDGE_SECRET_" + name.upper().replace("-", "_"), value)
    (tmp_path / "agent.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "state").mkdir()
    return configuration.load(tmp_path / "agent.yaml")


def unpacked(raw: bytes) -> str:
    """Everything in a bundle."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers()]
        return "\n".join(file.read().decode() for file in files if file)


def written(value: str) -> tuple[str, ...]:
    """A value as it is, in a URL, in a sign-in header, in JSON."""
    return value, quote(value, safe=""), base64.b64encode(value.encode()).decode(), json.dumps(value)[1:-1]


def test_every_secret_of_the_configuration_is_found(config: configuration.Config) -> None:
    """Wherever in the model it stands."""
    assert {secret.name for secret in secrets_of(config)} == set(VALUES)


def test_bundle_has_no_secret_in_any_form(config: configuration.Config) -> None:
    """Neither as it is, nor as URLs, JSON or sign-in headers write it; the secrets' names stay: they are no secret."""
    forms = [form for v in VALUES.values() for form in written(v)]
    text = "\n".join(f"said {form} here" for form in forms)
    found = unpacked(pack({"log.txt": text, "agent.yaml": CONFIG}, Redactor(config)))
    assert not [form for form in forms if form in found]
    assert "!secret v2-token" in found


def test_names_to_sign_in_with_stay_on_the_box(tmp_path: Path) -> None:
    """Of brokers and sinks they are often people's: neither the file nor a log line has them, with a configuration
    that can be read and with one that cannot."""
    file = tmp_path / "agent.yaml"
    text = CONFIG.replace("username: box", "username: lan.nguyen").replace("username: u,", 'username: "tuấn",')
    file.write_text(text, encoding="utf-8")
    known = {"agent.yaml": text, "log.txt": "Not authorized user=lan.nguyen", "now.json": '{"username": "lan.nguyen"}'}
    found = unpacked(pack(known, Redactor(configuration.load(file))))
    found += unpacked(without_agent(None, file))
    assert "lan.nguyen" not in found
    assert "tuấn" not in found
    assert "b.example" in found


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET http://db/write?u=box&p=hunter2-xyz&db=city", "hunter2-xyz"),
        ("wss://hub/ws?ticket=abcDEF123&room=1", "abcDEF123"),
        ("https://hub/#token=abcDEF123", "abcDEF123"),
        ("https://hub/#k=1&token=abcDEF123", "abcDEF123"),
        ("mqtt://box:hunter2@broker:1883", "hunter2"),
        ("http://AbCdEf123456@broker/x", "AbCdEf123456"),
        ("Authorization: Token abc.def.ghi-123", "abc.def.ghi-123"),
        ("authorization: Bearer abcdefghijkl", "abcdefghijkl"),
        ("Authorization: Basic Ym94Omh1bnRlcjI=", "Ym94Omh1bnRlcjI="),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"),
        ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"),
        ("password: hunter2", "hunter2"),
        ('{"token": "hunter2 with blanks"}', "with blanks"),
        ("influx_token=hunter2", "hunter2"),
        ("pin: 1234", "1234"),
        ("mqtt:\n  - password: |\n      hunter2\n\n      and more\n    client_id: x", "hunter2"),
        ("mqtt:\n  - password: |\n      hunter2\n\n      and more\n    client_id: x", "more"),
        ("password: >-  # folded\n  hunter2", "hunter2"),
        ("password:\n  hunter2 and more", "more"),
        ("password: &it hunter2", "hunter2"),
        ("password: hunter2 and more\n  hunter3", "hunter3"),
        ("password: two words", "words"),
    ],
)
def test_forms_of_secrets_of_others(text: str, secret: str) -> None:
    """What is no secret of this configuration is known by its form."""
    hidden = Redactor(None)(text)
    assert secret not in hidden
    assert hidden.count("\n") == text.count("\n")
    assert HIDDEN in hidden


@pytest.mark.parametrize(
    "text",
    [
        "bus unreachable bus=line-1 where=/dev/ttyUSB0 error=No such file or directory",
        "password: !secret field-password",
        "- password: !secret field-password\n  client_id: x\nsite: cl-02",
        "  key: ./box.key",
        "http://db:8086/write?db=city&precision=ms",
        "the secret is not set",
        '{"point": "met-1.weather.temp_c", "value": 31.5}',
    ],
)
def test_other_text_stays(text: str) -> None:
    """What helps is not hidden."""
    assert Redactor(None)(text) == text


def test_people_are_numbers() -> None:
    """The audit shows who did two things alike, not who it was."""
    hide = Redactor(None, ["An", "Nguyễn Văn An", "binh"])
    assert hide("by=Nguyễn Văn An user=binh, then An and binhs") == "by=person-2 user=person-3, then person-1 and binhs"


def test_bundle_without_an_agent(config: configuration.Config, tmp_path: Path) -> None:
    """A faulty configuration with a password in it is told without the password."""
    file = tmp_path / "agent.yaml"
    file.write_text(CONFIG + "oops:\n  password: hunter2\n", encoding="utf-8")
    found = unpacked(without_agent(None, file))
    assert "hunter2" not in found
    assert "oops:" in found
