# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failover makes of what the members say: who was the primary, who is to be, what is lost, and why not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_checks import databases, preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_loss import accepted, covered, loss
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_plan import situation
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_reach import ask, ask_all
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.synchronous import Quorum

PLACES = {name: {"host": name, "port": 5432} for name in ("db1", "db2", "db3")}
HEARD = {"upstream": ["db1", 5432], "streams": False, "clock": 1000.0, "last_commit": 990.0}
PRIMARY = {"state": "running", "role": "primary", "timeline": 1}
REPLICA = {"state": "running", "role": "replica", "timeline": 1, "position": 5000, "heard": HEARD, "reached": {
    "db1": {"answer": "silent"}}}  # fmt: skip
AHEAD = {**REPLICA, "position": 6000}
UNSEEN = {"state": "unseen", "role": "member"}
CRASHED = {"state": "stopped", "role": "primary", "was_primary": True, "timeline": 1}
FENCED = {**CRASHED, "role": "replica", "signal": True}
STOPPED = {"state": "stopped", "role": "replica", "was_primary": False}
PROMOTED = {**PRIMARY, "timeline": 2, "noted": {"from": "db1"}}
ABSENT = {"state": "absent", "role": "none"}


@pytest.mark.parametrize(("members", "wanted", "expected"), [
    ((UNSEEN, REPLICA, REPLICA), "", ("begin", "db1", "db2")),
    ((UNSEEN, REPLICA, AHEAD), "", ("begin", "db1", "db3")),
    ((UNSEEN, REPLICA, AHEAD), "db2", ("begin", "db1", "db2")),
    ((CRASHED, REPLICA, UNSEEN), "", ("begin", "db1", "db2")),
    ((FENCED, REPLICA, UNSEEN), "", ("begin", "db1", "db2")),
    ((UNSEEN, REPLICA, UNSEEN), "", ("begin", "db1", "db2")),
    ((CRASHED, REPLICA, STOPPED), "", ("begin", "db1", "db2")),
    ((UNSEEN, {**AHEAD, "apply_delay_seconds": 3600}, {**AHEAD, "timeline": 1}), "", ("begin", "db1", "db3")),
    ((UNSEEN, REPLICA, {**REPLICA, "timeline": 2}), "", ("begin", "db1", "db3")),
    ((UNSEEN, REPLICA, ABSENT), "", ("begin", "db1", "db2")),
    ((CRASHED, STOPPED, STOPPED), "", ("begin", "db1", "")),
    ((UNSEEN, PROMOTED, REPLICA), "", ("finish", "db1", "db2")),
    ((PRIMARY, PROMOTED, REPLICA), "", ("finish", "db1", "db2")),
    ((UNSEEN, PROMOTED, REPLICA), "db3", "let that end"),
    ((PRIMARY, REPLICA, PROMOTED | {"noted": {"from": "db2"}}), "", "more than one primary"),
    ((PRIMARY, PRIMARY, REPLICA), "", "more than one primary"),
    ((PRIMARY, REPLICA, REPLICA), "", "use switchover"),
    ((PRIMARY, REPLICA, UNSEEN), "db2", "use switchover"),
    ((FENCED, PRIMARY, REPLICA), "", ("nothing", "", "db2")),
    ((PRIMARY, REPLICA, REPLICA), "db1", ("nothing", "", "db1")),
    ((REPLICA, REPLICA, REPLICA), "", "every member is a replica"),
    ((UNSEEN, {**REPLICA, "heard": {}}, UNSEEN), "", "it can't be told which of db1, db3"),
    ((UNSEEN, REPLICA, REPLICA), "db9", "db9 is no member"),
])  # fmt: skip
def test_what_is_done_follows_from_what_the_members_say(
    members: tuple[dict[str, Any], ...], wanted: str, expected: Any
) -> None:
    named = dict(zip(PLACES, members))
    if isinstance(expected, str):
        with pytest.raises(Refused, match=expected):
            situation(named, PLACES, wanted)
    else:
        found = situation(named, PLACES, wanted)
        assert (found.name, found.old, found.new) == expected


def given(**more: Any) -> dict[str, Any]:
    """The options of a plan."""
    return {
        "places": PLACES, "vantages": {"controller": {"db1": {"answer": "silent"}}}, "fence_command": False,
        "unfenced_ok": "", "accept_loss": "", "rpo_seconds": None, "poolers": [], "poolers_unseen": [],
        "primary_databases": [], "placed_databases": [], **more,
    }  # fmt: skip


NONE = {"bytes": 0, "bytes_at_least": 0, "transactions": 0, "seconds": 0.0, "basis": "", "covered": False}


@pytest.mark.parametrize(("members", "more", "loss_told", "failing"), [
    ((CRASHED, REPLICA, AHEAD), {}, {}, set()),
    ((UNSEEN, AHEAD, REPLICA), {}, {}, {"fence", "candidate_furthest"}),
    ((UNSEEN, REPLICA, AHEAD), {"fence_command": True}, {}, set()),
    ((UNSEEN, REPLICA, AHEAD), {"unfenced_ok": "db1"}, {}, set()),
    ((UNSEEN, REPLICA, AHEAD), {"unfenced_ok": "db2"}, {}, {"fence"}),
    ((UNSEEN, REPLICA, AHEAD), {"unfenced_ok": "db1", "vantages": {"controller": {"db1": {"answer": "works"}}}}, {},
     {"primary_gone"}),
    ((UNSEEN, REPLICA, AHEAD), {"unfenced_ok": "db1", "vantages": {"pool1": {"db1": {"answer": "starts"}}}}, {},
     {"primary_not_coming"}),
    ((CRASHED, REPLICA, AHEAD), {"vantages": {"pool1": {"db1": {"answer": "starts"}}}}, {}, set()),
    ((CRASHED, {**REPLICA, "heard": {**HEARD, "streams": True}}, AHEAD), {}, {}, {"no_replica_streams"}),
    ((CRASHED, REPLICA, {**AHEAD, "apply_delay_seconds": 60}), {}, {}, {"replays_at_once"}),
    ((CRASHED, REPLICA, {**AHEAD, "free_bytes": 1 << 24, "segment_bytes": 1 << 24}), {}, {}, {"room"}),
    ((CRASHED, REPLICA, {**AHEAD, "free_bytes": 1 << 25, "segment_bytes": 1 << 24}), {}, {}, set()),
    ((CRASHED, REPLICA, {**AHEAD, "manager": "Patroni"}), {}, {}, {"no_manager"}),
    ((CRASHED, REPLICA, AHEAD), {"poolers_unseen": ["pool1"]}, {}, {"poolers_answer"}),
    ((CRASHED, REPLICA, STOPPED), {}, {}, {"candidate_runs"}),
    ((CRASHED, REPLICA, AHEAD), {"rpo_seconds": 5.0}, {"seconds": 6.0}, {"loss"}),
    ((CRASHED, REPLICA, AHEAD), {"rpo_seconds": 5.0}, {"seconds": "unknown"}, {"loss"}),
    ((CRASHED, REPLICA, AHEAD), {"rpo_seconds": 5.0, "accept_loss": "6"}, {"seconds": 6.0}, set()),
])  # fmt: skip
def test_what_is_refused(
    members: tuple[dict[str, Any], ...], more: dict[str, Any], loss_told: dict[str, Any], failing: set[str]
) -> None:
    named = dict(zip(PLACES, members))
    try:
        checks = preflight(named, "db1", "db3", given(**more), {**NONE, **loss_told})
    except Refused as exc:
        checks = exc.facts["checks"]
        assert all(reason.remedy for reason in exc.reasons)
    assert {check["name"] for check in checks if check["status"] == "failed"} == failing


def test_what_is_lost_is_a_bound_and_never_a_guess() -> None:
    members = {"db1": UNSEEN, "db2": {**REPLICA, "heard": {**HEARD, "latest_end_lsn": "0/2000"}}, "db3": AHEAD}
    told = loss(members, "db1", "db3", {}, None)
    assert (told["bytes"], told["transactions"], told["bytes_at_least"]) == ("unknown", "unknown", 0x2000 - 6000)
    # The last transaction that is kept is ten seconds old.
    assert told["seconds"] == 10
    # Five seconds ago it was heard that there was nothing more.
    heard = {**HEARD, "latest_end_lsn": "0/1000", "heard_at": 995.0}
    assert loss({**members, "db3": {**AHEAD, "heard": heard}}, "db1", "db3", {}, None)["seconds"] == 5
    assert loss({**members, "db3": {**AHEAD, "heard": {}}}, "db1", "db3", {}, None)["seconds"] == "unknown"
    left = {"end": 6100, "end_lsn": "0/17D4", "bytes": 100, "transactions": 2, "first": 991.0, "last": 994.5}
    told = loss(members, "db1", "db3", left, None)
    assert (told["bytes"], told["transactions"], told["seconds"]) == (100, 2, 4.5)
    told = loss(members, "db1", "db3", left, Quorum("any", 1, ("db2", "db3")))
    assert (told["transactions"], told["seconds"], told["covered"]) == (2, 0, True)


@pytest.mark.parametrize(("quorum", "db2", "new", "expected"), [
    (Quorum("any", 1, ("db2", "db3")), REPLICA, "db3", True),
    (Quorum("any", 1, ("db2", "db3")), UNSEEN, "db3", False),
    (Quorum("any", 2, ("db2", "db3")), UNSEEN, "db3", True),
    (Quorum("first", 1, ("db2", "db3")), REPLICA, "db2", False),
    (Quorum("any", 1, ("*",)), REPLICA, "db3", False),
    (None, REPLICA, "db3", False),
])  # fmt: skip
def test_a_quorum_covers_what_it_was_asked_for(
    quorum: Quorum | None, db2: dict[str, Any], new: str, expected: bool
) -> None:
    members = {"db1": UNSEEN, "db2": db2, "db3": AHEAD}
    assert covered(members, new, quorum, {name: name for name in members}) is expected


@pytest.mark.parametrize(("seconds", "objective", "typed", "expected"), [
    (3, 5, "", True), (6, 5, "", False), (6, 5, "6", True), (6, 5, "5.5", False), (6, None, "", True),
    ("unknown", 5, "", False), ("unknown", 5, "1000", False), ("unknown", 5, "unknown", True), (9, 5, "unknown", True),
])  # fmt: skip
def test_a_loss_is_within_the_objective_or_typed(
    seconds: Any, objective: float | None, typed: str, expected: bool
) -> None:
    assert accepted({"seconds": seconds}, objective, typed) is expected


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A port that gives this answer to whoever says something; with None it takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            with listener.accept()[0] as line:
                line.recv(1024)
                if answer is None:
                    over.wait(10)
                else:
                    line.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            serving.join()


@pytest.mark.parametrize(("answer", "expected"), [
    (b"R\0\0\0\x08\0\0\0\0", "works"),
    (b"E\0\0\0\x10SFATAL\0C28000\0\0", "works"),
    (b"E\0\0\0\x10SFATAL\0C57P03\0\0", "starts"),
    (b"HTTP/1.1 400\r\n", "silent"),
    (b"", "silent"),
    (None, "silent"),
])  # fmt: skip
def test_a_server_that_hangs_is_silent(answer: bytes | None, expected: str) -> None:
    with answering(answer) as port:
        assert ask("127.0.0.1", port, 0.5)["answer"] == expected


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = {"host": "127.0.0.1", "port": unused.getsockname()[1]}
        assert ask_all({"db1": place}, 1)["db1"]["answer"] == "silent"


def test_clients_go_to_the_new_primary_wherever_an_earlier_run_has_sent_them() -> None:
    """Those of a database for readers, at a replica, stay; but not where they are held."""
    def at(member: str, paused: str = "0") -> dict[str, Any]:
        return {"host": member, "port": "5432", "paused": paused}

    shown = {"old": at("db1"), "read": at("db3"), "held": at("db3", "1"), "astray": at("db3"), "far": {"host": "db9"}}
    params = given(poolers=[{"databases": shown}, {"problem": "silent"}], primary_databases=["old", "astray"])
    assert databases(params, "db1", "db2") == ["astray", "held", "old"]
    assert databases({**params, "primary_databases": []}, "db1", "db2") == ["held", "old"]
    # Declared to lie where they are, readers stay there, held or not; but not at one that is gone.
    params["placed_databases"] = ["read", "held", "old"]
    assert databases(params, "db1", "db2") == ["astray", "old"]
    assert databases(params, "db1", "db3") == ["astray", "held", "old"]
