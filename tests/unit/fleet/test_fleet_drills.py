# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of drills: no more than a host holds, not past the budget, the oldest first; a month of 500 clusters."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, ledger, report
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_drills import (
    DAY,
    WAL_BYTES,
    Candidate,
    DrillHost,
    Plan,
    due,
    hosts_needed,
    plan,
    plan_drills,
)
from samples import Ground, record, stamp

GB = 10**9
SIZE = 400 * GB
NIGHT = 8 * 3600.0
#: Restore and verification of one cluster as they were recorded by `make bench` on two quiet cores: bytes, seconds.
RECORDED = [(6.3 * GB, 17.3), (7.9 * GB, 22.4), (4.7 * GB, 11.4), (0.022 * GB, 21.0)]


def estate(chance: random.Random, count: int, now: float) -> list[Candidate]:
    """Clusters of every size, proven at any time of the last weeks or never."""
    found = []
    for number in range(count):
        size = int(10 ** chance.uniform(9, 12))
        known = chance.random() > 0.1
        found.append(Candidate(
            f"c{number:03d}", now - chance.uniform(0, 30) * DAY if known else None,
            lasts(size, chance) if known else None, size if known else None,
        ))
    return found


def lasts(size: int, chance: random.Random) -> float:
    """A drill's time by the recorded rates, on slower disks than those and with chance."""
    rate = min(bytes_ / seconds for bytes_, seconds in RECORDED[:3])
    return 21 + size / rate * chance.uniform(1, 2.5)


def check(made: Plan, candidates: list[Candidate], hosts: list[DrillHost], budget: float) -> None:
    """What holds of every plan."""
    every = [*made.drills, *made.spare]
    told = [*(drill.cluster for drill in every), *made.impossible]
    assert sorted(told) == sorted(one.cluster for one in candidates), "each cluster once, with a place or a reason"
    assert all(drill.ends > budget for drill in made.spare) and not made.postponed
    assert all(drill.begins >= 0 and drill.ends <= budget + 1e-6 for drill in made.drills)
    assert [drill.begins for drill in made.drills] == sorted(drill.begins for drill in made.drills)
    for host in hosts:
        there = [drill for drill in every if drill.host == host.name]
        for drill in there:
            beside = [one for one in there if one.begins <= drill.begins < one.ends]
            assert len(beside) <= host.slots
            assert sum(one.bytes for one in beside) <= host.free_bytes


@pytest.mark.parametrize("seed", range(25))
def test_no_plan_holds_more_than_its_hosts_and_its_night(seed: int) -> None:
    chance = random.Random(seed)
    now = 1_800_000_000.0
    candidates = due(estate(chance, chance.randrange(1, 150), now), now, 7, 1)
    hosts = [DrillHost(f"d{number}", chance.randrange(0, 4), int(10 ** chance.uniform(10, 12.5)))
             for number in range(chance.randrange(0, 5))]
    budget = chance.choice([600.0, 3600.0, NIGHT])
    made = plan(candidates, hosts, budget)
    check(made, candidates, hosts, budget)
    assert plan(candidates, hosts, budget) == made, "the same again is the same"
    if not any(host.slots for host in hosts):
        assert not made.drills


@pytest.mark.parametrize("seed", range(10))
def test_nobody_is_delayed_by_who_comes_after(seed: int) -> None:
    """The first so many of a list are planned alone as they are planned with all others behind them."""
    chance = random.Random(seed)
    candidates = due(estate(chance, 60, 1_800_000_000.0), 1_800_000_000.0, 7, 1)
    measured = [one for one in candidates if one.bytes]  # what is estimated goes by the others
    hosts = [DrillHost("d1", 2, 1200 * GB), DrillHost("d2", 1, 600 * GB)]
    first = measured[:15]
    alone = {drill.cluster: drill for drill in plan(first, hosts, NIGHT).drills}
    among = {drill.cluster: drill for drill in plan(measured, hosts, NIGHT).drills}
    assert alone and all(among[name] == drill for name, drill in alone.items())


def test_who_was_proven_longest_ago_comes_first() -> None:
    now = 100 * DAY
    given = [Candidate("new", now - DAY), Candidate("late", now - 9 * DAY), Candidate("never", None),
             Candidate("edge", now - 6 * DAY), Candidate("inside", now - 6 * DAY + 1)]
    assert [one.cluster for one in due(given, now, 7, 1)] == ["never", "late", "edge"]
    assert len(due(given, now, 7, 1, run_seconds=1)) == 4, "it would become too old while the next run is at it"
    [first] = plan(due(given, now, 7, 1), [DrillHost("d", 1, 2 * WAL_BYTES)], 3600, 1.0).drills
    assert first.cluster == "never"


def test_what_fits_nowhere_says_why() -> None:
    hosts = [DrillHost("small", 1, 50 * GB), DrillHost("none", 0, 9000 * GB)]
    given = [Candidate("big", 0, 60, 80 * GB), Candidate("slow", 0, 9000, GB), Candidate("ok", 0, 60, GB)]
    made = plan(given, hosts, 3600)
    assert made.impossible["big"] == "it needs 81.1 GB, the drill host with most room has 50.0 GB free"
    assert "more than the whole budget of 1 h" in made.impossible["slow"]
    assert [drill.cluster for drill in made.drills] == ["ok"]
    assert plan([Candidate("a", None)], [], 60).impossible == {"a": "no drill host answers"}


def test_a_small_one_fills_the_gap_beside_a_large_one() -> None:
    host = DrillHost("d", 2, 100 * GB)
    given = [Candidate("a", 0, 100, 60 * GB), Candidate("b", 1, 100, 60 * GB), Candidate("c", 2, 80, 20 * GB)]
    made = {drill.cluster: drill.begins for drill in plan(given, [host], 3600, 1.0).drills}
    assert made == {"a": 0, "c": 0, "b": 100}


def test_what_was_never_measured_is_taken_for_the_worst() -> None:
    host = DrillHost("d", 1, 500 * GB)
    first = plan([Candidate("new", None), Candidate("old", 0, 100, 90 * GB)], [host], 3600, 1.0).drills[0]
    assert (first.cluster, first.seconds, first.bytes) == ("new", 100, 90 * GB + WAL_BYTES)


def month(clusters: int, hosts: list[DrillHost], every: float, seed: int) -> tuple[list[int], list[int]]:
    """Thirty nights of drills, with chance in how long they take and in whether they pass: overdue and drilled.

    As the fleet does it: each host takes its drills in their order, and begins none that is taken to end too late.
    """
    chance = random.Random(seed)
    size = {f"c{number:03d}": int(SIZE * chance.uniform(0.2, 1.8)) for number in range(clusters)}
    known: dict[str, Candidate] = {name: Candidate(name, None) for name in size}
    overdue, drilled = [], []
    for night in range(30):
        now = night * DAY
        wanted = due(known.values(), now, every, 1, NIGHT)
        made = plan(wanted, hosts, NIGHT)
        check(made, wanted, hosts, NIGHT)
        clock, done = dict.fromkeys((host.name for host in hosts), 0.0), 0
        for drill in [*made.drills, *made.spare]:
            if clock[drill.host] + drill.seconds > NIGHT:
                continue
            name, took = drill.cluster, lasts(size[drill.cluster], chance)
            clock[drill.host] += took
            done += 1
            if chance.random() > 0.01:
                known[name] = Candidate(name, now + clock[drill.host], took, size[name])
        assert max(clock.values()) <= NIGHT * 1.2
        drilled.append(done)
        ages = [now + NIGHT - one.verified if one.verified is not None else None for one in known.values()]
        overdue.append(sum(age is None or age > every * DAY for age in ages))
    return overdue, drilled


def test_a_month_of_500_clusters_with_as_many_hosts_as_the_arithmetic_says() -> None:
    """Once every cluster was drilled, hardly any is overdue again; with a third of the hosts most are."""
    rate = min(size / seconds for size, seconds in RECORDED[:3]) / 1.75
    sized = hosts_needed(500, SIZE, 7, night_seconds=NIGHT, bytes_per_second=rate, fixed_seconds=21)
    hosts = [DrillHost(f"d{number:02d}", 1, 2 * SIZE) for number in range(sized.hosts)]
    overdue, drilled = month(500, hosts, 7, seed=4)
    assert sum(drilled[:9]) >= 500 and max(overdue[10:]) <= 10, (sized, overdue, drilled)
    fewer, _drilled = month(500, hosts[: len(hosts) // 3], 7, seed=4)
    assert min(fewer[10:]) > 100, (len(hosts), fewer)


def test_the_arithmetic_of_the_page_is_that_of_the_code() -> None:
    """Each row of the table in docs/fleet.md, computed anew."""
    text = (Path(__file__).resolve().parents[3] / "docs/fleet.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) GB \| (\d+) \| ([\d.]+) min \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) >= 5
    for clusters, size, days, minutes, per_slot, hosts in rows:
        sized = hosts_needed(int(clusters), int(size) * GB, int(days), night_seconds=NIGHT, bytes_per_second=100e6)
        assert (f"{sized.drill_seconds / 60:.1f}", sized.per_slot, sized.hosts) == (minutes, int(per_slot), int(hosts))


def test_a_drill_that_takes_longer_than_a_night_has_no_arithmetic() -> None:
    with pytest.raises(ValueError, match="a night has 8 h"):
        hosts_needed(10, 5000 * GB, 7, night_seconds=NIGHT, bytes_per_second=100e6)


def test_the_ledger_says_who_is_due_how_long_and_how_large(tmp_path: Path) -> None:
    ground = Ground.create(tmp_path)
    now = datetime.now(timezone.utc).replace(microsecond=0)

    def drill(cluster: str, days: float, seconds: float, **more: Any) -> None:
        begun = now - timedelta(days=days)
        ended = stamp(begun + timedelta(seconds=seconds))
        ledger.append(ground.ledger, record(cluster, started=stamp(begun), finished=ended, **more), ground.key)

    measured = {"measurements": {"rto_seconds": 60, "backup_bytes": 5 * GB}}
    drill("orders", 9, 300, **measured)
    drill("orders", 8, 100, **measured)
    drill("books", 1, 100, **measured)
    failed = [{"name": "x", "required": True, "status": "failed"}]
    drill("books", 0.5, 100, checks=failed, **measured)
    found = report.read_estate(
        ground.ledger, keys.load_trusted([ground.public]), title="", now=now, overdue_days=7, expected=["shop"]
    ).clusters
    params = {"drill_every_days": 7, "drill_again_days": 1, "budget_seconds": 0,
              "drill_hosts": [{"name": "d", "slots": 2, "free_bytes": 100 * GB}]}
    made = plan_drills(params, found, ["orders", "books", "shop"])
    assert {drill.cluster: (drill.seconds, drill.bytes) for drill in made.drills} == dict.fromkeys(
        ["shop", "orders"], (375.0, 5 * GB + WAL_BYTES)
    )
    assert made.postponed == {"books": "verified 23 h 58 min ago, due every 7 days"}
