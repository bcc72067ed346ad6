"""What was seen of one show, event by event, and whether a cluster that keeps its promises could have done it.

Pure: no clock, no network. A clip is named by the host's session (each connection that was let in is one more) and its
place in that session; a listener's sitting is one connection of it. `violations` gives one line for each broken promise,
none for a good history.
"""

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class Sent:
    """The host put a clip on the wire."""

    at: float
    session: int
    index: int


@dataclass(frozen=True)
class Acked:
    """The host was told `ok: true`."""

    at: float
    session: int
    index: int
    sequence: int


@dataclass(frozen=True)
class Joined:
    """A listener was let in at `node`."""

    at: float
    listener: str
    sitting: int
    node: str


@dataclass(frozen=True)
class Heard:
    """A clip came to a listener."""

    at: float
    listener: str
    sitting: int
    session: int
    index: int


@dataclass(frozen=True)
class Left:
    """A listener's connection went; `told` by the server that the show is over, or just gone."""

    at: float
    listener: str
    sitting: int
    told: bool = False


@dataclass(frozen=True)
class Cut:
    """From now on `node` and the engine cannot reach each other."""

    at: float
    node: str


@dataclass(frozen=True)
class Restored:
    """They can again."""

    at: float
    node: str


def violations(events):
    """One line for each promise that this history breaks; the events in any order, of a show that its host never ended."""
    events = sorted(events, key=lambda event: event.at)
    return [*_heard_wrongly(events), *_ended(events), *_lost(events), *_sequences(events)]


def _of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def _heard_wrongly(events):
    """Twice, out of order, of a host that was replaced, or never said."""
    sent = {(event.session, event.index): event.at for event in _of(events, Sent)}
    sittings = defaultdict(list)
    for event in _of(events, Heard):
        sittings[event.listener, event.sitting].append(event)
    for (listener, sitting), heard in sittings.items():
        known, newest = set(), (0, -1)
        for event in heard:
            clip = (event.session, event.index)
            who = f"{listener}/{sitting} at {event.at:.3f}"
            if clip not in sent:
                yield f"never sent: {who} heard {clip}"
            elif sent[clip] > event.at:
                yield f"before it was sent: {who} heard {clip}"
            if clip in known:
                yield f"twice: {who} heard {clip}"
            elif clip[0] < newest[0]:
                yield f"two holders: {who} heard {clip} after {newest}"
            elif clip < newest:
                yield f"out of order: {who} heard {clip} after {newest}"
            known.add(clip)
            newest = max(newest, clip)


def _ended(events):
    for event in _of(events, Left):
        if event.told:
            yield f"ended: {event.listener}/{event.sitting} at {event.at:.3f} was told that the show is over"


def _lost(events):
    """What was acknowledged reaches who was there before it was sent and still is, at a node that has the engine."""
    away = set()
    for event in events:
        if isinstance(event, Cut):
            away.add(event.node)
        elif isinstance(event, Restored):
            away.discard(event.node)
    left = {(event.listener, event.sitting) for event in _of(events, Left)}
    sent = {(event.session, event.index): event.at for event in _of(events, Sent)}
    heard = {(event.listener, event.sitting, event.session, event.index) for event in _of(events, Heard)}
    for seat in _of(events, Joined):
        if (seat.listener, seat.sitting) in left or seat.node in away:
            continue
        for ack in _of(events, Acked):
            clip = (ack.session, ack.index)
            if clip in sent and sent[clip] > seat.at and (seat.listener, seat.sitting, *clip) not in heard:
                yield f"lost: {seat.listener}/{seat.sitting} at {seat.node} never heard {clip}, sequence {ack.sequence}"


def _sequences(events):
    """Later clips have higher sequences, over all sessions."""
    acks = sorted(_of(events, Acked), key=lambda event: (event.session, event.index))
    for before, after in zip(acks, acks[1:]):
        if (before.session, before.index) == (after.session, after.index):
            yield f"acknowledged twice: {(after.session, after.index)}"
        elif before.sequence >= after.sequence:
            clips = f"{(before.session, before.index)} then {(after.session, after.index)}"
            yield f"sequence: {clips} were acknowledged as {before.sequence} then {after.sequence}"
