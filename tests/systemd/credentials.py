# Secrets: every way in, every way of missing one, and no way out. Needs words.py.

API_KEY = "AIza-the-key-of-this-test"


def looks_up_with(key):
    """A streamer comes, and its account is looked up at Google with that key."""
    document("keyed", "alice")
    machine.succeed("systemctl stop 'client-keyed*'; rm -f /tmp/clients/keyed")
    client("keyed", "streamer", "keyed", "alice")

    def the_account_is_looked_up():
        return key in google("GET", "/api-keys")

    until(the_account_is_looked_up, timeout=15)


with subtest("ImportCredential: from the machine itself"):
    # Nobody else can say what the project is.
    fresh("Environment=GCE_METADATA_HOST=127.0.0.1:1")
    drop_in("test", "Environment=GCE_METADATA_HOST=127.0.0.1:1", "ImportCredential=")
    assert "google.project_id" in must_fail_to_start()

for place in ("/etc/credstore", "/run/credstore"):
    with subtest(f"ImportCredential: from {place}"):
        fresh()
        write(f"{place}/castaway.google.api_key", f"{API_KEY}-in{place}\n")
        machine.succeed(f"systemctl restart {UNIT}")
        looks_up_with(f"{API_KEY}-in{place}")

with subtest("ImportCredential: sealed to this machine, from /etc/credstore.encrypted"):
    fresh()
    write("/root/plain", f"{API_KEY}-imported")
    machine.succeed(
        "mkdir -p /etc/credstore.encrypted",
        "systemd-creds encrypt --name=castaway.google.api_key /root/plain /etc/credstore.encrypted/castaway.google.api_key",
        f"rm /root/plain; systemctl restart {UNIT}",
    )
    looks_up_with(f"{API_KEY}-imported")

with subtest("LoadCredential: a file that only root can read, under a name of old"):
    write("/root/api-key", f"{API_KEY}-loaded")
    machine.succeed("chmod 600 /root/api-key")
    fresh("LoadCredential=IDENTITY_SERVER_API_KEY:/root/api-key", "ImportCredential=")
    looks_up_with(f"{API_KEY}-loaded")

with subtest("LoadCredentialEncrypted: sealed to this machine"):
    write("/root/plain", f"{API_KEY}-sealed")
    machine.succeed(
        "systemd-creds encrypt --with-key=host --name=castaway.google.api_key /root/plain /root/sealed; rm /root/plain"
    )
    fresh("LoadCredentialEncrypted=castaway.google.api_key:/root/sealed", "ImportCredential=")
    looks_up_with(f"{API_KEY}-sealed")

with subtest("a reload re-reads the credentials"):
    # As systemd 260 and newer lay them down again; here by hand, for those that do not.
    directory = "/run/credentials-by-hand"
    write(f"{directory}/castaway.google.project_id", "castaway-test")
    write(f"{directory}/castaway.google.api_key", f"{API_KEY}-before")
    machine.succeed(f"chmod -R a+rX {directory}")
    fresh("ImportCredential=", f"Environment=CREDENTIALS_DIRECTORY={directory}")
    looks_up_with(f"{API_KEY}-before")
    pid = property_of("MainPID")
    write(f"{directory}/castaway.google.api_key", f"{API_KEY}-after")
    machine.succeed(f"chmod -R a+rX {directory}; systemctl reload {UNIT}")
    looks_up_with(f"{API_KEY}-after")
    assert property_of("MainPID") == pid

with subtest("systemd lays new credentials down for a reload"):
    version = int(machine.succeed("systemctl --version | head -1 | cut -d' ' -f2"))
    if version < 260:
        log.info(f"skipped: systemd {version} has no RefreshOnReload=credentials")
    else:
        fresh()
        write("/run/credstore/castaway.google.api_key", f"{API_KEY}-first")
        machine.succeed(f"systemctl restart {UNIT}")
        looks_up_with(f"{API_KEY}-first")
        write("/run/credstore/castaway.google.api_key", f"{API_KEY}-second")
        machine.succeed(f"systemctl reload {UNIT}")
        looks_up_with(f"{API_KEY}-second")

with subtest("a service account as its JSON text: access tokens by assertion"):
    fresh()
    service_account("/run/credstore/castaway.google.service_account")
    before = google("GET", "/calls")["token"]
    machine.succeed(f"systemctl restart {UNIT}")
    show()
    assert google("GET", "/calls")["token"] > before

with subtest("the private key of old, without its frame and with literal \\n"):
    fresh()
    service_account("/root/account")
    machine.succeed(
        "jq -r .private_key /root/account | grep -v -- ----- | sed 's/$/\\\\n/' | tr -d '\\n' >/root/old-key",
        "jq -j .client_email /root/account >/root/old-email; rm /root/account",
    )
    drop_in("test", "LoadCredential=PRIVATE_KEY:/root/old-key", "LoadCredential=CLIENT_EMAIL:/root/old-email")
    machine.succeed(f"systemctl restart {UNIT}")
    show()

with subtest("no credential at all: the machine's own service account"):
    start_google()
    before = google("GET", "/calls")
    fresh("ImportCredential=")
    show()
    after = google("GET", "/calls")
    assert after["metadata-token"] > before["metadata-token"] and after["token"] == before["token"], (before, after)

with subtest("a mangled private key is named at the start"):
    fresh()
    service_account("/root/account")
    machine.succeed(
        "jq -r .private_key /root/account | grep -v -- ----- | sed 's/$/n/' | tr -d '\\n' >/run/credstore/castaway.google.private_key",
        "rm /root/account",
    )
    write("/run/credstore/castaway.google.client_email", "daemon@castaway-test.example")
    said = must_fail_to_start()
    assert "google.private_key" in said, said

with subtest("an unknown credential is named with what would be right"):
    fresh()
    write("/run/credstore/castaway.google.api_kee", API_KEY)
    said = must_fail_to_start()
    assert "castaway.google.api_kee" in said and "api_key" in said and API_KEY not in said, said

with subtest("half a service account is named"):
    fresh()
    write("/run/credstore/castaway.google.client_email", "daemon@castaway-test.example")
    said = must_fail_to_start()
    assert "google.private_key" in said, said

with subtest("a file that LoadCredential= does not find stops the start with systemd's own code"):
    fresh()
    drop_in("test", "LoadCredential=castaway.google.api_key:/root/nowhere")
    must_fail_to_start()
    assert property_of("ExecMainStatus") == "243", property_of("ExecMainStatus")

with subtest("nobody else reads a credential"):
    fresh()
    write("/run/credstore/castaway.google.api_key", API_KEY)
    machine.succeed(f"systemctl restart {UNIT}")
    machine.fail(
        f"setpriv --reuid=65534 --regid=65534 --clear-groups cat /run/credentials/{UNIT}/castaway.google.api_key"
    )

with subtest("Secret Manager: the daemon waits through a first try that fails, and is there after the second"):
    fresh()
    machine.succeed(f"systemctl stop {UNIT} {SOCKETS}")
    write("/etc/castaway-media-server/secrets", "# the web API key\ncastaway.google.api_key the-api-key\n")
    secrets_drop_in = "/run/systemd/system/castaway-credentials.service.d/test.conf"
    write(
        secrets_drop_in,
        "[Service]\nEnvironment=GCE_METADATA_HOST=127.0.0.1:9000 CASTAWAY_SECRET_MANAGER_URL=http://127.0.0.1:9000\n",
    )
    drop_in("needs", "[Unit]", "Requires=castaway-credentials.service")
    before = now_in_journal()
    machine.succeed(f"systemctl start --no-block {UNIT}")
    machine.wait_until_succeeds(
        "journalctl -u castaway-credentials | grep -F 'cannot read projects/castaway-test/secrets/the-api-key'",
        timeout=30,
    )
    assert property_of("ActiveState") != "active"
    google("PUT", "/secrets/the-api-key", {"text": f"{API_KEY}-copied"})
    machine.wait_for_unit(UNIT, timeout=60)
    machine.succeed(f"systemctl start {SOCKETS}")
    looks_up_with(f"{API_KEY}-copied")

with subtest("Secret Manager: restarting the copy rotates, and the daemon follows"):
    pid = property_of("MainPID")
    google("PUT", "/secrets/the-api-key", {"text": f"{API_KEY}-rotated"})
    machine.succeed("systemctl restart castaway-credentials")
    machine.wait_for_unit(UNIT)
    assert property_of("MainPID") != pid
    looks_up_with(f"{API_KEY}-rotated")

with subtest("no secret in the journal, the environment, the command line, unit properties or a core dump"):
    machine.succeed("rm -f /etc/castaway-media-server/secrets")
    fresh(config='[log]\nlevel = "trace"\n')
    service_account("/run/credstore/castaway.google.service_account")
    write("/run/credstore/castaway.google.api_key", API_KEY)
    machine.succeed(f"systemctl restart {UNIT}")
    show()
    pid = property_of("MainPID")
    key = google("GET", "/service-account")["private_key"].splitlines()[1]
    # From a file, because grep's arguments are in the journal's reach too. Access tokens begin with `ya29.`, as Google's.
    secrets = [API_KEY, key, "ya29.", *tokens_of_clients()]
    write("/root/secrets", "\n".join(secrets) + "\n")
    machine.succeed("journalctl --sync")
    machine.succeed(f"journalctl --unit {UNIT} --output export | grep --text -F 'livestream started'")
    machine.fail(f"journalctl --unit {UNIT} --output export | grep --text -F -f /root/secrets")
    machine.succeed(f"cat /proc/{pid}/environ | grep --text -F CREDENTIALS_DIRECTORY")
    machine.fail(f"cat /proc/{pid}/environ /proc/{pid}/cmdline | grep --text -F -f /root/secrets")
    machine.fail(f"systemctl show {UNIT} | grep -F -f /root/secrets")
    machine.fail("grep -rF -f /root/secrets /var/lib/private/castaway-media-server /run/private/castaway-media-server")
    machine.succeed(f"kill -ABRT {pid}")
    machine.wait_until_succeeds("curl --fail --silent --max-time 5 localhost:8080/", timeout=30)
    machine.fail("find / -xdev -name 'core*' -size +100k -newer /root/secrets -not -path '/proc/*' | grep .")
