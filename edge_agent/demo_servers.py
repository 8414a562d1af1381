"""Real mosquitto, InfluxDB and victoria-metrics from Debian, started without root on free ports of 127.0.0.1.

`edge demo` and the tests use the same classes. A server's port and data outlive `stop()` and `kill()`, so that
`start()` brings the same server back. What it printed is in `<folder>/<name>.log`, and its tail in every error.
"""

from __future__ import annotations

import getpass
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

EDGE_CONF = Path(__file__).parent.parent / "config" / "mosquitto" / "edge.conf"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
HTTP_TIMEOUT = 10.0

Cell = str | int | float | bool | None


class MissingServer(RuntimeError):
    """A server is not installed: skip what needs it, or install `package`."""

    def __init__(self, binary: str, package: str) -> None:
        """`package` is the name in Debian."""
        super().__init__(f"{binary} is not installed: apt-get install {package}")
        self.binary = binary
        self.package = package


class ServerFailed(RuntimeError):
    """A server did not start or refused a request; the message carries its own words."""


class Series(msgspec.Struct, frozen=True):
    """One series of victoria-metrics, as `/api/v1/export` gives it."""

    metric: Mapping[str, str]
    """Labels; `__name__` is `measurement_field`."""
    values: Sequence[float | None]
    timestamps: Sequence[int]
    """Milliseconds."""


class Server:
    """One server process: a command line and a way to see that it answers."""

    name = ""
    binary = ""
    package = ""

    def __init__(self, folder: Path) -> None:
        """`folder` must exist; the server keeps everything below it."""
        self.folder = folder
        self.port = free_port()
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Arguments after the program's name; writes the server's configuration first where it has one."""
        raise NotImplementedError

    def answers(self) -> bool:
        """True once the server does its work."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises ServerFailed when it does not run."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until it answers. Raises MissingServer or ServerFailed. Nothing happens when it runs."""
        if self.running:
            return self
        program = _find(self.binary, self.package)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_us(), program, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                process_group=0,  # Ctrl-C reaches the demo only, which stops its servers in order.
            )
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """End it in an orderly way; SIGKILL when it does not go."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start again on the same port and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if not self.running:
                raise ServerFailed(f"{self.name} ended at once:\n{self.tail()}")
            if self.answers():
                return
            time.sleep(0.02)
        self.kill()
        raise ServerFailed(f"{self.name} did not answer within {START_TIMEOUT:g} s:\n{self.tail()}")

    def tail(self, size: int = 2000) -> str:
        """The end of what the server printed."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""


class Mosquitto(Server):
    """MQTT broker with the settings of `config/mosquitto/edge.conf`, open to this machine only."""

    name = "mosquitto"
    binary = "mosquitto"
    package = "mosquitto"

    def __init__(
        self, folder: Path, *, config: str | None = None, extra: str = "", passwords: Mapping[str, str] | None = None
    ) -> None:
        """`config`: text instead of edge.conf ("" for mosquitto's defaults); `extra`: further lines, which win.

        With `passwords` (user -> password) nobody gets in without one.
        """
        super().__init__(folder)
        self.config = EDGE_CONF.read_text(encoding="utf-8") if config is None else config
        self.extra = extra
        self.passwords = dict(passwords or {})

    @property
    def url(self) -> str:
        """Address for `broker:`."""
        return f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Write the configuration; where a setting stands twice the later line wins."""
        data = self.folder / "mosquitto"
        data.mkdir(exist_ok=True)
        lines = [
            self.config,
            # Started by root, mosquitto would change to its own user, who may not write here.
            f"user {getpass.getuser()}",
            f"persistence_location {data}/",
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if self.passwords else 'true'}",
        ]
        if self.passwords:
            lines.append(f"password_file {self._password_file()}")
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join([*lines, self.extra, ""]), encoding="utf-8")
        return ["-c", str(path)]

    def answers(self) -> bool:
        """True when the port is open."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _password_file(self) -> Path:
        path = self.folder / "mosquitto.passwd"
        path.touch(mode=0o600)
        program = _find("mosquitto_passwd", self.package)
        for user, password in self.passwords.items():
            subprocess.run([program, "-b", str(path), user, password], check=True, capture_output=True, timeout=10)
        return path


class InfluxDB(Server):
    """InfluxDB 1.6: writes by `/write`, questions in InfluxQL."""

    name = "influxdb"
    binary = "influxd"
    package = "influxdb"

    def __init__(self, folder: Path) -> None:
        """A second port serves InfluxDB's own back-ups; nobody here uses it."""
        super().__init__(folder)
        self.rpc_port = free_port()

    @property
    def url(self) -> str:
        """Address for `influxdb: {url: …}`."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Write the configuration."""
        data = self.folder / "influxdb"
        path = self.folder / "influxdb.conf"
        path.write_text(
            f"""reporting-disabled = true
bind-address = "127.0.0.1:{self.rpc_port}"
[meta]
  dir = "{data}/meta"
[data]
  dir = "{data}/data"
  wal-dir = "{data}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{self.port}"
  log-enabled = false
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
[logging]
  suppress-logo = true
  level = "warn"
""",
            encoding="utf-8",
        )
        return ["run", "-config", str(path)]

    def answers(self) -> bool:
        """True when `/ping` does."""
        return _alive(f"{self.url}/ping")

    def create_database(self, name: str) -> None:
        """Create it; nothing happens where it is there already."""
        self.query(f'CREATE DATABASE "{name}"')

    def drop_database(self, name: str) -> None:
        """Delete it with everything in it."""
        self.query(f'DROP DATABASE "{name}"')

    def query(self, question: str, database: str = "") -> list[dict[str, Cell]]:
        """Rows of all series: columns by name, tags of GROUP BY among them, `time` in milliseconds.

        Raises ServerFailed with the server's words.
        """
        fields = urllib.parse.urlencode({"q": question, "db": database, "epoch": "ms"})
        answer = msgspec.json.decode(_request(f"{self.url}/query", fields.encode()), type=_Answer)
        rows: list[dict[str, Cell]] = []
        for result in answer.results:
            if result.error:
                raise ServerFailed(f"{question}: {result.error}")
            for series in result.series:
                rows += [series.tags | dict(zip(series.columns, row, strict=True)) for row in series.values]
        return rows


class _Rows(msgspec.Struct):
    columns: list[str]
    name: str = ""
    tags: dict[str, Cell] = {}
    values: list[list[Cell]] = []


class _Result(msgspec.Struct):
    series: list[_Rows] = []
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Result] = []


class VictoriaMetrics(Server):
    """victoria-metrics: writes by `/write` and `/api/v2/write`, reading back by export."""

    name = "victoria-metrics"
    binary = "victoria-metrics"
    package = "victoria-metrics"

    @property
    def url(self) -> str:
        """Address for `influxdb: {url: …}`."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Keep history of any age, and one sample of those with the same stamp: sent twice is stored once."""
        return [
            f"-storageDataPath={self.folder}/victoria-metrics",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-dedup.minScrapeInterval=1ms",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=128MB",
            "-loggerLevel=WARN",
        ]

    def answers(self) -> bool:
        """True when `/health` does."""
        return _alive(f"{self.url}/health")

    def flush(self) -> None:
        """Make everything written so far readable; by itself that takes some seconds."""
        _request(f"{self.url}/internal/force_flush")

    def export(self, match: str = '{__name__!=""}') -> list[Series]:
        """All samples of the series that `match` selects, after a flush."""
        self.flush()
        fields = urllib.parse.urlencode({"match[]": match})
        return msgspec.json.decode(_as_list(_request(f"{self.url}/api/v1/export?{fields}")), type=list[Series])


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, below the range that outgoing connections are given."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def installed(servers: Sequence[type[Server]] = (Mosquitto, InfluxDB, VictoriaMetrics)) -> dict[str, bool]:
    """Debian package -> whether its program is on this machine."""
    return {server.package: _search(server.binary) is not None for server in servers}


def dies_with_us() -> list[str]:
    """Words before a command: the kernel ends it with the thread that started it, even after kill -9."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _search(binary: str) -> str | None:
    # /usr/sbin, where Debian puts mosquitto, is not in the path of ordinary users.
    return shutil.which(binary) or shutil.which(binary, path="/usr/sbin:/usr/local/sbin:/sbin")


def _find(binary: str, package: str) -> str:
    if (found := _search(binary)) is None:
        raise MissingServer(binary, package)
    return found


def _alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return 200 <= int(answer.status) < 300
    except OSError:
        return False


def _request(url: str, body: bytes | None = None) -> bytes:
    """GET, or POST of a form. Raises ServerFailed with what the server said."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=HTTP_TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as refused:
        words = refused.read().decode(errors="replace")
        raise ServerFailed(f"{url}: {refused.code} {words.strip()}") from None
    except OSError as unreachable:
        raise ServerFailed(f"{url}: {unreachable}") from None


def _as_list(lines: bytes) -> bytes:
    return b"[" + b",".join(lines.splitlines()) + b"]"
