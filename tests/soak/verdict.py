"""What was seen of one livestream, event by event, and whether a daemon that keeps its promises could have done it.

Pure: no clock, no network. It adds to the cluster suite's history the ends that a streamer asked for, links that were
hindered, and everything that has to be answered. `violations` gives one line for each broken promise.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass

from rig.history import Acked, Heard, Joined, Left, LetIn, Sent, heard_wrongly, sequences

ON_THE_WAY = 3
"""Seconds that an acknowledged clip may take over a link that is not hindered."""
ANSWER = 8
"""Seconds in which a question over such a link is answered."""
DEAD = 2
"""Seconds after which a client that was late itself may have been taken for dead."""


@dataclass(frozen=True)
class Ended:
    """The streamer ended its livestream after `session`, or left it for longer than the grace period."""

    at: float
    session: int


@dataclass(frozen=True)
class Hindered:
    """From now on a listener's link delivers late, or nothing."""

    at: float
    listener: str
    sitting: int


@dataclass(frozen=True)
class Asked:
    """When a listener asked for what became this sitting; over a slow link it learns later that it has joined."""

    at: float
    listener: str
    sitting: int


@dataclass(frozen=True)
class Refused:
    """The streamer was told `ok: false`."""

    at: float
    session: int
    index: int
    error: str


@dataclass(frozen=True)
class Over:
    """The streamer's session ended, or its link was hindered."""

    at: float
    session: int


@dataclass(frozen=True)
class NotStarted:
    """A listener that asked at `since` was told that the livestream has not started."""

    at: float
    since: float
    listener: str


@dataclass(frozen=True)
class Unanswered:
    """Somebody asked, and nothing came over a link that was not hindered."""

    at: float
    who: str
    what: str


@dataclass(frozen=True)
class Closed:
    """The daemon closed a connection for no reason that this side knows of."""

    at: float
    who: str
    what: str


@dataclass(frozen=True)
class Told:
    """The daemon sent an `error` that it had no reason for."""

    at: float
    who: str
    what: str


def violations(events, late=0):
    """One line for each broken promise; the client's own clock was late by so many seconds at most."""
    events = sorted(events, key=lambda event: event.at)
    yield from heard_wrongly(events)
    yield from _lost(events, ON_THE_WAY + late)
    yield from _numbers(events)
    yield from _ended(events)
    yield from _not_started(events)
    yield from _unanswered(events, ANSWER + late)
    yield from (f"told: {it.who} at {it.at:.3f}: {it.what}" for it in _of(events, Told))
    if late < DEAD:
        yield from (f"closed: {it.who} at {it.at:.3f}: {it.what}" for it in _of(events, Closed))


def _of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def _sittings(events, kind):
    found = defaultdict(list)
    for event in _of(events, kind):
        found[event.listener, event.sitting].append(event)
    return found


def _lost(events, on_the_way):
    """Every acknowledged clip that was sent after a listener joined, and acknowledged before it left, was heard.

    Two things tell: a later clip that was heard in the same sitting, for the order of TCP is exact; and the time that
    the sitting went on with a link that was not hindered.
    """
    sent = {(event.session, event.index): event.at for event in _of(events, Sent)}
    acks = sorted(((ack.session, ack.index), ack.at) for ack in _of(events, Acked))
    heard, left, hindered = (_sittings(events, kind) for kind in (Heard, Left, Hindered))
    for joined in _of(events, Joined):
        me = (joined.listener, joined.sitting)
        known = {(event.session, event.index) for event in heard[me]}
        newest = max(known, default=(0, -1))
        # The daemon's DISCONNECT comes behind all that was acknowledged before; another end may overtake a clip.
        ends = [event.at - (0 if event.told else on_the_way) for event in left[me]]
        until = min([*ends, *(event.at - on_the_way for event in hindered[me])], default=float("inf"))
        for clip, at in acks:
            due = sent.get(clip, 0) > joined.at and (clip < newest or at < until)
            if due and clip not in known:
                why = f"then heard {newest}" if clip < newest else f"stayed {until - at:.1f} s"
                yield f"lost: {me[0]}/{me[1]} never heard {clip}, acknowledged at {at:.3f}, and {why}"


def _numbers(events):
    """Sequences rise from the start of a livestream to its end."""
    ends = sorted(event.session for event in _of(events, Ended))
    runs = defaultdict(list)
    for ack in _of(events, Acked):
        runs[bisect_left(ends, ack.session)].append(ack)
    for run in runs.values():
        yield from sequences(run)


def _on_air(events):
    """From when to when the livestream was on air for certain."""
    began = None
    for event in events:
        if isinstance(event, LetIn) and began is None:
            began = event.at
        elif isinstance(event, Ended) and began is not None:
            yield began, event.at
            began = None
    if began is not None:
        yield began, float("inf")


def _ended(events):
    """Nobody is told of an end that there was not."""
    asked = {(event.listener, event.sitting): event.at for event in _of(events, Asked)}
    spans = list(_on_air(events))
    for event in _of(events, Left):
        since = asked.get((event.listener, event.sitting), event.at)
        if event.told and any(began < since and event.at < end for began, end in spans):
            yield f"ended: {event.listener}/{event.sitting} at {event.at:.3f} was told that the livestream is over"


def _not_started(events):
    spans = list(_on_air(events))
    for event in _of(events, NotStarted):
        if any(began < event.since and event.at < end for began, end in spans):
            yield f"refused: {event.listener} at {event.at:.3f} was told that the livestream has not started"


def _unanswered(events, answer):
    """Every upload is answered once, and a refusal has a reason."""
    answered = {(event.session, event.index) for event in (*_of(events, Acked), *_of(events, Refused))}
    over = {}
    for event in _of(events, Over):
        over.setdefault(event.session, event.at)
    for event in _of(events, Sent):
        clip = (event.session, event.index)
        if clip not in answered and over.get(event.session, float("inf")) - event.at > answer:
            yield f"unanswered: the upload of {clip} at {event.at:.3f}"
    yield from (f"unanswered: {it.who} at {it.at:.3f}: {it.what}" for it in _of(events, Unanswered))
    let_in = sorted((event.session, event.at) for event in _of(events, LetIn))
    for event in _of(events, Refused):
        replaced = any(session > event.session and at < event.at + answer for session, at in let_in)
        goodbye = any(it.session == event.session for it in _of(events, Ended))
        if not replaced and not goodbye:
            yield f"refused: the upload of {(event.session, event.index)} at {event.at:.3f}: {event.error}"
