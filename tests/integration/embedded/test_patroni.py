# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Patroni runs the servers, the same modules find it out, and have it done by Patroni. A real one, with etcd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_servers import await_
from patroni_ground import NAMES, Trio
from pool_ground import ADMIN, RULES, Pooler, Writer, prepare, with_users


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    """Three members, set up by hand; the first one leads."""
    made = Trio()
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_the_manager_is_found_out(trio: Trio) -> None:
    found = {name: trio.ask(name, "instance_info")["instance"] for name in NAMES}
    assert {facts["manager"] for facts in found.values()} == {"patroni"}
    assert [found[name]["role"] for name in NAMES] == ["primary", "replica", "replica"]
    told = found["two"]["patroni"]
    assert (told["scope"], told["name"], told["leader"], told["paused"]) == ("orders", "two", "one", False)
    assert told["version"].startswith("3.")
    assert trio.ask("two", "patroni", state="awaited")["role"] == "replica"


def test_settings_are_declared_once_for_all_members(trio: Trio) -> None:
    declared = {"work_mem": "8MB", "log_min_duration_statement": "1s", "max_connections": 80}
    dry = trio.config(settings=declared, check=True)
    assert dry["changed"] and dry["restart_required"] == ["max_connections"]
    assert "max_connections = '80'  # awaits a restart" in dry["diff"][0]["after"]
    assert "max_connections = '60'" in dry["diff"][0]["before"]
    done = trio.config(settings=declared)
    assert done["changed"] and done["restart_required"] == ["max_connections"]
    trio.await_shown("work_mem", "8MB")
    same = {"work_mem": 8192, "log_min_duration_statement": 1000, "max_connections": "80"}
    for name in NAMES:
        assert not trio.ask(name, "config", settings=same)["changed"]
    # One that is no longer declared goes, and what others have set stays.
    assert trio.config(settings={"max_connections": 80})["changed"]
    trio.await_shown("work_mem", "4MB")
    assert trio.get("/config")["postgresql"]["parameters"]["shared_buffers"] == "16MB"


def test_what_the_server_refuses_is_never_declared(trio: Trio) -> None:
    before = trio.get("/config")
    told = trio.config(settings={"work_mem": "8 parsecs"}, fails=True)["msg"]
    assert "nothing was changed" in told and "work_mem" in told
    told = trio.config(settings={"port": 5433}, fails=True)["msg"]
    assert "port is Patroni's own" in told
    rules = [*RULES, {"type": "host", "database": "all", "user": "all", "address": "127.0.0.1/32", "method": "radius"}]
    told = trio.config(settings={"max_connections": 80}, hba=rules, fails=True)["msg"]
    assert "the old ones are back" in told
    after = trio.get("/config")
    assert after == before


def test_a_restart_is_patronis_replicas_first(trio: Trio) -> None:
    facts = {name: trio.ask(name, "instance_info")["instance"] for name in NAMES}
    assert [one["pending_restart"] for one in facts.values()] == [["max_connections"]] * 3
    order = trio.ask("one", "restart", state="planned", members=facts)["order"]
    assert order[-1] == "one" and sorted(order) == sorted(NAMES)
    for name in order:
        dry = trio.ask(name, "restart", check=True)
        assert dry["changed"] and dry["applied"][0]["new"] == "80"
        assert trio.ask(name, "restart")["changed"]
    assert trio.shown("max_connections") == {"80"}
    assert not any(trio.ask(name, "restart")["changed"] for name in NAMES)
    assert trio.leader() == "one", "nobody took the restart for a failure"


def test_clients_of_a_pooler_notice_no_switchover(trio: Trio) -> None:
    leader = with_users(trio.servers["one"])
    prepare(leader)
    pooler = Pooler(trio.home).begin(leader)
    try:
        members = trio.seen()
        place = {name: {"host": "127.0.0.1", "port": server.port} for name, server in trio.servers.items()}
        given = {
            "candidate": "two", "members": members, "addresses": place, "poolers": [pooler.shown()],
            "upstreams": {"one": "two", "three": "two"},
        }  # fmt: skip
        plan = trio.ask("one", "switchover", state="planned", **given)
        assert (plan["situation"], plan["old"], plan["databases"]) == ("begin", "one", ["shop", "stock"])
        for name in ("one", "two"):
            assert not trio.ask(name, "switchover", state="staged")["changed"]
        port = trio.servers["two"].port
        pooler.module("routed", database=plan["databases"], server_host="127.0.0.1", server_port=port, reload=False)
        move = {
            "state": "moved", "name": "one", "candidate": "two", "candidate_host": "127.0.0.1", "candidate_port": port,
            "timeline": members["one"]["timeline"], "consoles": [pooler.console], "pool_password": ADMIN,
            "pool_databases": plan["databases"],
        }  # fmt: skip
        assert trio.ask("one", "switchover", check=True, **move)["changed"]
        with Writer(pooler) as writer:
            moved = trio.ask("one", "switchover", **move)
            writer.await_rows(20)
        assert writer.errors == []
        assert moved["timeline"] > members["one"]["timeline"] and not moved["rolled_back"]
        kept = trio.servers["two"].psql("SELECT count(*) FROM written", dbname="shop")
        assert int(kept) == len(writer.acknowledged)
        assert trio.leader() == "two"
        for name in NAMES:
            trio.ask(name, "patroni", state="awaited")
        again = {**given, "members": trio.seen(), "poolers": [pooler.shown()]}
        plan = trio.ask("one", "switchover", state="planned", **again)
        assert (plan["situation"], plan["unfinished"], plan["databases"]) == ("finish", False, [])
        # Whoever does not lead any more moves nothing.
        told = trio.ask("one", "switchover", fails=True, **move)
        assert "nothing was touched: Patroni's leader is two" in told["msg"] and told["rolled_back"]
    finally:
        pooler.end()


def test_a_switchover_that_patroni_refuses_lets_clients_go_on(trio: Trio) -> None:
    """The candidate is barred after the plan was made."""
    three = trio.servers["three"]
    before = trio.seen()["two"]["timeline"]
    place = trio.home / "three/patroni.yml"
    kept = place.read_text()
    place.write_text(kept.replace('"name": "three"', '"name": "three", "tags": {"nofailover": true}', 1))
    trio.processes["three"].send_signal(1)
    await_(lambda: trio.members()["three"].get("tags"), 30, "the tag")
    move = {"state": "moved", "name": "two", "candidate": "three", "candidate_host": "127.0.0.1",
            "candidate_port": three.port, "timeline": before, "timeout": 20}  # fmt: skip
    told = trio.ask("two", "switchover", fails=True, **move)
    assert told["rolled_back"] and "the old primary goes on" in told["msg"]
    assert trio.servers["two"].psql("SELECT pg_is_in_recovery()") == "f"
    place.write_text(kept)
    trio.processes["three"].send_signal(1)
    await_(lambda: not trio.members()["three"].get("tags"), 30, "the end of the tag")


def test_a_pause_is_heard_by_all(trio: Trio) -> None:
    assert trio.ask("one", "patroni", state="paused", check=True)["changed"]
    assert trio.ask("one", "patroni", state="paused")["changed"]
    assert not trio.ask("three", "patroni", state="paused")["changed"]
    assert trio.ask("two", "instance_info")["instance"]["patroni"]["paused"]
    assert trio.ask("two", "patroni", state="resumed")["changed"]
    assert not trio.ask("one", "instance_info")["instance"]["patroni"]["paused"]


def test_patronis_own_settings_and_the_account_that_rewinds(trio: Trio) -> None:
    settings = {"maximum_lag_on_failover": 2097152, "postgresql": {"use_slots": True}}
    assert trio.ask("one", "patroni", state="configured", settings=settings, check=True)["changed"]
    assert trio.ask("one", "patroni", state="configured", settings=settings)["changed"]
    assert not trio.ask("one", "patroni", state="configured", settings=settings)["changed"]
    account = {"state": "prepared", "rewind_password": "for rewinding"}
    assert trio.ask("two", "patroni", **account)["changed"]
    assert not trio.ask("two", "patroni", **account)["changed"]
    rights = "SELECT rolsuper, rolreplication FROM pg_roles WHERE rolname = 'rewinder'"
    assert trio.servers["two"].psql(rights) == "f|f"


def test_a_replica_is_cloned_anew_and_a_leader_never(trio: Trio) -> None:
    leader = trio.servers["two"]
    assert "two leads" in trio.ask("two", "patroni", state="reinitialized", force=True, fails=True)["msg"]
    assert not trio.ask("one", "patroni", state="reinitialized")["changed"]
    inode = (trio.servers["one"].data_dir / "PG_VERSION").stat().st_ino
    assert trio.ask("one", "patroni", state="reinitialized", force=True)["reinitialized"]
    assert (trio.servers["one"].data_dir / "PG_VERSION").stat().st_ino != inode
    leader.psql("CREATE TABLE afterwards ()")
    await_(lambda: trio.servers["one"].psql("SELECT to_regclass('afterwards')") == "afterwards", 30, "the table")


def test_a_leader_that_is_lost_while_the_cluster_is_paused(trio: Trio) -> None:
    """Patroni does nothing then. The playbook has the furthest one lead, and the old one comes back by the other."""
    trio.play("evidence_key")
    old = trio.leader()
    told = trio.play("failover")
    assert f"{old} is the primary of orders and works; nothing is to be done" in told
    trio.ask(old, "patroni", state="paused")
    trio.servers[old].psql("CREATE TABLE before_it ()")
    trio.processes[old].kill()
    trio.processes[old].wait(30)
    trio.servers[old].kill()
    await_(lambda: trio.members() and not trio.leader(), 60, "the end of the lock")
    told = trio.play("failover")
    new = trio.leader()
    assert f"failover: orders verified primary={new} fenced=patroni" in told
    assert new not in ("", old) and trio.servers[new].psql("SELECT to_regclass('before_it')") == "before_it"
    assert not trio.servers[new].data_dir.with_name("data.failover.json").exists()
    record = trio.record()
    assert (record["operation"], record["verdict"]) == ("failover", "verified")
    measured = record["measurements"]
    assert (measured["primary_before"], measured["primary_after"]) == (old, new)
    assert measured["timeline_after"] > measured["timeline_before"]
    told = trio.play("failover")
    assert f"{new} is the primary of orders and works; nothing is to be done" in told and "changed=1" not in told
    trio.start(old)
    trio.ask(new, "patroni", state="resumed")
    told = trio.play("rejoin", rejoin_host=old, rejoin_reclone=True, rejoin_timeout=60)
    assert f"rejoin: {old} of orders verified by " in told or "nothing is to be done" in told
    await_(trio.whole, 60, "all of them")
    assert trio.leader() == new


def test_a_patroni_that_is_gone_is_told_in_one_line(trio: Trio) -> None:
    """Its configuration still says whose the server is, where it can be found."""
    trio.processes["three"].kill()
    trio.processes["three"].wait(30)
    found = trio.ask("three", "instance_info")["instance"]
    assert found["manager"] is None, "no process names it, and it lies in no usual place"
    told = trio.ask("three", "patroni", fails=True)["msg"]
    assert "no configuration of Patroni names" in told
    # Whichever member makes the plan, also the one whose Patroni is gone.
    for name in ("two", "three"):
        given = {"state": "planned", "candidate": "three", "members": trio.seen()}
        assert "three is not run by Patroni" in trio.ask(name, "switchover", fails=True, **given)["msg"]
