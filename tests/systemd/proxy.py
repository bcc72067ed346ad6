# Caddy in front of the daemon, as the module sets it up. Needs words.py and module.py.

URL = "https://live.example.org"
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
# An address that no other client of this machine has.
CALLER = "127.0.0.77"
TRANSPORTS = ("websocket", "polling")


def through_the_proxy(name, role, livestream, user, transport):
    settings = {
        "CASTAWAY_URL": URL,
        "CASTAWAY_TRANSPORT": transport,
        "REQUESTS_CA_BUNDLE": AUTHORITY,
        "WEBSOCKET_CLIENT_CA_BUNDLE": AUTHORITY,
    }
    given = " ".join(f"--setenv={key}={value}" for key, value in settings.items())
    machine.succeed(
        f"systemd-run --quiet --collect --setenv=PATH {given} --unit=client-{name} --property=KillMode=mixed "
        f"castaway-client {role} {livestream} {user} /tmp/clients/{name}"
    )


def on_air_through_the_proxy(livestream):
    """A streamer and a listener over each transport; returns when every listener hears."""
    machine.succeed("systemctl stop 'client-*'; rm -rf /tmp/clients; mkdir -p /tmp/clients")
    for transport in TRANSPORTS:
        document(f"{livestream}-{transport}", transport)
        through_the_proxy(f"streamer-{transport}", "streamer", f"{livestream}-{transport}", transport, transport)
    for transport in TRANSPORTS:

        def the_streamer_is_accepted():
            return bool(clips(f"streamer-{transport}", "upload"))

        until(the_streamer_is_accepted)
        # Each listens to the streamer of the other transport.
        other = TRANSPORTS[transport == TRANSPORTS[0]]
        through_the_proxy(f"listener-{other}", "listener", f"{livestream}-{transport}", f"listens-{other}", other)
    everybody_hears_more()


def everybody_hears_more():
    for transport in TRANSPORTS:
        hears_more(f"listener-{transport}")


def nobody_was_sent_away():
    for transport in TRANSPORTS:
        for name in (f"listener-{transport}", f"streamer-{transport}"):
            assert not met(name, "error"), met(name, "error")


def lost_between(streamer, listener):
    """Clips that were acknowledged to the streamer and never heard, of those that were sent meanwhile."""
    sent, heard = clips(streamer, "upload"), clips(listener)
    return [clip for clip in sent if heard[0] <= clip <= heard[-1] and clip not in heard]


with subtest("clips arrive in order over both transports"):
    machine.wait_until_succeeds(f"test -s {AUTHORITY}", timeout=30)
    on_air_through_the_proxy("proxied")
    for transport in TRANSPORTS:
        heard = clips(f"listener-{transport}")
        assert heard == list(range(heard[0], heard[0] + len(heard))), heard
    nobody_was_sent_away()

with subtest("a restart of the daemon ends no livestream"):
    on_air_through_the_proxy("restarted")
    machine.succeed(f"systemctl restart {UNIT}")
    everybody_hears_more()
    nobody_was_sent_away()
    for transport, other in (TRANSPORTS, TRANSPORTS[::-1]):
        lost = lost_between(f"streamer-{other}", f"listener-{transport}")
        assert len(lost) <= 1, f"acknowledged to {other}, never heard by {transport}: {lost}"

with subtest("a restart of Caddy ends no livestream"):
    on_air_through_the_proxy("cut")
    began = time.monotonic()
    machine.succeed("systemctl restart caddy.service")
    log.info(f"Caddy restarted in {time.monotonic() - began:.1f} s")
    everybody_hears_more()
    nobody_was_sent_away()
    log.info(f"everybody heard again after {time.monotonic() - began:.1f} s")

with subtest("a reload of Caddy cuts nobody off"):
    on_air_through_the_proxy("reloaded")
    machine.succeed("systemctl reload caddy.service")
    everybody_hears_more()
    for transport in TRANSPORTS:
        assert len(met(f"listener-{transport}", "connect")) == 1, met(f"listener-{transport}", "connect")
    nobody_was_sent_away()

with subtest("a killed Caddy comes back, however often"):
    for _ in range(12):
        machine.succeed("systemctl kill --signal=KILL caddy.service")
        machine.wait_for_unit("caddy.service", timeout=20)
        machine.wait_for_open_port(443, timeout=20)

with subtest("an upgrade through the proxy ends no livestream"):
    on_air_through_the_proxy("switched")
    switch("upgraded")
    everybody_hears_more()
    nobody_was_sent_away()
    switch("first")

with subtest("Caddy keeps no header and no address"):
    token = google("POST", "/tokens", {"user": "mallory"})["token"]
    ask = f"curl --silent --show-error --cacert {AUTHORITY} --interface {CALLER} --max-time 40 -H 'id-token: {token}' "
    ask += "-H 'livestream-id: a-secret-livestream' "
    page = f"'{URL}/socket.io/?EIO=4&transport=polling'"
    machine.succeed(f"{ask} {page}")
    machine.execute(f"{ask} -X POST --data-binary 40/listener, {page}")
    # An error of Caddy's own, which it logs with the request: nothing answers behind it.
    machine.succeed(f"systemctl stop {SOCKETS} {UNIT}")
    assert "502" in machine.succeed(f"{ask} --output /dev/null --write-out '%{{http_code}}' {page}", timeout=60)
    machine.succeed(f"systemctl start {SOCKETS} {UNIT}")
    tokens = {token.split(".")[2][:40], *tokens_of_clients()}
    write("/root/secrets", "\n".join([*tokens, CALLER, "a-secret-livestream", "Id-Token"]) + "\n")
    machine.succeed("journalctl --sync")
    machine.fail("journalctl --unit caddy.service --output export | grep --text --ignore-case -F -f /root/secrets")
    machine.fail("grep -r --text --ignore-case -F -f /root/secrets /var/log/caddy /var/lib/caddy")

with subtest("Caddy still logs errors of its own"):
    broken = "live.example.org { \n tls /root/no-such-certificate.pem /root/no-such-key.pem \n }"
    write("/root/broken", broken)
    machine.fail("caddy reload --config /root/broken --adapter caddyfile --force")
    machine.wait_until_succeeds("journalctl --unit caddy.service | grep -F no-such-certificate.pem", timeout=20)
