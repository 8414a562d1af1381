"""Plain lines on a pseudo terminal, typed key by key: what is typed arrives whole, and what is offered can be done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_technician import CONFIG, PATIENCE, Agent, Line
from tests.waiting import wait_until

VT100 = {"TERM": "vt100", "LANG": "vi_VN.UTF-8"}
BUS = "buses: [{id: gone, tcp: '127.0.0.1:1', devices: [{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}]}]\n"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A running agent with a bus whose other end is not there."""
    found = Agent(tmp_path_factory.mktemp("plain"), CONFIG + BUS)
    yield found
    found.stop()


class Typist:
    """Somebody at the keyboard, who looks at what the line shows."""

    def __init__(self, line: Line) -> None:
        """`line`: an open terminal."""
        self.line, self.begun = line, 0

    def press(self, keys: str, *wanted: str) -> str:
        """Type, and wait until all these words have come in answer."""
        self.begun = len(self.line.seen)
        self.line.type(keys)
        found = wait_until(lambda: all(words in self.line.seen[self.begun :] for words in wanted), PATIENCE)
        assert found, (keys, wanted, self.line.seen[self.begun :])
        return self.line.seen[self.begun :]

    def letters(self, word: str) -> None:
        """Type a word letter by letter, each when the one before is shown."""
        for letter in word:
            self.press(letter, letter)


@pytest.fixture
def typist(agent: Agent, request: pytest.FixtureRequest) -> Iterator[Typist]:
    """On a plain terminal, the first screen shown; started with the words that the test is marked with."""
    line = Line(agent.file, VT100, *getattr(request, "param", ()))
    try:
        line.until("-- ")
        yield Typist(line)
    finally:
        line.close()


def test_filter_typed_letter_by_letter(typist: Typist) -> None:
    """Every letter reaches the filter, in its order, `q` among them; Backspace takes the last one away."""
    typist.press("2", "power-1", "-- ")
    typist.press("/", "/")
    typist.letters("uptimeq")
    typist.press("\x7f", "\b")
    shown = typist.press("\r", "== Điểm ==", "/uptime\r\n", "-- 1-8")
    assert "box.box.uptime_s" in shown
    assert "power-1" not in shown.partition("== Điểm")[2]
    typist.press("\x7f", "== Tổng quan ==")


def test_line_opened_by_its_number(typist: Typist) -> None:
    """`.1` Enter opens the line marked 1, typed slowly or at once."""
    typist.press("2", "power-1", "-- ")
    typist.press(".", ".")
    typist.letters("1")
    typist.press("\r", "Giá trị")
    typist.press("\x7f", "== Điểm ==", "-- ")
    typist.press(".1\r", "Giá trị")


def test_arrows_are_no_letters(typist: Typist) -> None:
    """The letters of an arrow key do nothing: neither `A` applies a configuration nor does Esc go back."""
    typist.press("8", "== Máy ==", "-- ")
    shown = typist.press("\x1b[A\x1bOB\x1b[5~p", "đứng yên")
    assert "--maintain" not in shown
    assert "==" not in shown


def test_tools_run_as_lines(typist: Typist) -> None:
    """What the screens offer can be done: the ladder, a tool of the bench with its words changed, the bundle's name."""
    typist.press("5", "Bấm c", "-- ")
    typist.press("c", "edge net", "xong")
    typist.press("3", ".1 Enter", "-- ")
    typist.press(".5\r", "plan gone")
    typist.letters(" -h")
    typist.press("\r", "edge modbus plan gone -h", "xong")
    typist.press("r", "edge modbus plan gone -h", "xong")
    typist.press(".1\r", "read gone 1")
    typist.letters(" x y")
    typist.press("\r", "Cách dùng: edge", "không hiểu", "xong")
    typist.press("7v", "Cảnh báo và lỗi", "-- ")


def test_keys_of_the_full_screen_are_answered(typist: Typist) -> None:
    """What cannot work is said in a sentence, and the help does not offer it."""
    for key in "py:":
        typist.press(key, "Chế độ dòng")
    shown = typist.press("?", "thoát; việc đo")
    assert "bảng lệnh" not in shown
    assert "↑" not in shown


def test_other_language_in_whole(typist: Typist) -> None:
    """`l` changes the findings too, which are the agent's own sentences."""
    typist.press("l", "== Overview ==", "-- ")
    shown = typist.press("1", "127.0.0.1:1", "Try:", "-- ")
    assert "Thử:" not in shown
    assert "không" not in shown


@pytest.mark.parametrize("typist", [("--maintain", "An")], indirect=True)
def test_maintenance_on_plain_lines(typist: Typist) -> None:
    """A candidate is proposed, applied, seen counting down, and taken back, all by lines."""
    typist.line.until("An đang giữ quyền bảo trì.")
    file = typist.line.file
    candidate = file.with_name("agent.yaml.new")
    candidate.write_text(file.read_text(encoding="utf-8").replace("Sao Đỏ", "Chí Minh"), encoding="utf-8")
    typist.press("d", str(candidate))
    typist.letters("x")
    typist.press("\r", "Không có tệp")
    typist.press("d", str(candidate))
    typist.press("\r", "[BẢO TRÌ An]", "+name: Phường Chí Minh", "-- ")
    typist.press("A", "Y GIỮ TRONG", "-- ")
    typist.press("B", "Cấu hình cũ đang chạy lại.", "-- ")
    typist.line.type("q")
    assert typist.line.left() == 0


def test_who_only_looks_is_told_how_to_change(typist: Typist) -> None:
    """Without `--maintain` nothing is applied, and the way there is said."""
    typist.press("8", "[CHỈ XEM]", "-- ")
    typist.press("A", "edge tui --maintain")
