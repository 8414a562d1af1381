"""`edge net` against real servers, right ones and wrong ones: which rung is red, and what it says."""

from __future__ import annotations

import ast
import asyncio
import http.server
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import aiomqtt
import pytest

from drivers.mqtt_seam import Link, Wanted
from edge_agent import net, net_show
from edge_agent.__main__ import main
from edge_agent.demo_servers import Mosquitto, free_port
from edge_agent.net import verdict
from edge_agent.net_show import Answer, paragraph
from edge_agent.text import texts
from tests.edge_agent.net_box import PASSWORD, Box, on_a_terminal, said, serving, states, with_secrets


@pytest.fixture
def box(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Box:
    """With the secrets `pass` and `other` in the environment."""
    return with_secrets(Box(tmp_path, capsys), monkeypatch)


# --- brokers ----------------------------------------------------------------------------------------------------------


def test_broker_with_our_settings(box: Box, mosquitto: Mosquitto) -> None:
    """A broker set up as config/mosquitto/edge.conf says keeps every message: exit code 0."""
    code, answer = box.broker(mosquitto.url).net()
    assert (code, answer.verdict) == (0, "ok")
    assert states(answer.targets[0]) == dict.fromkeys(("name", "tcp", "sign_in", "keeps", "ahead"), "ok")


def test_broker_with_its_own_defaults(box: Box, tmp_path: Path) -> None:
    """A broker that drops what comes while the box is away is named, with the setting to change: exit code 1."""
    with Mosquitto(tmp_path, config="") as server:
        code, answer = box.broker(server.url, "old").net()
    [report] = answer.targets
    assert (code, states(report)["keeps"]) == (1, "attention")
    assert said(report, "keeps").startswith("old: ")
    assert "max_queued_messages" in said(report, "keeps")


def test_receive_maximum_that_is_too_small(box: Box, mosquitto: Mosquitto) -> None:
    """Where our own setting makes the broker wait, that is said, and not the broker accused."""
    report = box.broker(mosquitto.url, receive_maximum="100").only()
    assert (states(report)["keeps"], states(report)["ahead"]) == ("ok", "attention")
    assert "receive_maximum is 100" in said(report, "ahead")


@pytest.mark.parametrize(("secret", "state"), [("pass", "ok"), ("other", "failed")])
def test_broker_with_passwords(box: Box, tmp_path: Path, secret: str, state: str) -> None:
    """The right password opens; with a wrong one the rungs above are not tried, and no password is printed."""
    with Mosquitto(tmp_path, passwords={"edge": PASSWORD}) as server:
        code, answer = box.broker(server.url, username="edge", password=f"!secret {secret}").net()
    [report] = answer.targets
    assert (code, states(report)["sign_in"]) == (0 if state == "ok" else 2, state)
    assert states(report)["keeps"] == ("ok" if state == "ok" else "left_out")
    assert "field" in said(report, "sign_in") or state == "ok"


def test_broker_without_its_secret(box: Box, mosquitto: Mosquitto) -> None:
    """A secret that is not set is named, and where to put it."""
    report = box.broker(mosquitto.url, username="edge", password="!secret not-there").only()
    assert states(report)["sign_in"] == "failed"
    assert "EDGE_SECRET_NOT_THERE" in said(report, "sign_in")


def test_broker_that_lets_us_only_read(box: Box, tmp_path: Path) -> None:
    """Where our user may not publish, the broker is not accused of dropping messages."""
    rights = tmp_path / "rights"
    rights.write_text("topic read #\n", encoding="utf-8")
    with Mosquitto(tmp_path, extra=f"acl_file {rights}\n") as server:
        code, answer = box.broker(server.url).net()
    assert code == 0
    assert states(answer.targets[0])["keeps"] == "left_out"
    assert "edge-probe/#" in said(answer.targets[0], "keeps")


def test_broker_with_the_agent_on_it(box: Box, mosquitto: Mosquitto) -> None:
    """The check takes a name of its own: a client under the configured one stays connected."""

    async def beside() -> tuple[int, bool]:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="c-field") as agent:
            code, _ = await asyncio.to_thread(box.broker(mosquitto.url).net)
            await agent.publish("still/there", b"1", qos=1, timeout=2)
            return code, True

    assert asyncio.run(beside()) == (0, True)


def test_uplink_by_mqtt(box: Box, mosquitto: Mosquitto) -> None:
    """A sink whose part is not built yet is reached as far as it goes."""
    report = box.uplink(mosquitto.url).only()
    assert (report.kind, states(report)["sign_in"], states(report)["stored"]) == ("sink", "ok", "left_out")


# --- ways -------------------------------------------------------------------------------------------------------------


def test_nothing_listening(box: Box) -> None:
    """A closed port is red at the connection, for a broker and a database: exit code 2."""
    port = free_port()
    box.broker(f"mqtt://127.0.0.1:{port}").sink(f"http://127.0.0.1:{port}", version="1", database="city")
    code, answer = box.net()
    assert (code, answer.verdict) == (2, "failed")
    for report in answer.targets:
        assert (states(report)["tcp"], states(report)["sign_in"]) == ("failed", "left_out")
        assert str(port) in said(report, "tcp")


def test_host_that_does_not_answer(box: Box) -> None:
    """A host behind a closed firewall is given up within seconds, as silent."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # Once the queue of a listener is full, Linux drops further requests, as a firewall does.
        crowd = [socket.socket() for _ in range(3)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        begun = time.monotonic()
        report = box.broker(f"mqtt://127.0.0.1:{deaf.getsockname()[1]}").only()
        for each in crowd:
            each.close()
    assert states(report)["tcp"] == "failed"
    assert "does not answer" in said(report, "tcp")
    assert time.monotonic() - begun < 6


def test_name_that_does_not_exist(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt host is red at its name, which the sentence repeats. What lies below is `test_own_rungs.py`'s."""
    monkeypatch.setattr(net, "is_beyond", lambda _: False)
    report = box.broker("mqtt://no-such-host.invalid").only()
    assert states(report)["name"] == "failed"
    assert "no-such-host.invalid" in said(report, "name")


class _Page(http.server.BaseHTTPRequestHandler):
    """A web page that repeats what it was sent."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(f"{self.path} {self.headers}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"<h1>Welcome</h1>{self.headers}".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_web_page_instead_of_a_server(box: Box) -> None:
    """A sign-in page of the network is neither taken for a database nor for a broker, and never sees the token."""
    _Page.seen = []
    with serving(_Page) as port:
        box.sink(f"http://127.0.0.1:{port}", version="2", bucket="city", token="!secret pass")
        code, answer = box.broker(f"mqtt://127.0.0.1:{port}").net()
    broker, sink = answer.targets
    assert code == 2
    assert (states(sink)["answers"], states(sink)["stored"]) == ("failed", "left_out")
    assert "not as a database" in said(sink, "answers")
    assert states(broker)["sign_in"] == "failed"
    assert "not as an MQTT broker" in said(broker, "sign_in")
    assert len(_Page.seen) == 1
    assert PASSWORD not in _Page.seen[0]


# --- TLS --------------------------------------------------------------------------------------------------------------


def _certificate(folder: Path, days: int) -> str:
    """Settings of a listener with a certificate of its own for localhost, good for so many days."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key} -out {cert}"
    words += f" -days {days} -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True, timeout=20)
    return f"certfile {cert}\nkeyfile {key}\n"


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (5, "attention")])
def test_certificate(box: Box, tmp_path: Path, days: int, state: str) -> None:
    """A trusted certificate is shown with the days it has left; few of them need attention."""
    with Mosquitto(tmp_path, extra=_certificate(tmp_path, days)) as server:
        url = f"mqtts://localhost:{server.port}"
        report = box.broker(url, ca=str(tmp_path / "cert.pem")).only()
    assert states(report) == dict.fromkeys(("name", "tcp", "sign_in", "keeps", "ahead"), "ok") | {"tls": state}
    assert str(days - 1) in said(report, "tls")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_certificate_of_a_stranger(box: Box, tmp_path: Path) -> None:
    """A certificate that no known authority signed is red, and the key `ca` is named."""
    with Mosquitto(tmp_path, extra=_certificate(tmp_path, 90)) as server:
        report = box.broker(f"mqtts://localhost:{server.port}").only()
    assert (states(report)["tls"], states(report)["sign_in"]) == ("failed", "left_out")
    assert "key ca" in said(report, "tls")


def test_tls_where_there_is_none(box: Box, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A port without TLS is red at TLS, and so is a certificate file that is not there."""
    box.broker(mosquitto.url.replace("mqtt:", "mqtts:"), "one")
    box.broker(mosquitto.url.replace("mqtt:", "mqtts:"), "two", ca=str(tmp_path / "absent.pem"))
    one, two = box.net()[1].targets
    assert (states(one)["tls"], states(two)["tls"]) == ("failed", "failed")
    assert "absent.pem" in said(two, "tls")


# --- the command ------------------------------------------------------------------------------------------------------


def test_verdicts() -> None:
    """Failed only where no ladder leads up."""
    assert verdict([]) == verdict(["ok", "ok"]) == "ok"
    assert verdict(["ok", "failed"]) == verdict(["attention"]) == verdict(["failed", "attention"]) == "attention"
    assert verdict(["failed", "failed"]) == "failed"


def test_configuration_without_targets(box: Box) -> None:
    """There is nothing to check, and that is no fault."""
    assert box.net() == (0, Answer("ok", []))


def test_configuration_that_is_wrong(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused as by `edge check`: exit code 2."""
    box.file.write_text("site: cl-02\nmqtt: 3\n", encoding="utf-8")
    assert main(["net", "-c", str(box.file)]) == 2
    assert f"{box.file}:2:7: mqtt: " in capsys.readouterr().err


def test_text_for_people(box: Box, mosquitto: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each rung, the sentence of a red one below it, what was not tried, and the verdict."""
    box.broker(mosquitto.url).broker(f"mqtt://127.0.0.1:{free_port()}", "gone")
    assert main(["net", "-c", str(box.write())]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"field  {mosquitto.url}"
    assert re.fullmatch(r"  ● name +\d+ ms  an address, no name needed", lines[1])
    assert any(line.startswith("  ✖ connection") for line in lines)
    assert "  - not tried: sign-in, keeps messages, sends ahead" in lines
    assert lines[-1] == "▲ Needs attention: 1."
    assert max(map(len, lines)) <= net_show.MOST_COLUMNS


def test_long_sentence() -> None:
    """It is broken between words, but never within a number."""
    broken = paragraph("chỉ giữ 1 000 trên 1 500 bản tin", 26)
    assert broken == "      chỉ giữ 1 000 trên\n      1 500 bản tin"


def test_rung_in_progress_on_a_terminal(box: Box, mosquitto: Mosquitto) -> None:
    """What is being tried shows, and gives way to the answer."""
    code, screen = on_a_terminal(["net", "-c", str(box.broker(mosquitto.url).write())])
    assert code == 0
    assert "  … keeps messages\r\x1b[K  \x1b[32m●\x1b[0m keeps messages" in screen


def test_interrupted_check(box: Box, mosquitto: Mosquitto) -> None:
    """Ctrl-C in the middle ends it soon, without a stack trace, and leaves no session with the broker."""
    command = [sys.executable, "-m", "edge_agent", "net", "-c", str(box.broker(mosquitto.url).write())]
    for pause in (0.10, 0.12, 0.14, 0.16):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            while "sign-in" not in process.stdout.readline():
                assert process.poll() is None
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
            process.wait(5)
            assert process.stderr.read() == ""
    visitors = set(re.findall(r" as (edge-\S+) ", mosquitto.tail(100_000)))
    assert visitors
    assert [name for name in visitors if asyncio.run(_remembered(mosquitto, name))] == []


async def _remembered(server: Mosquitto, client_id: str) -> bool:
    """True when the broker still has a session under this name."""
    link = Link(Wanted("127.0.0.1", server.port, client_id, None, None, None, 0, 20, 1000, 30), print, lambda: None)
    await link.open()
    link.close()
    return link.session_present


# --- sentences --------------------------------------------------------------------------------------------------------

FOLDER = Path(net.__file__).parent
ALWAYS = {"where", "broker", "sink", "database"}
"""Facts of the target, which are there without being given."""


def _written_out(*functions: str) -> Iterator[tuple[str, set[str]]]:
    """(first word, names of the facts) of every call of these functions; both words where there is a choice."""
    for name in ("ladder.py", "own_rungs.py", "rungs.py", "influx_setup.py", "net.py", "sinks/influx.py"):
        for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
                parts = [part for first in node.args[:1] for part in ast.walk(first)]
                words = [part.value for part in parts if isinstance(part, ast.Constant)]
                facts = {str(each.arg) for each in node.keywords}
                yield from ((word, facts) for word in words if isinstance(word, str))


@pytest.mark.parametrize("language", ["vi", "en"])
def test_sentences_of_the_rungs(language: str) -> None:
    """Every finding has its sentence, and gives the facts that it names; every rung has its name."""
    sentences = texts(language).sentences
    found = list(_written_out("Red", "holds", "attention", "left_out"))
    assert len(found) > 40
    for what, facts in found:
        wanted = {name for _, name, _, _ in Formatter().parse(sentences[f"net.{what}"]) if name}
        assert wanted <= facts | ALWAYS, what
    assert {f"net.{what}" for what, _ in _written_out("SinkDown")} <= set(sentences)
    rungs = {f"net.rung.{name}" for name, _ in _written_out("Step")}
    assert rungs == {key for key in sentences if key.startswith("net.rung.")}
