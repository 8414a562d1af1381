"""A room by itself: who is heard, and how long a seat is kept. Without a network."""

from conference import room as rooms
from conference.ingress import Ingress
from conference.member import Member
from conference.messages import State
from conference.room import Room
from conference.router import Layer
from conference.tickets import Role, Ticket


class Voice:
    """A track that is spoken into all the time."""

    audio, screen = True, False

    def __init__(self, level: int) -> None:
        self.level = level
        self.ingress = Ingress(1, "opus", 48_000)

    def layers(self, now: float) -> tuple[Layer, ...]:
        return ()

    def stream(self, layer: int) -> Ingress:
        return self.ingress

    def live(self, now: float) -> bool:
        return True

    def take_level(self) -> int:
        return self.level


class Ear:
    """A slot for a voice."""

    bitrate = 0
    source: Ingress | None = None

    def able(self, source: Ingress) -> bool:
        return True

    def switch(self, source: Ingress | None, now: float) -> None:
        self.source = source


class Telephone:
    """A client of voices only."""

    video: tuple[Ear, ...] = ()

    def __init__(self, level: int, slots: int) -> None:
        self.up = (Voice(level),)
        self.audio = tuple(Ear() for _ in range(slots))

    def close(self) -> None:
        """There is nothing to end."""

    def connected(self) -> bool:
        return True

    def budget(self) -> int:
        return 10**6

    def quality(self) -> tuple[float, float, int]:
        return 0.0, 0.0, 0


def speaker(room: Room, role: Role, level: int, slots: int = 3) -> Member:
    """Somebody who comes in and speaks, so many dB below full scale."""
    name = f"{role}-{len(room.members)}"
    member = room.join(Ticket(name, room.name, role, name, "cl-02", 0, 10**12), name, "")
    member.client = Telephone(level, slots)
    member.state = State(mic=True, camera=False)
    return member


def pass_time(room: Room, start: float = 0.0, seconds: float = 2.0) -> None:
    for turn in range(int(seconds * 10)):
        room.tick(start + turn / 10, turn)


def heard_by(room: Room, listener: Member) -> set[int]:
    """Members whose voices come out of the listener's slots."""
    slots = listener.client.audio if listener.client is not None else ()
    voices = {id(t.stream(0)): m.id for m in room.members.values() if (t := m.track(audio=True)) is not None}
    return {voices[id(slot.source)] for slot in slots if slot.source is not None}


def test_chair_who_speaks_softly_is_heard() -> None:
    """Of three voices the chair's is one, however loud four others are, and the two loudest are the others."""
    room = Room("giao-ban")
    listener = speaker(room, "site", 127)
    loud = [speaker(room, "site", level) for level in (20, 25, 30, 35)]
    chair = speaker(room, "chair", 50)
    pass_time(room)
    assert heard_by(room, listener) == {chair.id, loud[0].id, loud[1].id}
    assert heard_by(room, chair) == {one.id for one in loud[:3]}
    assert heard_by(room, loud[0]) == {chair.id, loud[1].id, loud[2].id}


def test_silent_chair_takes_nobody_s_place() -> None:
    """An open microphone before which nobody speaks: the three loudest are heard."""
    room = Room("giao-ban")
    listener = speaker(room, "site", 127)
    loud = [speaker(room, "site", level) for level in (20, 25, 30, 35)]
    speaker(room, "chair", 100)
    pass_time(room)
    assert heard_by(room, listener) == {one.id for one in loud[:3]}


def test_seat_is_kept_for_thirty_seconds() -> None:
    """Whoever comes back within them has the same number; a moment later the seat is gone."""
    assert rooms.GRACE == 30
    room = Room("giao-ban")
    one = speaker(room, "site", 30)
    room.lost(one, 100.0)
    room.tick(129.9, 0)
    assert room.keeps(one.ticket, one.seat)
    assert room.join(one.ticket, one.name, one.seat) is one
    room.lost(one, 200.0)
    room.tick(230.1, 0)
    assert not room.members
    assert not room.keeps(one.ticket, one.seat)
    assert speaker(room, "site", 30).id == one.id + 1


def test_chair_who_breaks_in() -> None:
    """A chair who begins to speak is heard within 0.2 s, in the place of the softest of three."""
    room = Room("giao-ban")
    listener = speaker(room, "site", 127)
    loud = [speaker(room, "site", level) for level in (20, 25, 30)]
    chair = speaker(room, "chair", 127)
    pass_time(room)
    assert heard_by(room, listener) == {one.id for one in loud}
    chair.client = Telephone(30, 3)
    pass_time(room, 2.0, 0.2)
    assert heard_by(room, listener) == {chair.id, loud[0].id, loud[1].id}
