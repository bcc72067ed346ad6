"""Whether a recording is what was promised. Pure but for the decoder: no clock, no network."""

import hashlib
import json
from datetime import datetime

import sound

TOLERANCE = 0.5
"""Seconds without sound that are no gap: the network's jitter."""
ROUNDED = 5
"""Milliseconds by which two ways of rounding may differ."""
CLOCKS = 25
"""Milliseconds by which the clock that the nodes share, which is that of Redis, may differ from the test's."""
REASONS = {
    "link": {"link_lost"},
    "take_over": {"restart_or_takeover"},
    "restart": {"restart_or_takeover", "link_lost"},
    "kill": {"restart_or_takeover", "link_lost"},
    "empty_redis": {"restart_or_takeover", "link_lost", "nothing_sent"},
    "pause": {"nothing_sent"},
    "away": set(),
}


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def millis(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def manifests(objects):
    """The directory and the manifest of each finished recording."""
    found = [name.removesuffix("/manifest.json") for name in objects if name.endswith("/manifest.json")]
    return {directory: json.loads(objects[f"{directory}/manifest.json"]) for directory in found}


def violations(objects, show, faults, expected):
    """A line for each broken promise. `show` has all its clips acknowledged; `expected` are the samples of them all."""
    recordings = manifests(objects)
    begun = [name for name in objects if name.startswith("__recordings__/")]
    if len(recordings) != 1 or len(begun) != 1:
        yield f"{len(begun)} recordings were begun, {len(recordings)} are finished: {begun}"
        return
    ((directory, manifest),) = recordings.items()
    yield from _of_clips(objects, directory, manifest, show)
    yield from _of_files(objects, directory, manifest, expected)
    yield from _of_gaps(manifest, show, faults)
    said = {name: manifest[name] for name in ("livestream", "streamer", "reason", "missing")}
    right = {"livestream": show.livestream.id, "streamer": show.livestream.user, "reason": "ended", "missing": []}
    if said != right:
        yield f"the manifest says {said}"


def _of_clips(objects, directory, manifest, show):
    clips, files = manifest["clips"], show.files
    numbers = {sha256(file): number for number, file in enumerate(files, 1)}
    order = [numbers.get(clip["sha256"]) for clip in clips]
    if order != list(range(1, len(files) + 1)):
        yield f"lost or out of order: {sorted(set(numbers.values()) - set(order))} lost, {order}"
    for sent, clip in zip(show.sent, clips if len(clips) == len(files) else [], strict=False):
        if not sent.first - CLOCKS <= millis(clip["received"]) <= sent.last + CLOCKS:
            yield f"{clip['name']} was not received then, but between {sent.first} and {sent.last}"
    for clip in clips:
        body = objects.get(f"{directory}/clips/{clip['name']}")
        if body is None or (clip["bytes"], clip["sha256"]) != (len(body), sha256(body)):
            yield f"{clip['name']} is not the clip that the manifest describes"
    named = {clip["name"] for clip in [*clips, *manifest["left_out"]]}
    there = {name.removeprefix(f"{directory}/clips/") for name in objects if name.startswith(f"{directory}/clips/")}
    if named != there:
        yield f"the manifest and the clips differ: {named ^ there}"
    for clip in manifest["left_out"]:
        if clip["reason"] != "the streamer sent it again":
            yield f"left out: {clip}"


def _of_files(objects, directory, manifest, expected):
    files = [name for name in objects if name.startswith(f"{directory}/recording")]
    if len(manifest["files"]) != 1 or files != [f"{directory}/{manifest['files'][0]['name']}"]:
        yield f"not one file: {manifest['files']}, {files}"
        return
    (file,), body = manifest["files"], objects[files[0]]
    if (file["bytes"], file["sha256"]) != (len(body), sha256(body)):
        yield f"{file['name']} is not as the manifest says"
    heard = sound.run("ffmpeg", "-v", "error", "-i", "pipe:0", *sound.RAW, "pipe:1", given=body)
    # But for the first clip's delay and the last one's padding, which the file names.
    lacks = len(expected) - len(heard)
    if heard not in expected or lacks > 2 * 2 * 2 * 1152:
        yield f"the sound differs: {len(heard)} bytes for {len(expected)}"
    if not abs(len(heard) / 2 / 44100 - file["seconds"]) < 0.06 or file["seconds"] != manifest["seconds"]:
        yield f"its length is {len(heard) / 2 / 44100}, not {file['seconds']} or {manifest['seconds']}"


def gaps(times, seconds, said=()):
    """Between which clips nothing was recorded, from when and until when: of clips that were received at these times, in
    milliseconds, and are so long. A clip begins after the one before, or its own length before it was received. What is as
    long as the tolerance, but for rounding, is a gap if its end is among those that were `said`."""
    found, end = [], None
    for index, received in enumerate(times):
        begins = received - 1000 * seconds
        if end is not None:
            beyond = begins - end - 1000 * TOLERANCE
            is_said = any(abs(begins - until) <= ROUNDED for until in said)
            if is_said if abs(beyond) <= ROUNDED else beyond > 0:
                found.append((index, end, begins))
            else:
                begins = end
        end = begins + 1000 * seconds
    return found


def _of_gaps(manifest, show, faults):
    times = [millis(clip["received"]) for clip in manifest["clips"]]
    said = manifest["gaps"]
    expected = gaps(times, show.seconds, [millis(gap["until"]) for gap in said])
    spans = [(millis(gap["from"]), millis(gap["until"])) for gap in said]
    if len(spans) != len(expected) or any(
        abs(one - other) > ROUNDED
        for span, (_, *other_span) in zip(spans, expected, strict=False)
        for one, other in zip(span, other_span, strict=True)
    ):
        yield f"the gaps are {expected}, the manifest says {said}"
        return
    for gap, (index, begin, end) in zip(said, expected, strict=True):
        number = index + 1
        causes = [fault for fault in faults if fault.first <= number <= fault.last]
        reasons = set().union(*(REASONS[fault.kind] for fault in causes)) or {"nothing_sent"}
        if show.sent[index].first - begin > 1000 * TOLERANCE:
            # Also beside a fault: the clip was not on its way, since the one before was answered late.
            reasons.add("nothing_sent")
        if gap["reason"] not in reasons:
            yield f"before clip {number}, {causes}: {gap}"
        if abs(gap["seconds"] * 1000 - (end - begin)) > ROUNDED:
            yield f"its length differs: {gap}"
    named = {index + 1 for index, *_ in expected}
    for fault in faults:
        if fault.is_silent and fault.first not in named:
            yield f"no gap is named for {fault}"
