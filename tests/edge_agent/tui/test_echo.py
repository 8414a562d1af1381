"""How far the terminal is behind: what late, lost and missing answers say of the line."""

from __future__ import annotations

from edge_agent.tui.echo import PATIENCE, Echo


def answered(*times: tuple[float, float]) -> Echo:
    """Asked and answered at these moments."""
    echo = Echo()
    for asked, came in times:
        assert echo.asks(asked)
        echo.came(came)
    return echo


def test_long_way_is_no_slow_line() -> None:
    """Who is far away answers late each time: that is the way there, not the line's speed."""
    assert answered((0.0, 0.9), (1.0, 1.9), (2.0, 3.0)).late(3.0) < 0.2


def test_big_picture_on_a_slow_line() -> None:
    """The answer comes when the picture is through; until then it is overdue, and afterwards not forgotten at once."""
    echo = answered((0.0, 0.1))
    assert echo.asks(1.0)
    assert not echo.asks(2.0)
    assert echo.behind(6.1) == 5.0
    echo.came(9.1)
    assert echo.behind(9.2) == 0.0
    assert echo.late(9.2) == 8.0
    assert 0.5 < echo.late(10.2) < 8.0


def test_terminal_that_never_answers() -> None:
    """It is never called slow, and asked again only after a long time."""
    echo = Echo()
    assert echo.asks(0.0)
    assert echo.behind(30.0) == 0.0
    assert not echo.asks(30.0)
    assert echo.asks(PATIENCE)


def test_answer_that_nobody_asked_for() -> None:
    """Somebody else's question, or a key that looks like an answer, changes nothing."""
    echo = Echo()
    echo.came(5.0)
    assert echo.late(6.0) == 0.0
