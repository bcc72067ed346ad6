# What operators are promised of many machines. Runs after words.py, whose `machine` is the node that is spoken to.

machine = valkey


def at(node):
    global machine
    machine = node


def node_says(node, line):
    node.wait_until_succeeds(f"curl --silent localhost:8080/metrics | grep -Fx {shlex.quote(line)}", timeout=60)


start_all()
start_google()
for node in (valkey, one, two):
    node.wait_until_succeeds(
        f"curl --fail --silent {GOOGLE}/jwks && curl --fail --silent {GOOGLE_ADMIN}/calls", timeout=60
    )
    node.succeed(f"mkdir -p /tmp/clients; systemctl restart {UNIT}", timeout=90)
for node in (valkey, one, two):
    node_says(node, "castaway_redis_up 1")
    node_says(node, "castaway_cluster_nodes 3")

with subtest("a livestream on one machine is heard on another"):
    document("show", "alice")
    at(one)
    client("alice", "streamer", "show", "alice")
    client("anne", "listener", "show", "anne")
    hears_more("anne")
    at(two)
    client("bob", "listener", "show", "bob")
    hears_more("bob")
    node_says(one, 'castaway_cluster_livestreams{role="owner"} 1')
    node_says(two, 'castaway_cluster_livestreams{role="follower"} 1')

with subtest("without Redis a livestream goes on where its streamer is, and on all machines when Redis is back"):
    valkey.succeed("systemctl stop redis-castaway.service")
    one.wait_until_succeeds(
        "curl --silent localhost:8080/readyz | grep -E 'Redis (is away|has not answered)'", timeout=30
    )
    at(one)
    hears_more("anne", 1)
    valkey.succeed("systemctl start redis-castaway.service")
    at(two)
    hears_more("bob")

with subtest("a machine is lost: its streamer goes on at another, and listeners there stay"):
    at(two)
    one.crash()

    def the_listener_is_told():
        return met("bob", "state")[-1]["state"] == "reconnecting"

    until(the_listener_is_told)
    client("back", "streamer", "show", "alice")
    hears_more("bob")
    assert len(met("bob", "connect")) == 1, met("bob", "connect")
