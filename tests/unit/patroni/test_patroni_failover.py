# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`failover` and `rejoin` under Patroni: what is done by what the members say, what is refused, and how it is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.failover import failover
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.failover_plan import planned
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rejoin import await_follower, rejoin
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import receiver
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server
from patroni_nodes import Nodes, serving
from test_patroni_api import of

PLACES = {name: {"host": name, "port": 5432} for name in ("db1", "db2", "db3")}
UNSEEN = {"state": "unseen", "role": "member"}


def told(name: str, leader: str | None, **more: Any) -> dict[str, Any]:
    """What a member's Patroni says."""
    rows = [{"name": one, "state": "running", "tags": {}} for one in PLACES]
    known = {"scope": "orders", "name": name, "leader": leader, "members": rows, "paused": False}
    return {"answers": True, **known, **more}


def replica(name: str, leader: str | None = None, position: int = 5000, **more: Any) -> dict[str, Any]:
    """A replica."""
    return {"state": "running", "role": "replica", "timeline": 1, "position": position, "manager": "patroni",
            "heard": {"upstream": ["db1", 5432], "streams": False, "clock": 1000.0, "last_commit": 990.0},
            "reached": {"db1": {"answer": "silent"}}, "patroni": told(name, leader, **more)}  # fmt: skip


def primary(name: str, leader: str | None, **more: Any) -> dict[str, Any]:
    """A primary."""
    return {"state": "running", "role": "primary", "timeline": 1, "manager": "patroni", "patroni": told(name, leader),
            **more}  # fmt: skip


def stopped(name: str) -> dict[str, Any]:
    """An old primary whose server has ended, and whose Patroni is there."""
    return {"state": "stopped", "role": "primary", "was_primary": True, "timeline": 1, "manager": "patroni",
            "patroni": told(name, None)}  # fmt: skip


def plan(*members: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What is to be done."""
    given = {"members": dict(zip(PLACES, members)), "places": PLACES, "candidate": "", "fence_command": False,
             "vantages": {"controller": {"db1": {"answer": "silent"}}}, "unfenced_ok": "", "accept_loss": "",
             "rpo_seconds": None, "poolers": [], "poolers_unseen": [],
             "primary_databases": [], "placed_databases": [], "left": {}, "declared": {}, "slots": {},
             "began": "now", **more}  # fmt: skip
    return planned(given)


def test_a_leader_that_works_is_left_alone() -> None:
    members = primary("db1", "db1"), replica("db2", "db1"), replica("db3", "db1")
    assert plan(*members)["situation"] == "nothing"
    assert not plan(*members, candidate="db1")["unfinished"]
    with pytest.raises(Refused, match="use switchover"):
        plan(*members, candidate="db2")


def pooler(place: str, paused: str = "0") -> dict[str, Any]:
    """A pooler that sends its database there."""
    return {"host": "pool1", "port": 6432, "databases": {"shop": {"host": place, "port": 5432, "paused": paused}}}


def test_poolers_that_patroni_left_behind_are_brought_after_it() -> None:
    members = UNSEEN, primary("db2", "db2"), replica("db3", "db2")
    found = plan(*members, poolers=[pooler("db1")])
    assert (found["situation"], found["old"], found["candidate"]) == ("finish", "db1", "db2")
    assert found["databases"] == ["shop"] and found["note"]["fenced"] == "patroni"
    assert plan(*members, poolers=[pooler("db2", "1")])["databases"] == ["shop"]
    assert plan(*members, poolers=[pooler("db2")])["situation"] == "nothing"
    noted = {"from": "db3", "checks": [], "began": "then", "promoted_at": 1.0}
    found = plan(UNSEEN, primary("db2", "db2", noted=noted), replica("db3", "db2"))
    assert (found["situation"], found["old"], found["began"]) == ("finish", "db3", "then")


@pytest.mark.parametrize(("members", "more", "fences"), [
    ((UNSEEN, replica("db2"), replica("db3", position=6000)), {}, ["patroni"]),
    ((stopped("db1"), replica("db2", paused=True), replica("db3", position=6000, paused=True)), {}, ["patroni"]),
    ((UNSEEN, replica("db2", paused=True), replica("db3", position=6000, paused=True)), {"unfenced_ok": "db1"},
     ["accepted"]),
])  # fmt: skip
def test_nobody_leads(members: tuple[dict[str, Any], ...], more: dict[str, Any], fences: list[str]) -> None:
    found = plan(*members, **more)
    assert (found["situation"], found["old"], found["candidate"], found["fences"]) == ("begin", "db1", "db3", fences)
    assert found["managed"] and "possibly lost" in found["told"]


@pytest.mark.parametrize(("members", "more", "why"), [
    ((UNSEEN, replica("db2", paused=True), replica("db3", paused=True)), {}, "the cluster is paused"),
    ((UNSEEN, replica("db2", "db1"), replica("db3", "db1")), {}, "db1 holds the leader's lock"),
    ((primary("db1", None), replica("db2"), replica("db3")), {}, "db1 takes writes, and nobody holds the leader's"),
    ((UNSEEN, replica("db2"), replica("db3")), {"vantages": {"pool1": {"db1": {"answer": "works"}}}}, "answers pool1"),
    ((UNSEEN, replica("db2"), {**replica("db3"), "manager": None}), {}, "db3 is not run by Patroni"),
    ((UNSEEN, replica("db2"), replica("db3", scope="stock")), {}, "several scopes: orders, stock"),
    ((UNSEEN, replica("db2", "db2"), replica("db3", "db3")), {}, "several leaders: db2, db3"),
    ((UNSEEN, {**replica("db2"), "patroni": {"answers": False}}, UNSEEN), {}, "Patroni answers on no member"),
    ((UNSEEN, replica("db2"), replica("db3", members=[{"name": "db3", "state": "stopped"}])), {"candidate": "db3"},
     "Patroni says that db3 is stopped"),
    ((UNSEEN, replica("db2"), replica("db3", members=[{"name": "db3", "state": "running",
                                                       "tags": {"nofailover": True}}])), {"candidate": "db3"},
     "db3 has the tag nofailover"),
])  # fmt: skip
def test_what_is_refused(members: tuple[dict[str, Any], ...], more: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        plan(*members, **more)


def test_one_that_is_barred_is_not_chosen() -> None:
    barred = replica("db3", position=6000, members=[{"name": "db3", "state": "running", "tags": {"nofailover": True}}])
    with pytest.raises(Refused, match="db2 has 1000 bytes less than db3"):
        plan(UNSEEN, replica("db2"), barred)
    assert plan(UNSEEN, replica("db2"), barred, accept_loss="unknown")["candidate"] == "db2"


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """db2 is the one that is asked, and nobody leads. Signals are left as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    with serving() as served:
        monkeypatch.setattr(Node, "of", classmethod(lambda _cls, _params: of(served, "db2")))
        served.leader = ""
        yield served
    for number, handler in before.items():
        signal.signal(number, handler)


def options(place: Path, **more: Any) -> dict[str, Any]:
    """The options of either module."""
    return {"data_dir": str(place / "data"), "port": 5432, "socket_dir": "/tmp", "timeout": 2, "reclone": False,
            "note": {"from": "db1", "timeline": 4}, **more}  # fmt: skip


def test_the_promotion_is_patronis_and_is_noted(nodes: Nodes, tmp_path: Path) -> None:
    nodes.orders["/failover"] = nodes.switch
    given = options(tmp_path, state="promoted")
    assert failover(given, check_mode=True).changed and nodes.leader == ""
    note = failover(given, check_mode=False).facts["note"]
    assert (nodes.leader, note["timeline_after"], note["from"]) == ("db2", 5, "db1")
    assert [body for _name, _method, path, body in nodes.asked if path == "/failover"] == [{"candidate": "db2"}]
    nodes.asked.clear()
    assert failover(given, check_mode=False).changed, "a run that was killed after it goes on"
    assert all(path != "/failover" for _name, _method, path, _body in nodes.asked)
    assert (tmp_path / "data.failover.json").exists()
    done = options(tmp_path, state="finished")
    assert failover(done, check_mode=True).changed and failover(done, check_mode=False).changed
    assert not failover(done, check_mode=False).changed


def test_a_promotion_that_patroni_refuses_says_why(nodes: Nodes, tmp_path: Path) -> None:
    given = options(tmp_path, state="promoted")
    nodes.orders["/failover"] = lambda _body: (412, "failover is not possible: no good candidates have been found")
    with pytest.raises(OpsError, match="db2 does not lead after 2 s: failover is not possible"):
        failover(given, check_mode=False)
    nodes.leader = "db1"
    with pytest.raises(OpsError, match="nobody was promoted: db1 leads by now"):
        failover(given, check_mode=False)
    with pytest.raises(OpsError, match="stop Patroni on that host"):
        failover(options(tmp_path, state="fenced"), check_mode=False)


def test_a_member_comes_back_by_patroni_or_is_cloned_where_that_is_allowed(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiving = iter(["not connected", "catchup", "streaming"])
    monkeypatch.setattr(receiver, "receives", lambda server: next(receiving))
    with pytest.raises(Refused, match="nobody leads"):
        rejoin(options(tmp_path, state="planned"), check_mode=False)
    nodes.leader = "db1"
    assert rejoin(options(tmp_path, state="planned"), check_mode=False).facts["action"] == "nothing"
    nodes.states["db2"] = "start failed"
    found = rejoin(options(tmp_path, state="planned"), check_mode=False).facts
    assert (found["action"], found["why"]) == ("follow", "Patroni says that it is start failed")
    assert rejoin(options(tmp_path, state="followed"), check_mode=True).changed
    with pytest.raises(Refused, match="rejoin_reclone=true has Patroni remove all that it holds"):
        rejoin(options(tmp_path, state="followed", timeout=1), check_mode=False)

    def again(_body: Any) -> tuple[int, str]:
        nodes.states["db2"], nodes.started = "running", "2026-11-27 21:00:00.000000+00:00"
        return 200, "reinitialize started"

    nodes.orders["/reinitialize"] = again
    took = rejoin(options(tmp_path, state="followed", timeout=1, reclone=True), check_mode=False).facts["took"]
    assert took == "reclone"
    assert next(receiving, "") == "", "it was waited for until it streamed"
    monkeypatch.setattr(receiver, "receives", lambda server: "not connected")
    with pytest.raises(OpsError, match=r"db2 follows the leader and does not stream after 1 s \(receiver: not conn"):
        await_follower(Node.of(options(tmp_path)), Server.of(options(tmp_path)), 1)
    nodes.paused = True
    with pytest.raises(Refused, match="the cluster is paused"):
        rejoin(options(tmp_path, state="planned"), check_mode=False)
    with pytest.raises(OpsError, match="Patroni rewinds and clones its servers itself"):
        rejoin(options(tmp_path, state="rewound"), check_mode=False)
