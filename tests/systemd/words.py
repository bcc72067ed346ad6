# The words that the test scripts speak. Runs first, in the same namespace; `machine`, `subtest` and `log` are the
# driver's, NixOS's or ours.

import json
import shlex
import time

UNIT = "castaway-media-server.service"
SOCKETS = "castaway-media-server.socket castaway-media-server-health.socket castaway-media-server-admin.socket"
CONFIG = "/etc/castaway-media-server/config.toml"
GOOGLE = "http://127.0.0.1:9000"
GOOGLE_ADMIN = "http://127.0.0.1:9001"
# Outlives a power cut, and is writable on NixOS too.
DROP_INS = "/etc/systemd/system.control"
TEST_CONFIG = f"""
[google]
keys_url = "{GOOGLE}/jwks"
identity_url = "{GOOGLE}/v1"
firestore_url = "{GOOGLE}/v1"
token_url = "{GOOGLE}/token"

[livestream]
grace = "20s"
"""


def writing(path, text):
    return f"mkdir -p $(dirname {path}); rm -f {path}; printf %s {shlex.quote(text)} >{path}"


def write(path, text):
    machine.succeed(writing(path, text))


def dropping_in(name, *lines, unit=UNIT):
    section = "[Socket]" if unit.endswith(".socket") else "[Service]"
    return writing(f"{DROP_INS}/{unit}.d/{name}.conf", "\n".join([section, *lines, ""]))


def drop_in(name, *lines, unit=UNIT):
    machine.succeed(dropping_in(name, *lines, unit=unit) + "; systemctl daemon-reload")


def mask_sockets():
    """Stops everything; from then on the daemon has to bind by itself."""
    # Not with `systemctl mask --runtime`: on NixOS the units lie in /etc, which comes before /run.
    links = "; ".join(f"ln -s /dev/null {DROP_INS}/{socket}" for socket in SOCKETS.split())
    machine.succeed(f"systemctl stop {UNIT} {SOCKETS}; mkdir -p {DROP_INS}; {links}; systemctl daemon-reload")


def property_of(name, unit=UNIT):
    return machine.get_unit_property(unit, name)


def configure(extra=""):
    write(CONFIG, TEST_CONFIG + extra)


def google(method, path, body=None):
    """Tells the double of Google what to do, or asks it (examples/google-double.rs)."""
    asked = ["curl", "--silent", "--show-error", "--fail-with-body", "--request", method, GOOGLE_ADMIN + path]
    if body is not None:
        asked += ["--header", "content-type: application/json", "--data", json.dumps(body)]
    answer = machine.succeed(shlex.join(asked))
    return json.loads(answer) if answer else None


def start_google():
    """A double of Google in the machine, or the one that runs, without faults; documents outlive a power cut."""
    serve = "google-double --service --listen 0.0.0.0:9000 --admin 0.0.0.0:9001 --documents /var/lib/google.json"
    machine.succeed(
        f"systemctl is-active google-double || systemd-run --quiet --setenv=PATH --unit=google-double {serve}"
    )
    machine.wait_for_open_port(9001)
    google("DELETE", "/faults")
    google("PUT", "/api-key", {"key": None})


def google_fails(endpoint, fault, **how):
    """Until the next `start_google`."""
    google("POST", "/faults", {"endpoint": endpoint, "fault": fault, "times": 100_000, **how})


def document(livestream, artist):
    google("PUT", f"/livestreams/{livestream}", {"artistId": artist})


def service_account(path):
    """Writes the JSON of the service account to `path` in the machine."""
    machine.succeed(f"curl --silent --fail {GOOGLE_ADMIN}/service-account >{path}")


def fresh(*lines, config=""):
    """The daemon as it is shipped, just started, with nobody connected and `lines` in a drop-in."""
    start_google()
    steps = [
        # In this order: a client that comes back meanwhile would have its socket start the daemon again.
        "systemctl stop 'client-*'",
        f"systemctl stop {SOCKETS}",
        f"systemctl stop {UNIT}",
        f"rm -rf {DROP_INS}/castaway-* /etc/credstore/* /run/credstore/* /etc/credstore.encrypted/* /tmp/clients",
        "mkdir -p /tmp/clients",
        writing(CONFIG, TEST_CONFIG + config),
        dropping_in("google", "Environment=GCE_METADATA_HOST=127.0.0.1:9000"),
        dropping_in("test", *lines),
        "systemctl daemon-reload",
        "systemctl reset-failed",
        f"systemctl start {SOCKETS}",
        f"systemctl start {UNIT}",
    ]
    machine.succeed("; ".join(steps), timeout=90)


def client(name, role, livestream, user, *arguments):
    """A user's client, in a unit of its own; what it meets is in met(name)."""
    command = " ".join(["castaway-client", role, livestream, user, f"/tmp/clients/{name}", *arguments])
    machine.succeed(
        f"systemd-run --quiet --collect --setenv=PATH --unit=client-{name} --property=KillMode=mixed {command}"
    )


def met(name, event=None):
    lines = machine.succeed(f"cat /tmp/clients/{name} 2>/dev/null || true").splitlines()
    return [entry for entry in map(json.loads, lines) if event in (None, entry["event"])]


def clips(name, event="audio"):
    return [entry["clip"] for entry in met(name, event) if event != "upload" or entry.get("ok")]


def until(promise, timeout=60):
    """Waits until `promise()` is true; its name is what is said where it never is."""
    end = time.monotonic() + timeout
    while not promise():
        assert time.monotonic() < end, f"not within {timeout} s: {promise.__name__}"
        time.sleep(0.2)


def hears_more(name, count=3):
    """`name` hears `count` clips that it had not heard yet."""
    already = len(clips(name))

    def more_clips_are_heard():
        return len(clips(name)) >= already + count

    until(more_clips_are_heard)


def show(livestream="show", listeners=1):
    """A livestream on air with listeners; returns when everybody hears."""
    document(livestream, "alice")
    client("alice", "streamer", livestream, "alice")
    client_names = [f"bob{n}" for n in range(listeners)]

    def the_streamer_is_accepted():
        return bool(clips("alice", "upload"))

    until(the_streamer_is_accepted)
    for name in client_names:
        client(name, "listener", livestream, name)
    for name in client_names:
        hears_more(name)


def on_air(livestream="show"):
    return google("GET", f"/livestreams/{livestream}")["streamerConnected"]


def it_is_on_air():
    return on_air()


def the_flag_is_cleared():
    return not on_air()


def now_in_journal():
    """A place in the journal: what is asked of `journal` with it came later."""
    machine.succeed("journalctl --sync")
    return json.loads(machine.succeed("journalctl --lines 1 --output json"))["__CURSOR"]


def journal(after, *matches, unit=UNIT):
    machine.succeed("journalctl --sync")
    asked = " ".join(shlex.quote(match) for match in [f"--after-cursor={after}", f"_SYSTEMD_UNIT={unit}", *matches])
    return [json.loads(line) for line in machine.succeed(f"journalctl --output json {asked}").splitlines()]


def messages(after, *matches):
    return [str(entry.get("MESSAGE")) for entry in journal(after, *matches)]


def tokens_of_clients():
    """The signatures of all ID tokens that clients came with: in pieces, because a token may be cut."""
    return {line.split(".")[2][:40] for line in machine.succeed("cat /var/tmp/id-tokens").splitlines()}


def must_fail_to_start():
    """Restarts the daemon, which must not come up; returns what it said."""
    before = now_in_journal()
    drop_in("once", "Restart=no")
    machine.fail(f"systemctl restart {UNIT}", timeout=90)
    return "\n".join(messages(before))
