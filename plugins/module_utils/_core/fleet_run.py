# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one operation for many clusters: so many at a time, in waves, until it is done or too many have failed.

What is begun is never ended by the fleet: a failure elsewhere, a closed window or the fleet's own death only keep
others from being begun.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_journal import (
    SAID_VARIABLE,
    Journal,
    Result,
)

_POLL_SECONDS = 0.2
_SHOWN = 160  # characters of a message in a line of the output; the log has all


@dataclass(frozen=True)
class Item:
    """One cluster of a fleet.

    :param lane: what it takes room of, a drill host; empty for none
    :param need_bytes: how much of the lane's disk it takes while it runs
    """

    cluster: str
    argv: tuple[str, ...]
    lane: str = ""
    need_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Lane:
    """How much may run at a time on one drill host."""

    slots: int
    free_bytes: int


@dataclass
class _Running:
    item: Item
    began: float
    popen: subprocess.Popen[bytes] | None  # None while the run of an earlier fleet is waited for


@dataclass
class Fleet:
    """One run.

    :param waves: the clusters of each wave, in order
    :param parallel: how many run at a time
    :param max_fail: more than this percentage of a wave's clusters failed: no other is begun
    :param gate: asked before each is begun; says why it may not be, or nothing
    :param tell: takes a line for a person
    """

    journal: Journal
    waves: Sequence[Sequence[Item]]
    parallel: int
    max_fail: float
    gate: Callable[[Item], str]
    tell: Callable[[str], None]
    environment: Mapping[str, str]
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    cwd: Path | None = None
    stopped: str = ""
    results: dict[str, Result] = field(default_factory=dict)
    _running: list[_Running] = field(default_factory=list)
    _begun: int = 0

    def run(self) -> list[Result]:
        """Run it to its end; returns how every cluster fared, in the order of the waves."""
        for number, wave in enumerate(self.waves, 1):
            self._wave(number, list(wave))
        return [self.results[item.cluster] for wave in self.waves for item in wave]

    def _wave(self, number: int, wave: list[Item]) -> None:
        waiting = []
        for item in wave:
            earlier = self.journal.done(item.cluster)
            if earlier:
                self._begun += 1
                self.results[item.cluster] = earlier
            else:
                waiting.append(item)
        while waiting or self._running:
            if self.stopped:
                for item in waiting:
                    self._leave(item, self.stopped, quiet=True)
                waiting = []
            while len(self._running) < self.parallel and (able := self._next(waiting)):
                waiting.remove(able)
                closed = self.gate(able)
                if closed:
                    self._leave(able, closed)
                else:
                    self._begin(able, number)
            if not self._reap(wave):
                time.sleep(_POLL_SECONDS)

    def _next(self, waiting: Sequence[Item]) -> Item | None:
        """The first that there is room for. None of a lane overtakes another of the same lane."""
        full: set[str] = set()
        for item in waiting:
            if not item.lane or (item.lane not in full and self._room(item)):
                return item
            full.add(item.lane)
        return None

    def _room(self, item: Item) -> bool:
        lane = self.lanes[item.lane]
        there = [one.item for one in self._running if one.item.lane == item.lane]
        taken = sum(one.need_bytes for one in there)
        return len(there) < lane.slots and (not there or taken + item.need_bytes <= lane.free_bytes)

    def _begin(self, item: Item, wave: int) -> None:
        held = self.journal.lock(item.cluster)
        self._begun += 1
        total = sum(map(len, self.waves))
        if held < 0:
            self.tell(f"{item.cluster}: another run works on it: waiting for its end ({self._begun} of {total})")
            self._running.append(_Running(item, time.time(), None))
            return
        where = f" on {item.lane}" if item.lane else ""
        self.tell(f"{item.cluster}: begun{where} ({self._begun} of {total}, wave {wave} of {len(self.waves)})")
        self._running.append(_Running(item, time.time(), self._start(item, held)))

    def _start(self, item: Item, held: int) -> subprocess.Popen[bytes]:
        """A run in a session of its own, which neither Ctrl-C nor the fleet's end reaches; it inherits the lock."""
        self.journal.forget(item.cluster)
        log = os.open(self.journal.log(item.cluster), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return subprocess.Popen(
                item.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(held,), start_new_session=True,
                cwd=self.cwd, env={**self.environment, SAID_VARIABLE: str(self.journal.said(item.cluster))},
            )
        finally:
            os.close(log)
            os.close(held)

    def _reap(self, wave: Sequence[Item]) -> bool:
        """Take in what has ended; returns whether anything has."""
        ended = False
        for one in list(self._running):
            if one.popen is None:
                ended = self._attend(one, wave) or ended
            elif one.popen.poll() is not None:
                result = self.journal.heard(one.item.cluster, one.popen.returncode, time.time() - one.began)
                self._take(one, result, wave)
                ended = True
        return ended

    def _attend(self, one: _Running, wave: Sequence[Item]) -> bool:
        """Whether the run that was waited for is over. Where it was this fleet's and ended well, that was it."""
        held = self.journal.lock(one.item.cluster)
        if held < 0:
            return False
        earlier = self.journal.done(one.item.cluster)
        if earlier:
            os.close(held)
            self._take(one, earlier, wave)
        elif self.stopped or self.gate(one.item):
            os.close(held)
            self._running.remove(one)
            self._leave(one.item, self.stopped or self.gate(one.item))
        else:
            self.tell(f"{one.item.cluster}: begun, now that the other run is over")
            one.popen, one.began = self._start(one.item, held), time.time()
        return True

    def _take(self, one: _Running, result: Result, wave: Sequence[Item]) -> None:
        self._running.remove(one)
        self.results[one.item.cluster] = result
        self.journal.keep(result)
        what = as_line(result.message)
        what = f": {what[:_SHOWN]}{'…' if len(what) > _SHOWN else ''}" if what else ""
        self.tell(f"{result.cluster}: {result.outcome} after {say.span(result.seconds)}{what}"
                  + (f" ({result.log})" if result.outcome == "failed" else ""))
        failed = sum(self.results[item.cluster].outcome == "failed" for item in wave if item.cluster in self.results)
        if failed * 100 > self.max_fail * len(wave) and not self.stopped:
            self.stopped = f"stopped: {failed} of the {len(wave)} in its wave failed, allowed are {self.max_fail:g}%"
            self.tell(f"{self.stopped}; no other cluster is begun, those under way run to their end")

    def _leave(self, item: Item, reason: str, quiet: bool = False) -> None:
        self.results[item.cluster] = Result(item.cluster, "left", reason)
        if not quiet:
            self.tell(f"{item.cluster}: left: {reason}")


def counts(results: Sequence[Result]) -> dict[str, Any]:
    """How many of each outcome there are."""
    return {word: sum(one.outcome == word for one in results) for word in ("ok", "failed", "left")}
