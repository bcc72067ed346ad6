# What needs a kernel of its own: limits that it enforces, and a power cut. Needs words.py.

GROUP = f"/sys/fs/cgroup/system.slice/{UNIT}"

with subtest("the kernel was told the unit's limits"):
    fresh()
    total = int(machine.succeed("grep MemTotal /proc/meminfo").split()[1]) * 1024
    maximum = int(machine.succeed(f"cat {GROUP}/memory.max"))
    assert 0.75 * total < maximum < 0.85 * total, (maximum, total)
    assert machine.succeed(f"cat {GROUP}/memory.swap.max {GROUP}/pids.max").split() == ["0", "1024"]
    limits = machine.succeed(f"cat /proc/{property_of('MainPID')}/limits")
    assert "Max open files            65536                65536" in limits, limits
    assert "Max core file size        0                    0" in limits, limits


def anonymous_memory():
    """What the kernel cannot take back from the daemon, which has no swap: a limit below it is a limit exceeded."""
    return int(machine.succeed(f"sed -n 's/^anon //p' {GROUP}/memory.stat"))


def limit_memory(limit):
    machine.succeed(f"systemctl set-property --runtime {UNIT} MemoryMax={limit}")


with subtest("past MemoryMax the kernel kills the daemon, systemd says so and starts it again"):
    fresh()
    used = anonymous_memory()
    log.info(f"idle: {used >> 10} KiB of its own memory")
    before = now_in_journal()

    def the_kill_is_in_the_journal():
        machine.succeed("journalctl --sync")
        return (
            machine.execute(f"journalctl --after-cursor={shlex.quote(before)} --unit {UNIT} | grep -F oom-kill")[0] == 0
        )

    try:
        limit_memory(used // 2)
        until(the_kill_is_in_the_journal, timeout=90)
    finally:
        # What comes next is another promise, and needs a daemon.
        limit_memory("80%")
    machine.wait_until_succeeds("curl --fail --silent --max-time 5 localhost:8080/", timeout=90)
    assert property_of("NRestarts") != "0"

with subtest("an operator's address filter holds: on a socket unit for what systemd listens on"):
    fresh()
    machine.succeed("curl --fail --silent --max-time 10 http://192.168.1.1:8080/")
    machine.succeed(f"systemctl stop {UNIT} {SOCKETS}")
    # Connections belong to the group of the socket that they came in by, so the service's own filter does not see them.
    drop_in("test", "IPAddressDeny=any", "IPAddressAllow=localhost", unit="castaway-media-server-health.socket")
    machine.succeed(f"systemctl start {SOCKETS} {UNIT}")
    machine.succeed("curl --fail --silent --max-time 10 http://127.0.0.1:8080/")
    machine.fail("curl --fail --silent --max-time 5 http://192.168.1.1:8080/")

with subtest("an operator's address filter holds: on the service where it listens by itself"):
    fresh("IPAddressDeny=any", "IPAddressAllow=localhost")
    mask_sockets()
    machine.succeed(f"systemctl start {UNIT}")
    machine.succeed("curl --fail --silent --max-time 10 http://127.0.0.1:8080/")
    machine.fail("curl --fail --silent --max-time 5 http://192.168.1.1:8080/")

with subtest("a power cut in the middle of a livestream: up again by itself, and no flag without a streamer"):
    fresh()
    show()
    until(it_is_on_air)
    machine.succeed("sync")
    machine.crash()
    machine.start()
    machine.wait_for_unit(UNIT, timeout=180)
    machine.succeed("rm -rf /tmp/clients; mkdir -p /tmp/clients")
    start_google()
    until(the_flag_is_cleared, timeout=120)
    show()
