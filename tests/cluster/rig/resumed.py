"""Whether listeners that resume heard what they were promised.

Pure: no clock, no network. The streamer says one clip after the other, each until it is acknowledged, numbered 1, 2, 3 …; a
clip that is said again has the same number, and its id. So a listener has heard exactly the acknowledged clips, each once
and in order, if what it heard has no gap while `recovered` was true, but for what it was told that it lost because it was
slow, and for clips that their device gave up when another took the livestream over.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Acknowledged:
    """The streamer was told `ok: true` of a clip."""

    at: float
    number: int
    sequence: int


@dataclass(frozen=True)
class GivenUp:
    """The clip's device was replaced before it knew of an ack: the clip may be heard or not."""

    at: float
    number: int


@dataclass(frozen=True)
class Asked:
    """A listener came, and asked to go on after the latest clip that it had; none: it came for the first time."""

    at: float
    listener: str
    after: int | None


@dataclass(frozen=True)
class Told:
    """The listener was told what becomes of that."""

    at: float
    listener: str
    recovered: bool
    missed: int | None = None


@dataclass(frozen=True)
class Took:
    """The listener heard a clip that it did not have."""

    at: float
    listener: str
    number: int


@dataclass(frozen=True)
class Lost:
    """The listener was told that it was too slow for the clips between two sequences, which are among them."""

    at: float
    listener: str
    first: int
    last: int


@dataclass(frozen=True)
class Forgot:
    """From `at` to `until` the history may have been out of reach of a node, or gone."""

    at: float
    until: float


def violations(events, kept):
    """One line for each broken promise, of histories that keep `kept` clips."""
    events = sorted(events, key=lambda event: event.at)
    for listener in dict.fromkeys(event.listener for event in events if isinstance(event, Asked)):
        yield from _Followed(events, listener, kept).violations()


class _Followed:
    """One listener, followed. `last` is its latest clip; while `free` is true the next one may be any."""

    def __init__(self, events, listener, kept):
        self.events, self.listener, self.kept = events, listener, kept
        self.sequences = {event.number: event.sequence for event in events if isinstance(event, Acknowledged)}
        self.optional = {event.number for event in events if isinstance(event, GivenUp)} - self.sequences.keys()
        """Clips that it may miss: those that were given up, and those that it was told of."""
        self.acknowledged, self.away = 0, []
        self.last, self.asked, self.free, self.told = None, None, True, True
        self.skipped, self.taken = {}, set()
        """What was not taken on this visit, with what to say of it unless the listener is told; and what was."""

    def violations(self):
        for event in self.events:
            match event:
                case Acknowledged(_, number):
                    self.acknowledged = max(self.acknowledged, number)
                case Forgot():
                    self.away.append(event)
                case Asked() if event.listener == self.listener:
                    yield from self.asks(event)
                case Told() if event.listener == self.listener:
                    yield from self.is_told(event)
                case Took() if event.listener == self.listener:
                    yield from self.takes(event)
                case Lost() if event.listener == self.listener:
                    yield from self.loses(event)
        yield from dict.fromkeys(self.skipped.values())
        if self.last is not None and self.last < self.acknowledged:
            yield f"missed: {self.listener} took {self.last} at last, and {self.acknowledged} was acknowledged"

    def asks(self, event):
        yield from dict.fromkeys(self.skipped.values())
        self.skipped, self.taken = {}, set()
        self.asked, self.told = event, event.after is None
        if event.after is not None and event.after != self.last:
            yield f"{self.listener} at {event.at:.3f} asks for the clips after {event.after}, its latest is {self.last}"

    def is_told(self, event):
        if self.told:
            yield f"told twice: {self.listener} at {event.at:.3f}"
        self.told = True
        if event.recovered:
            return
        self.free = True
        lacks = self.acknowledged - self.last
        excused = any(gone.at <= event.at and self.asked.at <= gone.until for gone in self.away)
        who = f"{self.listener} at {event.at:.3f}"
        # What is on its way is in no history yet, or has just come into it.
        if lacks < self.kept - 1 and not excused:
            yield f"not recovered: {who} after {self.last}, with {lacks} of {self.kept} clips missed"
        perhaps = sum(self.last < number <= self.acknowledged for number in self.optional)
        if event.missed is not None and not -2 - perhaps <= event.missed - (lacks - 1) <= 2:
            yield f"miscounted: {who} missed {event.missed}, not {lacks - 1}"

    def takes(self, event):
        number, who = event.number, f"{self.listener} at {event.at:.3f}"
        if not self.told:
            yield f"not told: {who} took {number} before it was told"
        if self.last is not None and number <= self.last:
            yield f"again: {who} took {number} after {self.last}"
        # When it was let in, or did not recover, it takes the latest.
        elif not self.free:
            for skipped in range(self.last + 1, number):
                if skipped not in self.optional:
                    self.skipped[skipped] = f"missed: {who} took {number} after {self.last}"
        self.taken.add(number)
        self.last, self.free = number, False

    def loses(self, event):
        """Some time before or after the clips behind those that it lost."""
        ends = {number for number, sequence in self.sequences.items() if sequence in (event.first, event.last)}
        for number in sorted(ends & self.taken):
            yield f"not lost: {self.listener} at {event.at:.3f} took {number}"
        lost = {number for number, sequence in self.sequences.items() if event.first <= sequence <= event.last}
        self.skipped = {number: line for number, line in self.skipped.items() if number not in lost}
        # The clip behind them may still be on its way.
        self.optional |= {number for number in lost if number > (self.last or 0)}
