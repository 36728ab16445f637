# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The move itself, one process on the old primary's host: hold the clients, close, replay, promote, let them go on.

Until the promotion is sent, whatever goes wrong is taken back: the old primary opens again and the clients go on with
it. Once it was sent, the old primary is never opened again, even where the answer was lost.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_account as account
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import switchover_fence as fence
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_console import Address, Console
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.pool_consoles import (
    pause_all,
    reload_all,
    resume_all,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_STANDS = "SELECT pg_is_in_recovery() AS recovery, coalesce(pg_last_wal_replay_lsn(), '0/0')::text AS replayed"
#: A row of its own for nobody: it proves that the server takes writes. It waits for no standby.
_WRITES = """
SET synchronous_commit = local;
SELECT pg_logical_emit_message(true, 'boringdb.ops', 'switchover')::text AS at;
"""
_TIMELINE = "SELECT pg_walfile_name(pg_current_wal_lsn()) AS file"
_EVERY_SECONDS = 0.001


class Move:
    """One switchover that is under way."""

    def __init__(self, server: Server, params: Params, consoles: Sequence[Console]) -> None:
        self.server = server
        self.params = params
        self.consoles = consoles
        self.databases: list[str] = params["pool_databases"]
        self.spans: dict[str, float] = {}
        self.facts: dict[str, Any] = {"phases": self.spans, "sent": False, "rolled_back": False, "reopened": False}
        self.stopping = False
        self.candidate: account.Candidate | None = None

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
        """All of it. Raises OpsError, whose facts say whether it was taken back."""
        candidate = self.candidate = self._ready()
        begun = time.perf_counter()
        try:
            if self.consoles:
                with self.phase("pause"):
                    pause_all(self.consoles, self.databases, self.params["pause_timeout"])
            with self.phase("stop"):
                fence.mark(self.server)
                self.stopping = True
                shut_down = fence.close(self.server, self.params["timeout"])
            with self.phase("replay"):
                self._await_replayed(candidate, shut_down)
        except Promoted as exc:
            raise OpsError(f"{exc}; {self._left()}", **self.facts) from exc
        except BaseException as exc:
            raise self._back(exc) from exc
        try:
            with self.phase("promote"):
                self._promote(candidate)
            self._open(candidate)
        except OpsError as exc:
            raise OpsError(f"{exc}; {self._left()}", **self.facts) from exc
        self.facts["stall_ms"] = round((time.perf_counter() - begun) * 1000, 3)

    # --- before ---------------------------------------------------------------------------------------------

    def _ready(self) -> account.Candidate:
        """The account, known to the candidate, and the connection to it; and little left to write for the shutdown."""
        params = self.params
        seconds = params["pause_timeout"] + 4 * params["timeout"] + 60
        note = {"from": params["name"], "synchronous": params["synchronous_names"], "began": params["began"]}
        with self.phase("ready"):
            # That it can be made shows that this server still takes writes.
            password = account.make(self.server, seconds, note)
            try:
                return self._reached(password)
            except (OpsError, OSError) as exc:
                with suppress(OpsError):
                    account.drop(self.server)
                self.facts["reopened"] = True
                raise OpsError(f"nothing was touched: {exc}", **self.facts) from exc

    def _reached(self, password: str) -> account.Candidate:
        for console in self.consoles:
            console.version()
        candidate = account.reach(
            self.server, self.params["candidate_host"], self.params["candidate_port"], password
        )
        failure: list[OpsError] = []

        def admitted() -> bool:
            failure.clear()
            try:
                account.admitted(candidate)
            except OpsError as exc:
                failure.append(exc)
            return not failure

        # The account comes to it with the WAL, a moment later.
        if not await_condition(admitted, min(10, self.params["timeout"]), every=0.05):
            raise failure[0]
        if candidate.row(_STANDS)["recovery"] != "t":
            raise OpsError(f"{candidate} is no replica")
        with self.server.connect() as connection:
            connection.execute("CHECKPOINT")
        return candidate

    # --- the fence and the replay -----------------------------------------------------------------------------

    def _await_replayed(self, candidate: account.Candidate, shut_down: str) -> None:
        """Wait until it has replayed past the shutdown checkpoint, the last thing that the old primary has written."""
        last = lsn.parse(shut_down)
        stands = {"replayed": "unknown"}
        lost: list[str] = []

        def replayed() -> bool:
            lost.clear()
            try:
                stands.update(candidate.row(_STANDS))
            except OpsError as exc:
                lost.append(str(exc))
                return False
            if stands["recovery"] != "t":
                raise Promoted(
                    f"somebody has promoted {candidate} meanwhile; compare both servers before either goes on"
                )
            return lsn.parse(stands["replayed"]) > last

        if not await_condition(replayed, self.params["replay_timeout"], every=_EVERY_SECONDS):
            why = lost[0] if lost else f"it stands at {stands['replayed']}"
            raise OpsError(
                f"{candidate} has not replayed the shutdown of the old primary at {shut_down} within "
                f"{self.params['replay_timeout']} s: {why}"
            )
        self.facts.update(shut_down_lsn=shut_down, replayed_lsn=stands["replayed"])

    # --- forward only -----------------------------------------------------------------------------------------

    def _promote(self, candidate: account.Candidate) -> None:
        """Send it, and wait until it takes writes. pg_promote itself would look once in a tenth of a second."""
        ignore_signals()
        self.facts["sent"] = True
        told: list[str] = []

        def promoted() -> bool:
            try:
                return candidate.row(_STANDS)["recovery"] == "f"
            except OpsError as exc:
                told[:] = [str(exc)]
                return False

        try:
            candidate.ask("SELECT pg_promote(false)")
        except OpsError as exc:
            told[:] = [str(exc)]
        if not await_condition(promoted, self.params["timeout"], every=_EVERY_SECONDS):
            why = f": {told[0]}" if told else ""
            raise OpsError(f"{candidate} was told to promote and takes no writes after {self.params['timeout']} s{why}")
        self.facts["promoted_at"] = time.time()

    def _open(self, candidate: account.Candidate) -> None:
        """See that it takes writes on a timeline of its own, and let the clients go on with it."""
        with self.phase("write"):
            candidate.ask(_WRITES)
            timeline = int(candidate.row(_TIMELINE)["file"][:8], 16)
            self.facts["timeline"] = timeline
            if timeline <= self.params["timeline"]:
                raise OpsError(
                    f"{candidate} takes writes on timeline {timeline}, no newer than {self.params['timeline']}"
                )
        wanted = (self.params["candidate_host"], self.params["candidate_port"])
        let_go(self.consoles, self.databases, wanted, self.phase)

    def _left(self) -> str:
        held = "; clients are still held" if self.consoles else ""
        return f"the old primary stays closed{held}; run the same command again, it goes on from here"

    # --- back -------------------------------------------------------------------------------------------------

    def _back(self, cause: BaseException) -> OpsError:
        """Take back what was done, as far as it came; returns what to raise."""
        ignore_signals()
        words = f"{cause}" if isinstance(cause, (OpsError, OSError)) else f"{type(cause).__name__} {cause}".strip()
        failures: list[str] = []
        # A pooler that is gone must not keep the others' clients, nor leave the account.
        for act in (self._reopen, self._resume, lambda: account.drop(self.server)):
            try:
                act()
            except (OpsError, OSError) as exc:
                failures.append(str(exc))
        self.facts["rolled_back"] = not failures
        if failures:
            return OpsError(
                f"{words}; and the way back failed: {failures[0]}; run the same command again", **self.facts
            )
        return OpsError(f"{words}; it was taken back: the old primary takes writes again", **self.facts)

    def _reopen(self) -> None:
        """The old primary takes writes again, or never ceased to."""
        if not self.stopping:
            # Ended while it was marked.
            fence.unmark(self.server)
        else:
            fence.unmark(self.server)
            fence.end(self.server, self.params["timeout"])
            fence.reopen(self.server, self.params["timeout"])
        self.facts["reopened"] = True

    def _resume(self) -> None:
        """Nobody's clients go on with a server that does not take writes."""
        if self.consoles and self.facts["reopened"]:
            resume_all(self.consoles, self.databases)


class Promoted(OpsError):
    """The candidate takes writes, and not because it was told to here."""


def let_go(
    consoles: Sequence[Console], databases: Sequence[str], wanted: tuple[str, int],
    phase: Callable[[str], AbstractContextManager[None]],
) -> None:  # fmt: skip
    """Have the poolers read where clients go now, see it, and let the clients go on."""
    if not consoles:
        return
    with phase("route"):
        reload_all(consoles)
        wrong = [
            f"{console}: {name}" for console in consoles for name in databases if console.route(name) != wanted
        ]
        if wrong:
            raise OpsError(f"{', '.join(wrong)} does not go to the new primary after a reload; look at its log")
    with phase("resume"):
        resume_all(consoles, databases)


def interrupted(number: int, _frame: Any) -> None:
    """End what is under way, in words."""
    raise OpsError(f"ended by {signal.Signals(number).name}")


def ignore_signals() -> None:
    """From here on, only the end counts."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def consoles_of(params: Params) -> list[Console]:
    """The poolers' consoles, over the network."""
    return [
        Console(Address(one["host"], one["port"], params["pool_user"], params["pool_password"] or ""))
        for one in params["consoles"]
    ]


def move(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Make the candidate primary in the place of this server."""
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
        with host_lock(str(server.data_dir), "switchover"):
            moving = Move(server, params, consoles)
            try:
                moving.run()
            finally:
                if moving.candidate:
                    moving.candidate.close()
    finally:
        for console in consoles:
            console.close()
    outcome.facts = moving.facts
    return outcome
