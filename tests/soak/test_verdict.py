"""The soak finds what it looks for: a good history is believed, and each kind of bad one is not."""

import random

import pytest
from rig.history import Acked, Heard, Joined, Left, LetIn, Sent
from verdict import (
    ANSWER,
    DEAD,
    ON_THE_WAY,
    Asked,
    Closed,
    Ended,
    Hindered,
    NotStarted,
    Over,
    Refused,
    Told,
    Unanswered,
    violations,
)


def good(seed=0):
    """A streamer on two devices, ends its livestream and starts it again; three listeners, one of whom leaves early."""
    dice = random.Random(seed)
    events, now, sequence = [], 0.0, 0
    for session in (1, 2, 3):
        sitting, sequence = (3, 0) if session == 3 else (1, sequence)
        events.append(LetIn(now, session, "it"))
        if session != 2:
            events += [Joined(now + 0.1, name, session, "it") for name in ("ada", "bob", "cleo")]
        for index in range(dice.randint(4, 8)):
            now += dice.uniform(0.5, 1)
            sequence += 1
            events.append(Sent(now, session, index))
            heard = now + dice.uniform(0.1, 0.3)
            events += [Heard(heard, name, sitting, session, index) for name in ("ada", "bob")]
            events.append(Acked(now + dice.uniform(0.1, 0.3), session, index, sequence))
        now += 1
        events.append(Over(now, session))
        if session != 1:
            events.append(Ended(now, session))
            events += [Left(now + 0.1, name, sitting, told=True) for name in ("ada", "bob")]
            now += 1
    return events + [Left(1, "cleo", 1), Left(now - 1.5, "cleo", 3)]


def found(events, late=0):
    return [line.split(":")[0] for line in violations(events, late)]


def of(events, kind, **fields):
    of_kind = [it for it in events if isinstance(it, kind)]
    return [it for it in of_kind if fields.items() <= vars(it).items()]


def without(events, one):
    return [it for it in events if it is not one]


@pytest.fixture(params=range(20))
def history(request):
    events = [it for it in good(request.param) if getattr(it, "listener", "") != "cleo"]
    assert found(events) == []
    return events


def pick(events, kind, **fields):
    return random.Random(len(events)).choice(of(events, kind, **fields))


def test_an_empty_history_is_believed():
    assert found([]) == []


def test_a_lost_clip_is_found(history):
    assert found(without(history, pick(history, Heard))) == ["lost"]


def test_the_last_clip_lost_is_found(history):
    last = max(of(history, Heard, listener="ada"), key=lambda it: (it.session, it.index))
    assert found(without(history, last)) == ["lost"]


def test_a_doubled_clip_is_found(history):
    again = pick(history, Heard)
    assert found([*history, Heard(again.at + 0.01, *list(vars(again).values())[1:])]) == ["twice"]


def test_a_reordered_clip_is_found(history):
    first, second = of(history, Heard, listener="ada", session=1)[:2]
    swapped = without(history, first) + [Heard(second.at + 0.01, "ada", 1, first.session, first.index)]
    assert "out of order" in found(swapped)


def test_a_clip_of_a_replaced_device_is_found(history):
    late = of(history, Heard, listener="ada", session=2)[-1].at + 0.01
    events = [*history, Sent(late - 0.005, 1, 50), Heard(late, "ada", 1, 1, 50)]
    assert found(events) == ["two owners"]


def test_an_invented_clip_is_found(history):
    last = of(history, Heard, listener="bob")[-1]
    assert found([*history, Heard(last.at + 0.01, "bob", 3, 3, 90)]) == ["never sent"]


def test_a_repeated_sequence_is_found(history):
    one = of(history, Acked, session=2)[0]
    assert found([*without(history, one), Acked(one.at, 2, one.index, 1)]) == ["sequence"]


def test_an_upload_without_an_answer_is_found():
    events = [LetIn(0, 1, "it"), Sent(1, 1, 0), Over(1 + ANSWER + 1, 1)]
    assert found(events) == ["unanswered"]
    assert found(events, late=2) == []
    assert found([*events, Acked(9, 1, 0, 1)]) == []
    assert found([*events, Over(3, 1)]) == []


def test_a_refusal_on_air_is_found():
    events = [LetIn(0, 1, "it"), Sent(1, 1, 0), Refused(1.1, 1, 0, "no")]
    assert found(events) == ["refused"]
    assert found([*events, LetIn(1.05, 2, "it")]) == []
    assert found([*events, Ended(1.05, 1)]) == []


def test_an_end_on_air_is_found():
    events = [LetIn(0, 1, "it"), Asked(1, "ada", 1), Joined(1, "ada", 1, "it"), Left(2, "ada", 1, told=True)]
    assert found(events) == ["ended"]
    assert found([*events, Ended(1.5, 1)]) == []


def test_end_before_the_next_livestream_may_be_late():
    events = [LetIn(0, 1, "it"), Asked(1, "ada", 1), Ended(2, 1), LetIn(3, 2, "it")]
    assert found([*events, Joined(4, "ada", 1, "it"), Left(5, "ada", 1, told=True)]) == []


def test_has_not_started_on_air_is_found():
    events = [LetIn(0, 1, "it"), NotStarted(2, 1, "ada")]
    assert found(events) == ["refused"]
    assert found([*events, Ended(1.5, 1)]) == []
    assert found([NotStarted(2, 1, "ada"), LetIn(1.5, 1, "it")]) == []


def test_what_a_client_saw_itself_is_told():
    events = [Unanswered(1, "ada", "a CONNECT"), Told(1, "ada", "full"), Closed(1, "ada", "closed")]
    assert found(events) == ["unanswered", "told", "closed"]
    assert found(events, late=DEAD) == ["unanswered", "told"]


@pytest.mark.parametrize("end", [Left(5, "ada", 1), Hindered(5, "ada", 1)])
def test_a_clip_on_the_way_may_be_lost(end):
    events = [Joined(0, "ada", 1, "it"), Sent(4, 1, 0), Acked(4.5, 1, 0, 1), end]
    assert found(events) == []
    late = type(end)(4.5 + ON_THE_WAY + 0.1, "ada", 1)
    assert found([*events[:-1], late]) == ["lost"]
    assert found([*events[:-1], late], late=1) == []


def test_a_gap_on_a_hindered_link_is_found():
    events = [Joined(0, "ada", 1, "it"), Hindered(1, "ada", 1), LetIn(0, 1, "it")]
    for index in range(3):
        events += [Sent(2 + index, 1, index), Acked(2.1 + index, 1, index, index + 1)]
    assert found([*events, Heard(5, "ada", 1, 1, 0)]) == []
    assert found([*events, Heard(5, "ada", 1, 1, 0), Heard(6, "ada", 1, 1, 2)]) == ["lost"]


def test_clips_acknowledged_before_an_end_are_due():
    events = [Joined(0, "ada", 1, "it"), LetIn(0, 1, "it"), Sent(4, 1, 0), Acked(4.5, 1, 0, 1), Ended(4.6, 1)]
    assert found([*events, Left(4.7, "ada", 1, told=True)]) == ["lost"]
    assert found([*events, Heard(4.4, "ada", 1, 1, 0), Left(4.7, "ada", 1, told=True)]) == []
