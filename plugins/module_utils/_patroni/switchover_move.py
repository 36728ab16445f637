# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The move itself, on the leader's host: hold the clients, have Patroni switch over, let them go on with the new one.

The lock in the distributed store is the fence: whoever holds it takes writes, and nobody else. So there is no way back
to be made here. Whether Patroni refused or the answer was lost, clients go on with who is seen to take writes.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._patroni import view
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.node import Node
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rest import Answer, Api
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_consoles import pause_all, resume_all
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.switchover_move import (
    consoles_of,
    ignore_signals,
    interrupted,
    let_go,
)

_EVERY_SECONDS = 0.01
#: What Patroni writes nothing for: it has looked, and said no.
_NOT_BEGUN = (400, 401, 403, 404, 412)


def takes_writes(status: Mapping[str, Any], timeline: int = 0) -> bool:
    """Whether a node's own status says so; the word was master up to 3, and is primary from 4 on."""
    role, state = status.get("role"), status.get("state")
    newer = int(status.get("timeline") or 0) > timeline
    return role in ("master", "primary") and state == "running" and newer and not status.get("cluster_unlocked")


class Order:
    """A request that takes as long as Patroni does: sent once, awaited beside."""

    def __init__(self, api: Api, path: str, body: Mapping[str, Any], seconds: float) -> None:
        self.answer: Answer | None = None
        self.lost = ""
        self._thread = threading.Thread(target=self._send, args=(api, path, body, seconds), daemon=True)
        self._thread.start()

    def _send(self, api: Api, path: str, body: Mapping[str, Any], seconds: float) -> None:
        try:
            self.answer = api.ask("POST", path, body, seconds)
        except OpsError as exc:
            self.lost = str(exc)

    @property
    def refused(self) -> str:
        """Patroni's words where it has not done it; empty while that is open."""
        answer = self.answer
        return "" if answer is None or answer.good or "status unknown" in answer.text else answer.words

    @property
    def not_begun(self) -> bool:
        """Whether nothing was written anywhere."""
        return self.answer is not None and self.answer.status in _NOT_BEGUN


class Move:
    """One switchover that is under way."""

    def __init__(self, node: Node, params: Params, consoles: Sequence[Console]) -> None:
        self.node = node
        self.params = params
        self.consoles = consoles
        self.databases: list[str] = params["pool_databases"]
        self.spans: dict[str, float] = {}
        self.facts: dict[str, Any] = {"phases": self.spans, "sent": False, "rolled_back": False}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a phase, in milliseconds, and say in which one an error came."""
        begun = time.perf_counter()
        self.facts["phase"] = name
        try:
            yield
        finally:
            self.spans[name] = round((time.perf_counter() - begun) * 1000, 3)

    def run(self) -> None:
        """All of it. Raises OpsError, whose facts say whether the old primary goes on."""
        with self.phase("ready"):
            chosen = self._ready()
        begun = time.perf_counter()
        try:
            if self.consoles:
                with self.phase("pause"):
                    pause_all(self.consoles, self.databases, self.params["pause_timeout"])
        except OpsError as exc:
            self.facts["rolled_back"] = True
            raise OpsError(f"{exc}; nothing was switched", **self.facts) from exc
        except BaseException as exc:
            raise self._stays(f"{exc}") from exc
        ignore_signals()
        self.facts["sent"] = True
        with self.phase("switch"):
            self._switch(chosen)
        self.facts["promoted_at"] = time.time()
        wanted = (self.params["candidate_host"], self.params["candidate_port"])
        try:
            let_go(self.consoles, self.databases, wanted, self.phase)
        except OpsError as exc:
            raise OpsError(f"{exc}; run the same command again, it goes on from here", **self.facts) from exc
        self.facts["stall_ms"] = round((time.perf_counter() - begun) * 1000, 3)

    def _ready(self) -> view.Member:
        """The candidate as Patroni knows it; this node must lead."""
        cluster = view.look(self.node.api)
        params = self.params
        leader = cluster.leader
        if leader is None or leader.name != self.node.name:
            raise OpsError(
                f"nothing was touched: Patroni's leader is {leader.name if leader else 'nobody'}, not {self.node.name}",
                **{**self.facts, "rolled_back": True},
            )
        try:
            chosen = cluster.at(params["candidate_host"], params["candidate_port"], params["candidate"])
            # Whether they answer from here is better known before anybody waits.
            for console in self.consoles:
                console.version()
            self.node.api.at(chosen.url).get("/patroni", 5)
        except OpsError as exc:
            raise OpsError(f"nothing was touched: {exc}", **{**self.facts, "rolled_back": True}) from exc
        return chosen

    def _switch(self, chosen: view.Member) -> None:
        seconds = self.params["timeout"]
        order = Order(
            self.node.api, "/switchover", {"leader": self.node.name, "candidate": chosen.name}, seconds + 30
        )
        there, before = self.node.api.at(chosen.url), self.params["timeline"]
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.clear()
            found.update(_status(there))
            return takes_writes(found, before) or bool(order.refused)

        settled_in_time = await_condition(settled, seconds, every=_EVERY_SECONDS)
        if takes_writes(found, before):
            self.facts["timeline"] = int(found["timeline"])
            return
        if settled_in_time:
            if order.not_begun or await_condition(lambda: takes_writes(_status(self.node.api)), seconds, every=0.05):
                raise self._stays(f"Patroni refuses: {order.refused}")
            raise OpsError(f"Patroni gave up: {order.refused}; {self._left()}", **self.facts)
        why = f" ({order.lost})" if order.lost else ""
        words = f"{chosen.name} takes no writes {seconds} s after the switchover was ordered{why}; {self._left()}"
        raise OpsError(words, **self.facts)

    def _stays(self, words: str) -> OpsError:
        """The old primary goes on; clients are let go."""
        ignore_signals()
        try:
            if self.consoles:
                resume_all(self.consoles, self.databases)
        except OpsError as exc:
            return OpsError(f"{words}; and not all clients could be let go: {exc}", **self.facts)
        self.facts["rolled_back"] = True
        return OpsError(f"{words}; the old primary goes on", **self.facts)

    def _left(self) -> str:
        held = "; clients are still held" if self.consoles else ""
        return f"who leads is not known{held}; see patronictl list, and run the same command again"


def _status(api: Api) -> dict[str, Any]:
    """A node's own words; nothing where it does not answer."""
    try:
        return api.get("/patroni", 2)
    except OpsError:
        return {}


def move(params: Params, check_mode: bool) -> Outcome:
    """Make the candidate primary in the place of this server."""
    node = Node.of(params)
    consoles = consoles_of(params)
    outcome = Outcome(True, {}, f"primary: {params['name']}\n", f"primary: {params['candidate']}\n")
    try:
        if check_mode:
            for console in consoles:
                console.version()
            return outcome
        # What kills the controller's connection must not end this in the middle.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, interrupted)
        with host_lock(str(Server.of(params).data_dir), "switchover"):
            moving = Move(node, params, consoles)
            moving.run()
    finally:
        for console in consoles:
            console.close()
    outcome.facts = moving.facts
    return outcome
