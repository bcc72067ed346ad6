"""Clips, and what must be heard of them: one sound, cut into files as a streamer sends them."""

import subprocess
from array import array

SECONDS = 2
# Without the noise that decoders make up: it depends on the frame with which they begin.
AAC = ["-c:a", "aac", "-b:a", "96k", "-aac_pns", "0"]
ENCODERS = {
    "m4a": [*AAC, "-f", "ipod"],
    "aac": [*AAC, "-f", "adts"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "96k", "-write_xing", "1", "-f", "mp3"],
}
FRAME_SAMPLES = {"m4a": 1024, "aac": 1024, "mp3": 1152}
GROUP = 25
"""Files that one process of ffmpeg makes."""
RAW = ["-f", "s16le", "-ac", "1", "-ar", "44100"]


def run(*command, given=None, seconds=40):
    """What a program prints; its complaints if it fails."""
    done = subprocess.run(command, input=given, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace')[-2000:]}"
    return done.stdout


def make_clips(directory, kind, count):
    """A sweep in `count` files."""
    files = []
    for number in range(count):
        file = directory / f"{kind}-{number}"
        sweep = f"aevalsrc='0.4*sin(2*PI*(300+40*t+{number * 97})*t)':s=44100:d={SECONDS}"
        run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", sweep, "-ac", "1", *ENCODERS[kind], file)
        files.append(file)
    return files


def make_many(directory, kind, frames, count):
    """Clips of so many frames, each a rising tone of its own, and what must be heard of all: their files, and the samples."""
    samples = frames * FRAME_SAMPLES[kind]
    files = [directory / f"{kind}-{number}" for number in range(count)]
    # In groups: a process for each would take most of the time.
    for group in range(0, count, GROUP):
        inputs, outputs = [], []
        for index, file in enumerate(files[group : group + GROUP]):
            rising = f"0.4*sin(2*PI*(300+7*{group + index}+200*t)*t)"
            inputs += ["-f", "lavfi", "-i", f"aevalsrc='{rising}':s=44100:d={samples / 44100}"]
            outputs += ["-map", f"{index}:a", "-ac", "1", *ENCODERS[kind], file]
        run("ffmpeg", "-v", "error", *inputs, *outputs)
    stream = b"".join(_bare(files[group : group + GROUP], kind) for group in range(0, count, GROUP))
    return [file.read_bytes() for file in files], decoded(stream, kind)


def pitch(number):
    """Of a tone, in Hz."""
    return 500 + 100 * number


def make_tones(directory, count):
    """Clips of one tone each."""
    clips = []
    for number in range(1, count + 1):
        file = directory / f"tone-{number}"
        tone = f"aevalsrc='0.4*sin(2*PI*{pitch(number)}*t)':s=44100:d={SECONDS}"
        run("ffmpeg", "-v", "error", "-f", "lavfi", "-i", tone, "-ac", "1", *ENCODERS["m4a"], file)
        clips.append(file.read_bytes())
    return clips


def heard_tones(raw):
    """The numbers of the tones in the order in which they were heard, each once for as long as it lasts."""
    heard, window, before = [], 4410, 0
    for at in range(0, len(raw) // 2 - window, window):
        part = samples(raw[2 * at : 2 * (at + window)])
        crossings = sum((a < 0) != (b < 0) for a, b in zip(part, part[1:]))
        number = round((crossings * 5 - pitch(0)) / (pitch(1) - pitch(0)))
        is_tone = max(part) > 8_000 and abs(crossings * 5 - pitch(number)) < 20
        # A window may lie on two clips: only what lasts is a tone.
        if is_tone and number == before and heard[-1:] != [number]:
            heard.append(number)
        before = number if is_tone else 0
    return heard


def joined(files, kind):
    """The clips one after the other, as `ffmpeg -c copy` joins them, without a container."""
    return b"".join(_bare([file], kind) for file in files)


def _bare(files, kind):
    """The same, of a few clips by one process."""
    form = ["-f", "mp3", "-write_xing", "0", "-id3v2_version", "0"] if kind == "mp3" else ["-f", "adts"]
    inputs, outputs, bare = [], [], [file.with_suffix(".bare") for file in files]
    for index, file in enumerate(files):
        inputs += ["-i", file]
        outputs += ["-map", f"{index}:a", "-c", "copy", *form, "-y", bare[index]]
    run("ffmpeg", "-v", "error", *inputs, *outputs)
    return b"".join(file.read_bytes() for file in bare)


def decoded(stream, kind):
    """The samples of a stream."""
    demuxer = "mp3" if kind == "mp3" else "aac"
    return run("ffmpeg", "-v", "error", "-f", demuxer, "-i", "pipe:0", *RAW, "pipe:1", given=stream)


def samples(raw):
    return array("h", raw[: len(raw) // 2 * 2])


def same_sound(heard, expected, slack):
    """What differs between two decoders' sounds, or nothing. At most `slack` samples may be missing or added at an end:
    a frame too few or too many within would shift all that follows. Where clips meet, decoders conceal differently."""
    heard, expected = samples(heard), samples(expected)
    if abs(len(heard) - len(expected)) > slack:
        return f"{len(heard)} samples for {len(expected)}"
    probe = expected[20_000:20_400]

    def error(shift):
        return max(abs(a - b) for a, b in zip(heard[20_000 + shift : 20_400 + shift], probe))

    shift = min(range(-slack, slack + 1), key=error)
    if error(shift) > 16:
        return f"the beginning differs by {error(shift)}"
    both = [(heard[at + shift], expected[at]) for at in range(slack, len(expected) - slack) if at + shift < len(heard)]
    power, noise = (sum(value * value for value in part) for part in ((b for _, b in both), (a - b for a, b in both)))
    return "" if noise * 10_000 < power else f"the sound differs: {noise / power:.2%} of its power"
