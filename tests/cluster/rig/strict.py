"""What strict parsers say against a file of sound."""

import os
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
NO_TAGS = "No supported tags in the file"
"""Of mp3val: a file without a title is not wrong."""


def _says(*command):
    """The exit code, and all that it prints, line by line."""
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    return done.returncode, [line for line in lines if line.strip()]


def complaints(path):
    """A line for each thing that is wrong: ffprobe's, and those of MP4Box and the parser of its authors, or of mp3val."""
    code, said = _says("ffprobe", "-v", "error", "-show_packets", "-of", "compact", path)
    packets = [line for line in said if line.startswith("packet|")]
    found = [f"ffprobe: {line}" for line in said if line not in packets]
    if code or not packets:
        return [*found, f"ffprobe: exit code {code}, {len(packets)} packets"]
    if path.suffix == ".mp3":
        _, said = _says("mp3val", path)
        return [*found, *(f"mp3val: {line}" for line in said if "WARNING" in line and NO_TAGS not in line)]
    code, said = _says("node", HERE / "strict.js", path)
    found += [f"mp4box.js: {line}" for line in said] + ([f"mp4box.js: exit code {code}"] if code else [])
    return found + mp4box(path, len(packets)) if has_mp4box() else found


def has_mp4box():
    return bool(os.environ.get("CASTAWAY_MP4BOX"))


def mp4box(path, frames):
    """GPAC's own: it reads all boxes and all frames, and writes these down."""
    program, found, bare = os.environ["CASTAWAY_MP4BOX"], [], path.with_suffix(".bare.aac")
    for what in (["-info"], ["-diso", "-out", path.with_suffix(".xml")], ["-raw", "1", "-out", bare]):
        code, said = _says(program, "-logs", "all@warning:ncl", *what, path)
        wrong = [line for line in said if re.search(r"^\[|error|warning|unknown box|incomplete|invalid", line, re.I)]
        found += [f"MP4Box {what[0]}: {line}" for line in wrong]
        if code and not wrong:
            found.append(f"MP4Box {what[0]}: exit code {code}")
    _, said = _says("ffprobe", "-v", "error", "-show_packets", "-of", "compact", bare)
    return found if len(said) == frames else [*found, f"MP4Box wrote {len(said)} frames of {frames}"]
