# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patroni's answers over HTTP, and what is made of them: a switchover, a pause, a member cloned anew."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import patroni as words
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import rejoin as rejoins
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import switchover as switchovers
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.instance_info import told
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rest import Api, Lost
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.switchover_move import Move, takes_writes
from patroni_nodes import Nodes, serving

OPTIONS: dict[str, Any] = {"data_dir": "/nowhere", "timeout": 2, "candidate": "db2"}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Both nodes; this host is the first one's. Signals are left as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with serving() as found:
        monkeypatch.setattr(Node, "of", classmethod(lambda _cls, _params: of(found)))
        yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def of(nodes: Nodes, name: str = "db1") -> Node:
    """A node as its configuration names it."""
    return Node(Path("/etc/patroni/config.yml"), "orders", name, Api(nodes.urls[name], "patroni", "for this test"))


def move(nodes: Nodes, **options: Any) -> Move:
    """A switchover without poolers."""
    given = {**OPTIONS, "candidate_host": "192.0.2.2", "candidate_port": 5432, "pool_databases": [], "pause_timeout": 1,
             "timeline": 4, **options}  # fmt: skip
    return Move(of(nodes), given, [])


def failing(moving: Move, expected: str) -> dict[str, Any]:
    """Run it; it fails with these words. Returns what it told."""
    with pytest.raises(OpsError, match=expected) as raised:
        moving.run()
    return raised.value.facts


# --- switchover -------------------------------------------------------------------------------------------------


def test_the_candidate_leads_and_the_stall_is_measured(nodes: Nodes) -> None:
    moving = move(nodes)
    moving.run()
    assert moving.facts["timeline"] == 5
    assert moving.facts["stall_ms"] >= moving.facts["phases"]["switch"] > 0
    [order] = [one for one in nodes.asked if one[2] == "/switchover"]
    assert order == ("db1", "POST", "/switchover", {"leader": "db1", "candidate": "db2"})


def test_only_orders_carry_the_password_and_only_to_the_own_node(nodes: Nodes) -> None:
    move(nodes).run()
    assert {login.split()[0] for login in nodes.logins if "Basic" in login} == {"POST"}
    assert {name for name, method, _path, _body in nodes.asked if method != "GET"} == {"db1"}


def test_a_refusal_leaves_the_old_primary(nodes: Nodes) -> None:
    nodes.orders["/switchover"] = lambda _body: (412, "candidate name does not match with sync_standby")
    facts = failing(move(nodes), "Patroni refuses: candidate name does not match.*the old primary goes on")
    assert facts["rolled_back"]


def test_one_that_failed_leaves_whoever_takes_writes(nodes: Nodes) -> None:
    nodes.orders["/switchover"] = lambda _body: (503, "Switchover failed")
    assert failing(move(nodes), "Switchover failed; the old primary goes on")["rolled_back"]


def test_one_that_failed_and_left_nobody_is_told_so(nodes: Nodes) -> None:
    def fails(_body: Any) -> tuple[int, str]:
        nodes.states["db1"] = "stopped"
        return 503, "Switchover failed"

    nodes.orders["/switchover"] = fails
    facts = failing(move(nodes, timeout=1), "Patroni gave up: Switchover failed; who leads is not known")
    assert facts["sent"] and not facts["rolled_back"]


def test_a_lost_answer_is_no_failure_where_the_candidate_leads(nodes: Nodes) -> None:
    def lost(body: Any) -> None:
        nodes.switch(body)

    nodes.orders["/switchover"] = lost  # type: ignore[assignment]
    moving = move(nodes)
    moving.run()
    assert moving.facts["timeline"] == 5


def test_a_lost_answer_without_a_new_leader_is_open(nodes: Nodes) -> None:
    nodes.orders["/switchover"] = lambda _body: None  # type: ignore[assignment,return-value]
    facts = failing(move(nodes, timeout=1), r"takes no writes 1 s after.*does not answer POST /switchover")
    assert not facts["rolled_back"]


def test_nothing_is_touched_where_this_node_does_not_lead(nodes: Nodes) -> None:
    nodes.leader = "db2"
    assert failing(move(nodes), "nothing was touched: Patroni's leader is db2")["rolled_back"]
    assert all(method == "GET" for _name, method, _path, _body in nodes.asked)


def test_nothing_is_touched_where_patroni_knows_no_such_candidate(nodes: Nodes) -> None:
    failing(move(nodes, candidate_host="192.0.2.9", candidate="db9"), "nothing was touched.*no member at 192.0.2.9")


def test_who_takes_writes_is_told_in_the_words_of_3_and_of_4() -> None:
    assert takes_writes({"role": "master", "state": "running", "timeline": 2}, 1)
    assert takes_writes({"role": "primary", "state": "running", "timeline": 2}, 1)
    assert not takes_writes({"role": "primary", "state": "running", "timeline": 1}, 1)
    assert not takes_writes({"role": "replica", "state": "running", "timeline": 2}, 1)
    assert not takes_writes({"role": "primary", "state": "running", "timeline": 2, "cluster_unlocked": True}, 1)
    assert not takes_writes({}, 0)


# --- the plan -----------------------------------------------------------------------------------------------------


def members(nodes: Nodes) -> dict[str, Any]:
    """What each of two members says; nothing is in the way."""
    base = {"state": "running", "manager": "patroni", "system_identifier": "7", "timeline": 4}
    primary = {**base, "role": "primary", "patroni": told(of(nodes)), "archiving": False,
               "senders": [{"name": "db2", "slot": "db2", "state": "streaming", "lag_bytes": 0}]}  # fmt: skip
    replica = {**base, "role": "replica", "patroni": told(of(nodes, "db2")),
               "upstream": {"status": "streaming", "slot": "db2"}}  # fmt: skip
    return {"db1": primary, "db2": replica}


def plan(found: dict[str, Any], candidate: str = "db2", **options: Any) -> dict[str, Any]:
    """What is to be done."""
    given = {
        "members": found, "candidate": candidate, "slots": {}, "upstreams": {}, "not_admitted": {}, "poolers": [],
        "addresses": {"db1": {"host": "a", "port": 1}, "db2": {"host": "b", "port": 1}}, "max_lag_bytes": 0,
        "primary_databases": [], "placed_databases": [],
        "max_archive_backlog": 8, "transaction_seconds": 5, "leave_logical_slots": [], **options,
    }  # fmt: skip
    return switchovers.planned(given)


def test_the_plan_begins_or_finishes(nodes: Nodes) -> None:
    found = members(nodes)
    begin = plan(found)
    assert (begin["situation"], begin["old"], begin["unfinished"]) == ("begin", "db1", True)
    assert {one["status"] for one in begin["checks"]} == {"passed"}
    assert {"patroni_leader", "patroni_candidate", "lag", "no_backup"} <= {one["name"] for one in begin["checks"]}
    finish = plan(found, "db1")
    assert (finish["situation"], finish["unfinished"], finish["databases"]) == ("finish", False, [])


def test_clients_that_a_killed_run_left_are_let_go(nodes: Nodes) -> None:
    rows = {"shop": {"host": "b", "port": "1", "paused": "1"}, "read": {"host": "b", "port": "1", "paused": "0"}}
    pooler = {"host": "p", "port": 6432, "databases": rows}
    found = plan(members(nodes), "db1", poolers=[pooler])
    assert (found["databases"], found["unfinished"]) == (["shop"], True)


def test_what_stands_in_patronis_way_is_named_all_at_once(nodes: Nodes) -> None:
    nodes.tags["db2"] = {"nofailover": True}
    nodes.states["db2"] = "start failed"
    nodes.scheduled = {"at": "2026-11-28T03:00:00+00:00", "from": "db1"}
    with pytest.raises(Refused) as raised:
        plan(members(nodes))
    told_ = str(raised.value)
    assert "for 3 reasons" in told_
    assert all(word in told_ for word in ("tag nofailover", "db2 is start failed", "scheduled for 2026-11-28"))


@pytest.mark.parametrize(("change", "expected"), [
    ({"manager": None}, "db2 is not run by Patroni"),
    ({"patroni": {"answers": False}}, "Patroni does not answer on db2"),
    ({"role": "primary"}, "more than one primary"),
])  # fmt: skip
def test_what_can_not_be_planned_is_refused(nodes: Nodes, change: dict[str, Any], expected: str) -> None:
    found = members(nodes)
    found["db2"] = {**found["db2"], **change}
    with pytest.raises(Refused, match=expected):
        plan(found)


def test_without_a_leader_patroni_is_waited_for(nodes: Nodes) -> None:
    found = members(nodes)
    found["db1"] = {**found["db1"], "state": "stopped"}
    with pytest.raises(Refused, match="Patroni fails over by itself"):
        plan(found)
    with pytest.raises(Refused, match="db9 is no member"):
        plan(members(nodes), "db9")
    with pytest.raises(Refused, match="no candidate is named"):
        plan(members(nodes), "")


# --- rejoin, pause ----------------------------------------------------------------------------------------


def test_a_leader_is_never_cloned_anew(nodes: Nodes) -> None:
    with pytest.raises(Refused, match="db1 leads"):
        rejoins.reinitialized({**OPTIONS, "force": True}, check_mode=False)
    assert all(path != "/reinitialize" for _name, _method, path, _body in nodes.asked)


def test_one_that_follows_is_left_alone_and_one_that_can_not_is_cloned(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "of", classmethod(lambda _cls, _params: of(nodes, "db2")))
    assert not rejoins.reinitialized(OPTIONS, check_mode=False).changed
    nodes.states["db2"] = "start failed"

    def again(_body: Any) -> tuple[int, str]:
        nodes.orders["/cluster"] = came
        return 200, "reinitialize started"

    def came(_body: Any) -> tuple[int, Any]:
        """What the others know of it is older than what it does: it looks well before it was begun."""
        answer = nodes.cluster()
        if nodes.states["db2"] == "running":
            nodes.started = "2026-11-27 21:00:00.000000+00:00"
        nodes.states["db2"] = "running"
        return 200, answer

    nodes.orders["/reinitialize"] = again
    assert rejoins.reinitialized(OPTIONS, check_mode=False).facts["reinitialized"]


def test_a_pause_is_heard_by_all_or_is_an_error(nodes: Nodes) -> None:
    assert words.patroni({**OPTIONS, "state": "paused"}, check_mode=True).changed
    assert not nodes.paused
    assert words.patroni({**OPTIONS, "state": "paused"}, check_mode=False).changed
    assert nodes.paused
    assert not words.patroni({**OPTIONS, "state": "paused"}, check_mode=False).changed
    assert words.patroni({**OPTIONS, "state": "resumed"}, check_mode=False).changed
    assert nodes.config["pause"] is None
    nodes.orders["/patroni"] = lambda _body: (200, {"pause": True})
    with pytest.raises(OpsError, match="db1 has not heard of it; db2 has not heard of it"):
        words.patroni({**OPTIONS, "state": "resumed", "timeout": 1}, check_mode=False)


def test_a_member_that_does_not_come_is_told_with_its_state(nodes: Nodes) -> None:
    nodes.states["db1"] = "starting"
    with pytest.raises(OpsError, match="db1 is starting, db1 leads"):
        rejoins.await_member(of(nodes), 1)
    nodes.states["db1"] = "running"
    assert rejoins.await_member(of(nodes), 1).leads
    assert not rejoins.await_member(of(nodes, "db2"), 1).leads


# --- the API --------------------------------------------------------------------------------------------------------


def test_what_can_not_be_reached_is_one_line() -> None:
    with pytest.raises(Lost, match=re.escape("Patroni at http://127.0.0.1:1 does not answer GET /cluster")):
        view.look(Api("http://127.0.0.1:1"))


@pytest.mark.parametrize(("answer", "expected"), [
    ((401, "no auth header received"), "does not let patroni PATCH /config: no auth header received"),
    ((403, "Access is denied"), "does not let patroni PATCH /config: Access is denied"),
    ((503, ""), "refuses PATCH /config: HTTP 503"),
])  # fmt: skip
def test_a_refused_order_says_who_asked_for_what(nodes: Nodes, answer: tuple[int, str], expected: str) -> None:
    nodes.orders["/config"] = lambda _body: answer
    with pytest.raises(OpsError, match=expected) as raised:
        of(nodes).api.order("PATCH", "/config", {"ttl": 20})
    assert "for this test" not in str(raised.value)


def test_another_service_on_the_port_is_told(nodes: Nodes) -> None:
    nodes.orders["/cluster"] = lambda _body: (200, "<html>")
    with pytest.raises(OpsError, match="is another service on its port"):
        view.look(of(nodes).api)
    assert told(of(nodes))["answers"] is False
