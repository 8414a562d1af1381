"""`edge net` against databases: InfluxDB 1.6, victoria-metrics, and an InfluxDB 2 by its documented contract."""

from __future__ import annotations

import http.server
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from tests.edge_agent.net_box import PASSWORD, Box, on_a_terminal, said, serving, states, with_secrets

SINK = ("name", "tcp", "answers", "sign_in", "database", "stored", "once")


@pytest.fixture
def box(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Box:
    """With the secrets `pass` and `other` in the environment."""
    return with_secrets(Box(tmp_path, capsys), monkeypatch)


# --- InfluxDB 1 -------------------------------------------------------------------------------------------------------


def test_database_that_is_there(box: Box, shared_influxdb: InfluxDB, database: str) -> None:
    """Every rung holds, and nothing of the test reading stays."""
    code, answer = box.sink(shared_influxdb.url, version="1", database=database).net()
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok"))
    assert "InfluxDB 1." in said(answer.targets[0], "answers")
    assert shared_influxdb.query("SHOW SERIES", database) == []


def test_database_that_is_missing(box: Box, shared_influxdb: InfluxDB) -> None:
    """A missing database is named, with both ways to make it, and is not made unasked."""
    report = box.sink(shared_influxdb.url, version="1", database="nowhere").only()
    assert (states(report)["database"], states(report)["stored"]) == ("failed", "left_out")
    assert "nowhere" in said(report, "database")
    assert "edge net --create" in said(report, "database")
    assert "nowhere" not in _databases(shared_influxdb)


def test_database_made_without_a_question(box: Box, influxdb: InfluxDB) -> None:
    """`--create --yes` makes it, whatever its name; the rungs above are then tried."""
    code, answer = box.sink(influxdb.url, version="1", database="it's 1").net("--create", "--yes")
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok"))
    assert "it's 1" in _databases(influxdb)


def test_database_to_be_made_without_a_terminal(box: Box, influxdb: InfluxDB) -> None:
    """Without a terminal to ask on, `--create` alone makes nothing and says what is lacking."""
    report = box.sink(influxdb.url, version="1", database="city").only("--create")
    assert states(report)["database"] == "failed"
    assert "--yes" in said(report, "database")
    assert _databases(influxdb) == set()


@pytest.mark.parametrize(("typed", "made"), [("y", True), ("có", True), ("n", False), ("", False)])
def test_database_to_be_made_on_a_terminal(box: Box, influxdb: InfluxDB, typed: str, made: bool) -> None:
    """The question stands on the terminal, and only a yes makes the database."""
    file = box.sink(influxdb.url, version="1", database="city").write()
    code, screen = on_a_terminal(["net", "-c", str(file), "--create"], "[y/N]", f"{typed}\n")
    assert "Create the database “city”" in screen
    assert (code, "city" in _databases(influxdb)) == (0 if made else 2, made)


def _databases(server: InfluxDB) -> set[str]:
    return {str(row["name"]) for row in server.query("SHOW DATABASES")} - {"_internal"}


class _Guarded(InfluxDB):
    """An InfluxDB that asks for a name and password."""

    def command(self) -> list[str]:
        words = super().command()
        path = Path(words[-1])
        path.write_text(path.read_text(encoding="utf-8").replace("[http]", "[http]\n  auth-enabled = true"), "utf-8")
        return words

    def do(self, question: str, user: str = "") -> None:
        """As the administrator."""
        command = ["curl", "-sf", "-G", f"{self.url}/query", "-X", "POST", "--data-urlencode", f"q={question}"]
        subprocess.run([*command, *(["-u", user] if user else [])], check=True, capture_output=True, timeout=10)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[_Guarded]:
    """With the users `writer` (may write to city) and `guest` (may nothing)."""
    with _Guarded(tmp_path) as server:
        server.do("CREATE USER boss WITH PASSWORD 'b' WITH ALL PRIVILEGES")
        for question in ("CREATE DATABASE city", "GRANT WRITE ON city TO writer"):
            for user in ("writer", "guest") if question.startswith("CREATE") else ():
                server.do(f"CREATE USER {user} WITH PASSWORD '{PASSWORD}'", "boss:b")
            server.do(question, "boss:b")
        yield server


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_user_who_may_only_write(box: Box, guarded: _Guarded) -> None:
    """Such a user is enough: what cannot be looked at is left out."""
    settings = {"version": "1", "database": "city", "username": "writer", "password": "!secret pass"}
    code, answer = box.sink(guarded.url, **settings).net()
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok") | {"once": "left_out"})


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_user_who_is_not_let_in(box: Box, guarded: _Guarded) -> None:
    """A wrong password is red at the sign-in; a user without rights does not see the database and cannot make it."""
    common = {"version": "1", "database": "city"}
    box.sink(guarded.url, "wrong", **common, username="writer", password="!secret other")
    box.sink(guarded.url, "guest", **common, username="guest", password="!secret pass")
    box.sink(guarded.url, "nobody", **common)
    wrong, guest, nobody = box.net("--create", "--yes")[1].targets
    assert (states(wrong)["sign_in"], states(nobody)["sign_in"]) == ("failed", "failed")
    assert "authorization failed" in said(wrong, "sign_in")
    assert (states(guest)["sign_in"], states(guest)["database"]) == ("ok", "failed")
    assert "requires admin privilege" in said(guest, "database")


def test_version_two_asked_of_version_one(box: Box, shared_influxdb: InfluxDB) -> None:
    """An InfluxDB 1 that is configured as 2 is recognised, with what to write instead."""
    report = box.sink(shared_influxdb.url, version="2", bucket="city").only()
    assert states(report)["answers"] == "failed"
    assert "version: 1" in said(report, "answers")


# --- victoria-metrics -------------------------------------------------------------------------------------------------


class _WithoutDedup(VictoriaMetrics):
    """As it comes, or with another window."""

    window = ""

    def command(self) -> list[str]:
        words = [word for word in super().command() if "dedup" not in word]
        return [*words, f"-dedup.minScrapeInterval={self.window}"] if self.window else words


def test_victoria_metrics_with_our_settings(box: Box, victoria_metrics: VictoriaMetrics) -> None:
    """It is recognised, needs no database, and stores once what is sent twice."""
    code, answer = box.sink(victoria_metrics.url, version="2", bucket="city").net()
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok") | {"database": "left_out"})
    assert said(answer.targets[0], "answers") == "victoria-metrics"


@pytest.mark.parametrize(("window", "words"), [("", "stores a reading twice"), ("60s", "keeps only one")])
def test_victoria_metrics_with_another_window(box: Box, tmp_path: Path, window: str, words: str) -> None:
    """Without deduplication, or with one that swallows readings, the option to set is named: exit code 1."""
    server = _WithoutDedup(tmp_path)
    server.window = window
    with server:
        code, answer = box.sink(server.url, version="1", database="city").net()
    assert (code, states(answer.targets[0])["once"]) == (1, "attention")
    assert "-dedup.minScrapeInterval" in said(answer.targets[0], "once")
    assert words in said(answer.targets[0], "once")


# --- InfluxDB 2, by its documented contract (no such server is in Debian) ---------------------------------------------


class _Two(http.server.BaseHTTPRequestHandler):
    """`/ping`, `/health`, `/api/v2/{buckets,orgs,write,delete}` and `/query` of docs.influxdata.com/influxdb/v2/api."""

    buckets: set[str]
    writes: list[bytes]
    deleted: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._say(204, b"", version="v2.7.6")
        elif self.path == "/health":
            self._say(200, b'{"name":"influxdb","status":"pass","checks":[]}')
        elif self.headers["Authorization"] != f"Token {PASSWORD}":
            words = f"unauthorized access with {self.headers['Authorization']}"
            self._say(401, msgspec.json.encode({"code": "unauthorized", "message": words}))
        elif self.path.startswith("/api/v2/orgs"):
            self._say(200, b'{"orgs":[{"id":"0123456789abcdef","name":"city"}]}')
        elif self.path.startswith("/api/v2/buckets"):
            found = [{"name": name, "retentionRules": []} for name in self.buckets if f"name={name}" in self.path]
            self._say(200, msgspec.json.encode({"buckets": found}))
        else:
            self._say(200, b'{"results":[{"series":[{"values":[[1,1]]}]}]}' if self.writes else b'{"results":[{}]}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.startswith("/api/v2/buckets"):
            self.buckets.add(msgspec.json.decode(body)["name"])
            self._say(201, b'{"name":"city","retentionRules":[]}')
        elif self.path.startswith("/api/v2/delete"):
            self.deleted.append(msgspec.json.decode(body)["predicate"])
            self._say(204, b"")
        elif self.buckets:
            self.writes.append(body)
            self._say(204, b"")
        else:
            self._say(404, b'{"code":"not found","message":"bucket \\"city\\" not found"}')

    def _say(self, status: int, body: bytes, version: str = "") -> None:
        self.send_response(status)
        if version:
            self.send_header("X-Influxdb-Version", version)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def two() -> Iterator[str]:
    """Address of an InfluxDB 2 without buckets."""
    _Two.buckets, _Two.writes, _Two.deleted = set(), [], []
    with serving(_Two) as port:
        yield f"http://127.0.0.1:{port}"


def test_bucket_that_is_there(box: Box, two: str) -> None:
    """Every rung holds, and the test reading is taken away."""
    _Two.buckets = {"city"}
    code, answer = box.sink(two, version="2", bucket="city", org="city", token="!secret pass").net()
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok"))
    assert _Two.deleted == ['_measurement="edge_probe" AND site="cl-02"']


def test_bucket_that_is_missing(box: Box, two: str) -> None:
    """What a token does not see may still be written to; the server's answer to the test reading decides."""
    report = box.sink(two, version="2", bucket="city", org="city", token="!secret pass").only()
    assert (states(report)["database"], states(report)["stored"]) == ("left_out", "failed")
    assert "no database “city”" in said(report, "stored")


def test_bucket_made_without_a_question(box: Box, two: str) -> None:
    """`--create --yes` makes a bucket."""
    settings = {"version": "2", "bucket": "city", "org": "city", "token": "!secret pass"}
    code, answer = box.sink(two, **settings).net("--create", "--yes")
    assert (code, states(answer.targets[0])) == (0, dict.fromkeys(SINK, "ok"))
    assert _Two.buckets == {"city"}


def test_token_that_is_wrong(box: Box, two: str) -> None:
    """A wrong token is red at the sign-in, with the server's words, but without the token that they repeat."""
    report = box.sink(two, version="2", bucket="city", org="city", token="!secret other").only()
    assert states(report)["sign_in"] == "failed"
    assert "“unauthorized access with Token •••”" in said(report, "sign_in")
