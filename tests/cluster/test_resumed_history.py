"""The checker of listeners that resume: it believes a good history, and refuses each kind of bad one."""

import pytest
from rig.resumed import Acknowledged, Asked, Forgot, GivenUp, Lost, Told, Took, violations

KEPT = 5


def good():
    """Ten clips, a listener that is away during 3 and 4, and is back twice."""
    events = [Asked(0, "ada", None)]
    for number in range(1, 11):
        events.append(Acknowledged(number, number, 100 + number))
        late = number in (3, 4)
        events.append(Took(4.6 if late else number + 0.1, "ada", number))
    return [*events, Asked(4.4, "ada", 2), Told(4.5, "ada", True), Asked(7.4, "ada", 7), Told(7.5, "ada", True)]


def found(events):
    return list(violations(events, KEPT))


def test_a_good_history_is_believed():
    assert found(good()) == []


@pytest.mark.parametrize("number", range(2, 11))
def test_a_missed_clip_is_refused(number):
    events = [event for event in good() if not (isinstance(event, Took) and event.number == number)]
    assert any(line.startswith("missed") for line in found(events))


@pytest.mark.parametrize("number", range(1, 11))
def test_a_clip_taken_twice_is_refused(number):
    (at,) = [event.at for event in good() if isinstance(event, Took) and event.number == number]
    assert any(line.startswith("again") for line in found([*good(), Took(at + 0.05, "ada", number)]))


def test_a_part_is_refused():
    events = [event for event in good() if not (isinstance(event, Took) and event.number == 3)]
    assert found(events) == ["missed: ada at 4.600 took 4 after 2"]


def away(missed, told, *more):
    """A listener that was away for so many clips, and then hears the latest alone."""
    events = [Asked(0, "ada", None), Took(0.1, "ada", 1), Acknowledged(0, 1, 101)]
    events += [Acknowledged(number, number, 100 + number) for number in range(2, 2 + missed)]
    return [*events, Asked(50, "ada", 1), Told(51, "ada", False, told), Took(52, "ada", 1 + missed), *more]


def test_listener_away_for_long_gets_the_latest():
    assert found(away(KEPT, KEPT - 1)) == []
    assert found(away(KEPT, None)) == []
    assert found(away(30, 29)) == []


def test_a_history_that_held_all_must_recover():
    (line,) = found(away(KEPT - 2, None))
    assert line.startswith("not recovered")
    assert found(away(KEPT - 2, None, Forgot(40, 50.5))) == [], "but for one that was gone meanwhile"
    assert found(away(KEPT - 2, None, Forgot(40, 49))) == [line]


def test_a_wrong_count_is_refused():
    assert [line.split(":")[0] for line in found(away(30, 5))] == ["miscounted"]


def test_a_clip_before_the_word_is_refused():
    events = [event for event in good() if not (isinstance(event, Told) and event.at == 4.5)]
    assert any(line.startswith("not told") for line in found(events))


def test_clip_missing_at_the_end_is_refused():
    assert found([*good(), Acknowledged(20, 11, 111)]) == ["missed: ada took 10 at last, and 11 was acknowledged"]


def slow(*more):
    """A listener that hears ten clips but for 3 to 5."""
    events = [Asked(0, "ada", None), *(Acknowledged(number, number, 100 + number) for number in range(1, 11))]
    return [*events, *(Took(number + 0.1, "ada", number) for number in range(1, 11) if not 3 <= number <= 5), *more]


@pytest.mark.parametrize("at", [5.5, 6.05, 9])
def test_slow_listener_that_is_told_is_believed(at):
    assert found(slow(Lost(at, "ada", 103, 105))) == []
    assert found(slow(Lost(at, "ada", 103, 103), Lost(at, "ada", 104, 105))) == []


def test_slow_listener_told_too_little_is_refused():
    line = "missed: ada at 6.100 took 6 after 2"
    assert found(slow()) == [line]
    assert found(slow(Lost(9, "ada", 103, 104))) == [line]
    assert found(slow(Lost(9, "bob", 103, 105))) == [line]
    assert found(slow(Asked(10.2, "ada", 10), Told(10.3, "ada", True), Lost(11, "ada", 103, 105))) == [line]


def test_heard_clip_that_is_told_lost_is_refused():
    assert found(slow(Lost(9, "ada", 103, 106))) == ["not lost: ada at 9.000 took 6"]


@pytest.mark.parametrize("is_heard", [True, False])
def test_clip_that_was_given_up_may_be_heard(is_heard):
    events = [event for event in good() if not (isinstance(event, Acknowledged) and event.number == 6)]
    if not is_heard:
        events = [event for event in events if not (isinstance(event, Took) and event.number == 6)]
    assert found([*events, GivenUp(6, 6)]) == []
    assert bool(found(events)) != is_heard
