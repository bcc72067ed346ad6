# What the NixOS module generates, and NixOS's own way from one generation to the next. Needs words.py, and the machine
# of module/run.

GENERATIONS = "first upgraded louder rotated unreadable"
CREDENTIALS = "castaway-credentials.service"
API_KEY = "AIza-the-key-of-this-test"


def install():
    """Makes the machine look like NixOS to switch-to-configuration, with Debian's own units in every generation."""
    start_google()
    google("PUT", "/secrets/the-api-key", {"text": API_KEY})
    google("PUT", "/secrets/another-key", {"text": f"{API_KEY}-rotated"})
    machine.succeed(
        "tar -xf /root/tree.tar -C /; rm /root/tree.tar",
        "useradd --system --home-dir /var/lib/caddy caddy; echo 127.0.0.1 live.example.org >>/etc/hosts",
        # It asks logind for users, whose units it switches too. Of what is masked in /etc it would stop the mounts.
        "rm /etc/systemd/system/systemd-logind.service; mkdir -p /run/systemd/system /tmp/clients",
        "find /etc/systemd/system -maxdepth 1 -lname /dev/null -exec mv -t /run/systemd/system {} +",
        f"for g in {GENERATIONS}; do cp -a --update=none /etc/systemd/system/. /generations/$g/etc/systemd/system/; done",
        "mv /etc/systemd/system /etc/systemd/system.debian",
        "touch /etc/NIXOS; /generations/first/activate /generations/first; systemctl daemon-reload",
        "systemctl start systemd-logind sockets.target",
        f"systemctl start {UNIT} caddy.service",
    )


SWITCH = (
    "systemd-run --unit=castaway-switch --collect --wait --quiet /generations/{0}/bin/switch-to-configuration switch"
)


def switch(generation):
    """As nixos/gce/README.md does it: in a unit of its own. Returns what was said."""
    before = now_in_journal()
    machine.succeed(SWITCH.format(generation), timeout=120)
    said = [str(entry.get("MESSAGE")) for entry in journal(before, unit="castaway-switch.service")]
    log.info(f"switch to {generation}: {' / '.join(said)}")
    return "\n".join(said)


def on_air_without_its_streamer(livestream):
    """A livestream with a listener, whose streamer has just vanished."""
    machine.succeed("systemctl stop 'client-*'; rm -rf /tmp/clients; mkdir -p /tmp/clients")
    show(livestream)
    machine.succeed("systemctl kill --signal=KILL --kill-whom=all client-alice")


def goes_on(livestream):
    """The streamer comes back, and the listener, who was sent away by nobody, hears on."""

    def it_is_live_without_its_streamer():
        return on_air(livestream)

    # The daemon clears the flag when it stops, and sets it again when it takes the livestream over.
    until(it_is_live_without_its_streamer, timeout=10)
    client("back", "streamer", livestream, "alice")
    hears_more("bob0")
    assert not met("bob0", "error"), met("bob0", "error")


def survives_a_switch_to(generation):
    on_air_without_its_streamer(generation)
    pid = property_of("MainPID")
    said = switch(generation)
    assert property_of("MainPID") != pid, said
    assert "stopping" not in said, said
    goes_on(generation)


install()

with subtest("the generated units are understood without a word"):
    units = f"{UNIT} {SOCKETS} {CREDENTIALS} caddy.service"
    said = machine.succeed(f"systemd-analyze verify --man=no --recursive-errors=no {units} 2>&1 || true")
    # A key of systemd 260, for which Debian's is too old.
    unknown = [line for line in said.splitlines() if "RefreshOnReload" not in line]
    assert unknown == [], unknown

with subtest("the daemon has its configuration and secrets"):
    machine.wait_for_unit(UNIT, timeout=60)
    assert property_of("ActiveState", CREDENTIALS) == "active"
    machine.succeed("castaway-media-server check-config --config /etc/castaway-media-server/config.toml")
    show()
    assert API_KEY in google("GET", "/api-keys")

with subtest("systemd holds the ports that the module names"):
    listening = machine.succeed("ss --listening --tcp --numeric --no-header | awk '{ print $4 }'").split()
    assert "127.0.0.1:3000" in listening, listening
    assert "[::]:8080" in listening or "*:8080" in listening, listening
    assert "0.0.0.0:3000" not in listening and "*:3000" not in listening, listening

with subtest("an upgrade keeps a livestream without its streamer"):
    survives_a_switch_to("upgraded")
    assert "-next/bin/" in machine.succeed(f"tr '\\0' ' ' </proc/{property_of('MainPID')}/cmdline")

with subtest("a rollback keeps a livestream without its streamer"):
    survives_a_switch_to("first")

with subtest("a changed secret keeps a livestream without its streamer"):
    survives_a_switch_to("rotated")
    assert f"{API_KEY}-rotated" in google("GET", "/api-keys")
    survives_a_switch_to("first")

with subtest("an unreadable secret keeps a livestream without its streamer"):
    before = now_in_journal()
    survives_a_switch_to("unreadable")
    said = [str(entry.get("MESSAGE")) for entry in journal(before, unit=CREDENTIALS)]
    assert any("the copies on this machine stay" in line for line in said), said
    survives_a_switch_to("first")

with subtest("a new log level reloads the daemon"):
    pid = property_of("MainPID")
    said = switch("louder")
    assert property_of("MainPID") == pid and f"reloading the following units: {UNIT}" in said, said
    switch("first")
    assert property_of("MainPID") == pid

with subtest("a switch outlives the session that asked for it"):
    pid = property_of("MainPID")
    machine.execute(f"timeout --signal=KILL 0.3 {SWITCH.format('upgraded')}")

    def the_switch_is_done():
        return property_of("ActiveState", "castaway-switch.service") == "inactive" and property_of("MainPID") != pid

    until(the_switch_is_done)
    machine.succeed("test /run/current-system -ef /generations/upgraded")
    switch("first")
