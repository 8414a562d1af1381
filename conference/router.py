"""Who is seen in which slot, at which layer, and who is speaking: plain decisions, no packets and no network.

The order for the stage: what the chair put on every screen, a shared screen, the one who speaks, who spoke last. A
picture that is on view stays in its slot, so nothing jumps; hysteresis keeps coughs from moving the stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from conference import rtp


class Feed(msgspec.Struct, frozen=True):
    """A picture that can be shown."""

    id: int
    member: int
    screen: bool = False
    """A shared screen, not a camera."""


class Layer(msgspec.Struct, frozen=True):
    """One quality of a picture."""

    bitrate: int
    """Bits per second of late; 0: not being sent."""
    height: int
    """Estimated lines of the picture."""


class View(msgspec.Struct, frozen=True):
    """One slot of a viewer for which a layer is wanted."""

    height: int
    """Lines on the viewer's screen; 0: not visible."""
    layers: tuple[Layer, ...]
    """Lowest first."""


# --- speakers ---------------------------------------------------------------------------------------------------------


class Speakers:
    """Ranks members by loudness, smoothed over about 400 ms; who takes the stage must be louder for a while."""

    RISE, FALL = 0.5, 0.15
    """Share of a new level that counts, per update of 100 ms, when it is louder and when it is softer."""
    FLOOR = 55
    """dB below full scale: softer than this is not speech."""
    LEAD = 6.0
    """dB by which a new speaker must be louder than the present one."""
    HOLD = 1.5
    """Seconds a speaker keeps the stage at least."""

    def __init__(self) -> None:
        """Nobody has spoken."""
        self.loudness: dict[int, float] = {}
        self.recent: list[int] = []
        """Members in order of their last turn, latest first: the present speaker, if any, is the first."""
        self._since = 0.0

    def update(self, levels: Mapping[int, int], now: float) -> bool:
        """Take levels (member -> dB below full scale, 127 silence). True when the speaker changed."""
        self.loudness = {member: self._smoothed(member, level) for member, level in levels.items()}
        best = max(self.loudness, key=self.loudness.__getitem__, default=None)
        if best is None or not self.speaks(best):
            return False
        present = self.recent[0] if self.recent else None
        if best == present or (present in self.loudness and not self._takes_over(best, present, now)):
            return False
        self.recent = [best, *(member for member in self.recent if member != best)][:16]
        self._since = now
        return True

    def speaks(self, member: int) -> bool:
        """Whether what comes from the member is speech, or was a moment ago."""
        return self.loudness.get(member, 0.0) >= rtp.SILENCE - self.FLOOR

    def loudest(self, always: Iterable[int], present: Iterable[int]) -> list[int]:
        """Members by their right to be heard: those of `always`, then the loudest; who is heard has a small lead."""
        kept = set(present)
        order = sorted(self.loudness, key=lambda m: -(self.loudness[m] + (self.LEAD if m in kept else 0)))
        return list(dict.fromkeys([*always, *order]))

    def forget(self, member: int) -> None:
        """A member left."""
        self.loudness.pop(member, None)
        self.recent = [other for other in self.recent if other != member]

    def _smoothed(self, member: int, level: int) -> float:
        loud = float(rtp.SILENCE - level)
        before = self.loudness.get(member, 0.0)
        return before + (loud - before) * (self.RISE if loud > before else self.FALL)

    def _takes_over(self, best: int, present: int | None, now: float) -> bool:
        if present is None or not self.speaks(present):
            return True
        return now - self._since >= self.HOLD and self.loudness[best] >= self.loudness[present] + self.LEAD


# --- slots ------------------------------------------------------------------------------------------------------------


def wanted_feeds(
    viewer: int, feeds: Sequence[Feed], spotlight: int | None, recent: Sequence[int], slots: int
) -> list[Feed]:
    """Pictures for a viewer, most important first: the first is for the stage. One's own are left out."""
    turn = {member: place for place, member in enumerate(recent)}
    others = [feed for feed in feeds if feed.member != viewer]
    others.sort(key=lambda f: (f.member != spotlight, not f.screen, turn.get(f.member, len(turn)), f.id))
    return others[:slots]


def place(before: Sequence[int | None], wanted: Sequence[int], slots: int) -> list[int | None]:
    """Put pictures into slots: the first on the stage (slot 0), the others where they were or in the first gap."""
    placed: list[int | None] = [None] * slots
    if wanted and slots:
        placed[0] = wanted[0]
    waiting = []
    for feed in wanted[1:slots]:
        at = before.index(feed, 1) if feed in before[1:slots] else 0
        if at:
            placed[at] = feed
        else:
            waiting.append(feed)
    gaps = [at for at in range(1, slots) if placed[at] is None]
    for at, feed in zip(gaps, waiting, strict=False):
        placed[at] = feed
    return placed


def place_audio(before: Sequence[int | None], wanted: Sequence[int], slots: int) -> list[int | None]:
    """Put voices into slots; who is heard already keeps the slot."""
    kept = [feed if feed in wanted else None for feed in before[:slots]]
    kept += [None] * (slots - len(kept))
    waiting = [feed for feed in wanted if feed not in kept]
    return [feed if feed is not None else (waiting.pop(0) if waiting else None) for feed in kept]


# --- layers -----------------------------------------------------------------------------------------------------------


def choose_layers(budget: int, views: Sequence[View], present: Sequence[int | None]) -> list[int | None]:
    """A layer for each view within `budget` bits per second; None: paused.

    Views come most important first. Each gets its lowest layer while the budget lasts, then they are raised in turn up
    to what their size on screen can show. A layer above the present one needs a fifth of spare budget, so that the
    choice does not swing.
    """
    chosen: list[int | None] = []
    left = float(budget)
    for at, view in enumerate(views):
        lowest = next((i for i, layer in enumerate(view.layers) if layer.bitrate), None)
        cost = view.layers[lowest].bitrate if lowest is not None else 0
        on = at < len(present) and present[at] is not None
        fits = view.height > 0 and lowest is not None and cost * (0.5 if on else 1.0) <= left
        chosen.append(lowest if fits else None)
        left = max(0.0, left - cost) if fits else left
    for at, view in enumerate(views):
        best = chosen[at]
        if best is None:
            continue
        for layer in range(best + 1, len(view.layers)):
            extra = view.layers[layer].bitrate - view.layers[best].bitrate
            new = layer > (present[at] if at < len(present) and present[at] is not None else -1)  # type: ignore[operator]
            if not view.layers[layer].bitrate or view.layers[best].height >= view.height:
                continue
            if extra * (1.2 if new else 1.0) > left:
                break
            left -= extra
            best = layer
        chosen[at] = best
    return chosen


class Budget:
    """What a viewer's line carries: generous at first, falls on lasting evidence, rises slowly and later each time."""

    FLOOR, CEILING = 50_000, 20_000_000
    """Bits per second."""
    PATIENCE = 1.5
    """Seconds that estimates must stay below what is sent before they are believed."""
    RISE = 1.08
    """Growth per second."""
    HOLD, LONGEST_HOLD = 4.0, 60.0
    """Seconds without growth after a fall; doubled by every further fall."""

    def __init__(self, ceiling: int = CEILING) -> None:
        """Assume the ceiling until told otherwise."""
        self.ceiling = ceiling
        self.bitrate = ceiling
        self._below_since: float | None = None
        self._lossy = False
        self._hold = self.HOLD
        self._held_until = 0.0

    def estimate(self, bitrate: int, sent: int, now: float) -> None:
        """An REMB came while `sent` bits per second went out.

        A browser's estimate follows what it receives, so one above that says nothing of the line.
        """
        if bitrate >= 0.95 * sent:
            self._below_since = None
        elif self._below_since is None:
            self._below_since = now
        elif now - self._below_since >= self.PATIENCE:
            self._below_since = None
            self._fall(bitrate, now)

    def loss(self, fraction: float, sent: int, now: float) -> None:
        """A receiver report says that this share of packets was lost: two above 10 % in a row step down."""
        if fraction > 0.1 and self._lossy:
            self._fall(int(min(self.bitrate, sent or self.bitrate) * (1 - fraction / 2)), now)
        self._lossy = fraction > 0.1

    def rise(self, now: float) -> None:
        """Once a second."""
        if now >= self._held_until and not self._lossy and self._below_since is None:
            self.bitrate = min(self.ceiling, int(self.bitrate * self.RISE))
        if now >= self._held_until + self.LONGEST_HOLD:
            self._hold = self.HOLD

    def _fall(self, bitrate: int, now: float) -> None:
        if bitrate >= self.bitrate:
            return
        self.bitrate = max(self.FLOOR, bitrate)
        self._held_until = now + self._hold
        self._hold = min(self.LONGEST_HOLD, self._hold * 2)
