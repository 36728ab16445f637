# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One case: move the primary under writers, strike at a phase, run the same command again, and judge."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from estate_runs import Running, await_

from tests.chaos.ground import BUDGET, TIMER, Battered, Sight, kill
from tests.chaos.watch import Watch

_SWITCHOVER = {
    "controller": ("begun", "paused", "fenced", "closed", "promoted", "routed"),
    "worker": ("begun", "paused", "fenced", "closed", "promoted"),
    "candidate": ("begun", "paused", "fenced", "closed", "promoted"),
    "pooler": ("begun", "paused", "closed", "promoted"),
    "old": ("begun", "paused", "fenced"),
    "second": ("begun", "paused", "promoted"),
    "abandoned": ("paused", "promoted"),
}
_FAILOVER = {
    "controller": ("fenced", "paused", "promoted"),
    "worker": ("fenced", "paused", "promoted"),
    "candidate": ("fenced", "paused", "promoted"),
    "pooler": ("paused", "promoted"),
    "returned": ("fenced", "paused", "promoted"),
    "second": ("fenced", "promoted"),
}
#: How often the same command is given again before a case has failed.
RERUNS = 4


@dataclass(frozen=True)
class Case:
    """Who is struck, in which phase of which word. `second` starts the same command beside the first; `returned` starts
    the old primary, which was dead; `abandoned` kills the worker, and nobody comes before the dead-man's timer."""

    word: str
    victim: str
    phase: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.word}/{self.victim}/{self.phase}"


CASES = [
    Case(word, victim, phase)
    for word, table in (("switchover", _SWITCHOVER), ("failover", _FAILOVER))
    for victim, phases in table.items()
    for phase in phases
]


@dataclass
class Result:
    """How it went. It is safe where nothing is told."""

    case: Case
    hit: bool = False
    reruns: int = 0
    lost: int = 0
    split: int = 0
    longest: float = 0.0
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)
    #: Why the reruns that did not end it gave up.
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(case: Case, ground: Battered) -> Result:
    """Run a case on its ground, and bring that back to three members."""
    result, begun = Result(case), time.monotonic()
    try:
        await_(ground.whole, "the ground", 60)
        old = ground.primary()
        with _judged(ground, result):
            if case.word == "failover":
                ground.kill_primary()
            new = ground.furthest(old)
            with contextlib.closing(Sight(ground, old, new)) as sight:
                _strike(case, ground, sight, result)
        if case.word == "failover":
            _bring_back(ground, old)
    except (Exception, pytest.fail.Exception) as exc:
        result.wrong.append(f"{type(exc).__name__}: {' '.join(str(exc).split())[-1200:]}")
        with contextlib.suppress(Exception, pytest.fail.Exception):
            ground.heal()
    result.seconds = time.monotonic() - begun
    return result


@contextlib.contextmanager
def _judged(ground: Battered, result: Result) -> Iterator[None]:
    """Clients write, through the pooler and directly, and who takes writes is watched; then it is counted."""
    name = f"{result.case.name.replace('/', '-')}-{time.time():.0f}"
    places = {
        f"{name}-pool": ground.through(),
        f"{name}-direct": {
            "login_host": ",".join("127.0.0.1" for _host in ground.members),
            "login_port": ",".join(str(ground.server(host)["port"]) for host in ground.members),
        },
    }
    account = {"login_user": "probe", "login_password": "for the writers only", "login_db": "postgres"}
    at = {one: {"directory": str(ground.home / "probe" / one)} for one in places}
    for one, where in places.items():
        ground.module("probe", state="started", clients=2, rate=50, **at[one], **where, **account)
    try:
        with Watch({host: ground.where(host) for host in ground.members}) as watch:
            yield
            for one in places:
                _await_rows(ground, at[one], 20, BUDGET)
    finally:
        saw = {one: ground.module("probe", state="stopped", **at[one]) for one in places}
    result.rounds, result.split = watch.rounds, len(watch.split)
    result.wrong += [f"split brain: {line}" for line in watch.split[:3]]
    result.wrong += [] if watch.rounds > 50 else [f"only {watch.rounds} looks at the members"]
    server = ground.server(ground.primary())
    for one, told in saw.items():
        found = ground.module(
            "probe", state="checked", **at[one], login_unix_socket=server["socket_dir"],
            login_port=str(server["port"]), login_user="postgres", login_db="postgres",
        )  # fmt: skip
        result.lost += found["missing"]
        result.longest = max(result.longest, told["largest_client_gap_ms"] / 1000)
        result.wrong += [f"lost: {found['missing']} acknowledged rows of {one}"] if found["missing"] else []
        result.wrong += [] if found["expected"] else [f"{one} was promised nothing"]
    if result.longest > BUDGET:
        result.wrong.append(f"stuck: a client had no answer for {result.longest:.1f} s, {BUDGET} s are allowed")


def _await_rows(ground: Battered, place: dict[str, Any], more: int, seconds: float) -> None:
    def acknowledged() -> int:
        return int(ground.module("probe", state="measured", **place)["acknowledged"])

    before = acknowledged()
    await_(lambda: acknowledged() >= before + more, "clients that go on", seconds)


def _strike(case: Case, ground: Battered, sight: Sight, result: Result) -> None:
    """Begin the word, wait for the phase, strike, and give the command again until it ends well."""
    # A failover finds the one that has most by itself.
    given = {"switchover_candidate": sight.new} if case.word == "switchover" else {}
    down = () if case.word == "switchover" else (sight.old,)
    running = ground.word(case.word, **given)
    reached = sight.phase(case.phase)
    await_(lambda: reached() or running.popen.poll() is not None, f"the phase {case.phase}", 180)
    beside = _hit(case, ground, sight, running, given, result)
    ended = [one.end(200).code for one in (running, *beside)]
    if not result.hit:
        result.wrong.append("nobody was hit: the run was over before")
    if case.victim == "abandoned":
        # Nobody comes: the timer has the clients go on with the only member that takes writes.
        await_(lambda: not sight.phase("paused")(), "the dead-man's timer", TIMER + 60)
    await_(lambda: not ground.workers(), "the end of what a killed controller has left", 120)
    # A failover that has ended well is refused a second time: its primary works.
    if case.word == "switchover" or 0 not in ended:
        _again(case, ground, given, result, down)
    ground.heal(*down)


def _again(
    case: Case, ground: Battered, given: dict[str, Any], result: Result, down: tuple[str, ...]
) -> None:
    """Give the same command again until it ends well."""
    while result.reruns < RERUNS:
        ground.heal(*down)
        result.reruns += 1
        done = ground.word(case.word, **given).end(300)
        if done.code == 0:
            break
        result.refused.append(" | ".join(done.errors()[-2:]) or done.output[-800:])
        if "Traceback" in done.output:
            result.wrong.append(f"a traceback: {done.output[-800:]}")
    else:
        result.wrong.append(f"{RERUNS} reruns did not end it: {result.refused[-1]}")


def _hit(
    case: Case, ground: Battered, sight: Sight, running: Running, given: dict[str, Any], result: Result
) -> list[Running]:
    """Strike; returns the runs that go on beside the first."""
    if running.popen.poll() is not None:
        return []
    beside = []
    if case.victim == "controller":
        running.kill()
        result.hit = True
    elif case.victim in {"worker", "abandoned"}:
        def killed() -> bool:
            result.hit = kill(ground.workers())
            return result.hit or running.popen.poll() is not None

        await_(killed, "a module that runs", 60)
    elif case.victim == "pooler":
        result.hit = kill([ground.pooler()])
    elif case.victim in {"candidate", "old"}:
        host = sight.new if case.victim == "candidate" else sight.old
        result.hit = bool(ground.processes_in(ground.server(host)["data_dir"]))
        ground.kill_server(ground.server(host)["data_dir"])
    elif case.victim == "returned":
        result.hit = True
        with contextlib.suppress(AssertionError):
            ground.module("instance", state="started", **ground.server(sight.old))
    else:
        result.hit = True
        beside.append(ground.word(case.word, **given))
    return beside


def _bring_back(ground: Battered, old: str) -> None:
    """Have the old primary follow again."""
    done = ground.word("rejoin", rejoin_host=old, rejoin_reclone=True, rejoin_keep_data=False).end(300)
    assert done.code == 0, f"rejoin: {done.errors()[-1:] or done.output[-800:]}"
