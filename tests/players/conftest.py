"""One daemon that anybody may listen to, with a window of all clips, and the streamer's clips."""

import os
import pwd
import signal

import pytest
import pytest_asyncio
import sound
from livestreams import ENVIRONMENT

from harness.google import Google
from harness.server import Server

COUNT = 5


@pytest_asyncio.fixture(scope="session")
async def google():
    google = await Google.start()
    yield google
    await google.stop()


@pytest_asyncio.fixture(scope="session")
async def daemon(google):
    server = await Server.start(google, ENVIRONMENT)
    yield server
    await server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """Clips that are told apart by ear: each has the pitch of its number, from 1."""
    return sound.make_tones(tmp_path_factory.mktemp("tones"), 20)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The files of each coding, and what must be heard of them: as a stream, and as samples."""
    directory = tmp_path_factory.mktemp("clips")
    made = {}
    for kind in sound.ENCODERS:
        files = sound.make_clips(directory, kind, COUNT)
        stream = sound.joined(files, kind)
        made[kind] = ([file.read_bytes() for file in files], stream, sound.decoded(stream, kind))
    return made


@pytest.fixture
def place(tmp_path):
    """A directory that players may write into, also as another user."""
    for path in [tmp_path, *list(tmp_path.parents)[:2]]:
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    return tmp_path
