# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a restore goes: targets in and out of the window, and the commits on both sides, from commits in memory."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn, restore_plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import Backup, stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan, make, parse_time
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive, Commit
from hypothesis import given
from hypothesis import strategies as st
from postgresql_ground import Memory, scratch

SIZE = 1 << 20
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
BACKUP = Backup("b", "full", NOON - timedelta(seconds=9), NOON, 1, "0/200000", "0/200800", 1, 16, "7", "")


def at(seconds: float) -> datetime:
    """A moment after the backup's end."""
    return NOON + timedelta(seconds=seconds)


class Fake(Archive):
    """An archive whose segments hold the given commits, each as (segment, offset, seconds after NOON)."""

    def __init__(self, *commits: tuple[int, int, float], last: int = 9, points: Iterable[tuple[int, str]] = ()) -> None:
        names = [lsn.segment_name(1, number * SIZE, SIZE) for number in range(2, last + 1)]
        super().__init__(Memory(*names, size=SIZE), "no program", scratch().joinpath("none"))
        self.read: list[str] = []
        self._points = list(points)
        self.all = [
            Commit(at(seconds), lsn.text(segment * SIZE + offset), 700 + number)
            for number, (segment, offset, seconds) in enumerate(commits)
        ]

    def commits(self, name: str) -> list[Commit]:
        self.read.append(name)
        return [one for one in self.all if lsn.segment_name(1, lsn.parse(one.lsn), SIZE) == name]

    def restore_points(self, name: str) -> list[tuple[str, str]]:
        here = [(word, place) for place, word in self._points if lsn.segment_name(1, place, SIZE) == name]
        return [(word, lsn.text(place)) for word, place in here]

    def record_at(self, names: Iterable[str], position: int) -> int | None:
        """Here a record begins at every position but between a multiple of 8 and the next."""
        del names
        return -(-position // 8) * 8


#: Three commits a second apart in segment 3, one in 5, and one in 8.
FIVE = [(3, 0x100, 1.0), (3, 0x200, 2.0), (3, 0x300, 3.0), (5, 0x100, 10.0), (8, 0x100, 20.5)]


def plan(archive: Archive, kind: str, target: str = "", seed: int = 1) -> Plan:
    """A plan for the backup at NOON."""
    params = {"target_type": kind, "target": target, "target_timeline": "latest"}
    return make(archive, BACKUP, params, random.Random(seed))


def xids(made: Plan) -> tuple[int | None, int | None]:
    """The transactions on both sides of the target."""
    before, after = made.target.before, made.target.after
    return before and before.xid, after and after.xid


# --- times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21 08:00:00+00", (8, 0, 0, 0)),
        ("2026-11-21T08:00:00Z", (8, 0, 0, 0)),
        ("  2026-11-21 08:00:00Z ", (8, 0, 0, 0)),
        ("2026-11-21 08:00:00+00:00", (8, 0, 0, 0)),
        ("2026-11-21 08:00:00.5+00", (8, 0, 0, 500000)),
        ("2026-11-21 08:00:00.05Z", (8, 0, 0, 50000)),
        ("2026-11-21 08:00:00.123Z", (8, 0, 0, 123000)),
        ("2026-11-21 08:00:00.123456+00", (8, 0, 0, 123456)),
        ("2026-11-21 08:00:00+02", (6, 0, 0, 0)),
        ("2026-11-21 08:00:00-05:30", (13, 30, 0, 0)),
        ("2026-11-21 08:00:00.000001+05:30", (2, 30, 0, 1)),
        ("2026-11-21 08:00+00", (8, 0, 0, 0)),
        ("2026-11-22T01:00:00+14", (11, 0, 0, 0)),
    ],
)
def test_times_with_a_zone(text: str, expected: tuple[int, int, int, int]) -> None:
    assert parse_time(text) == datetime(2026, 11, 21, *expected, tzinfo=timezone.utc)
    assert parse_time(text).tzinfo == timezone.utc


@pytest.mark.parametrize("text", ["2026-11-21 08:00:00", "2026-11-21T08:00:00.5", "2026-11-21"])
def test_times_without_a_zone_are_refused(text: str) -> None:
    with pytest.raises(OpsError) as caught:
        parse_time(text)
    assert str(caught.value) == f"target {text!r} has no time zone; write 2026-11-21 08:00:00+00"


@pytest.mark.parametrize(
    "text",
    ["", "now", "yesterday", "08:00:00+00", "2026-13-21 08:00:00+00", "2026-11-21 25:00:00+00",
     "2026-11-21 08:00:00 UTC", "2026-11-21 08:00:00 Europe/Berlin", "1763712000", "0001-01-01 00:00:00+14",
     "2026-11-21 08:00:00+99"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(OpsError, match=r"is no time such as 2026-11-21 08:00:00\+00"):
        parse_time(text)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_in_every_zone(moment: datetime, minutes: int) -> None:
    wanted = moment.replace(tzinfo=timezone.utc)
    there = wanted.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_time(there.isoformat(" ")) == wanted
    assert parse_time(stamp(wanted)) == wanted


# --- the window ---------------------------------------------------------------------------------------------


def test_the_window_as_a_person_reads_it() -> None:
    made = plan(Fake(*FIVE), "latest")
    assert str(made.window) == "2026-11-21T12:00:00.000000Z (0/200800) to 2026-11-21T12:00:20.500000Z (0/800100)"
    assert made.window.facts() == {
        "start": "2026-11-21T12:00:00.000000Z", "start_lsn": "0/200800",
        "end": "2026-11-21T12:00:20.500000Z", "end_lsn": "0/800100",
    }  # fmt: skip
    assert (made.target.type, xids(made)) == ("latest", (704, None))


def test_the_window_of_an_idle_cluster() -> None:
    made = plan(Fake(last=3), "latest")
    assert str(made.window) == "2026-11-21T12:00:00.000000Z (0/200800) to no commit since (0/200800)"
    assert made.window.facts()["end"] is None
    assert xids(made) == (None, None)


def test_commits_while_the_backup_was_taken_are_no_targets() -> None:
    """They lie before its end, where it was not consistent."""
    assert str(plan(Fake((2, 0x700, -1.0), last=3), "latest").window).endswith("to no commit since (0/200800)")


@pytest.mark.parametrize(
    ("kind", "target", "why"),
    [
        ("time", "2026-11-21 11:59:59+00", "the backup was not consistent yet"),
        ("time", "2026-11-21 12:00:20.5+00", "it must lie before the last archived commit, else recovery never stops"),
        ("time", "2027-11-21 12:00:20+00", "it must lie before the last archived commit"),
        ("lsn", "0/2007FF", "the backup was not consistent yet"),
        ("lsn", "0/800101", "the archive does not reach that far"),
        ("lsn", "5/0", "the archive does not reach that far"),
        ("name", "deploy", "no restore point of that name is in the archived WAL"),
    ],
)
def test_a_target_outside_the_window_is_refused_with_the_window(kind: str, target: str, why: str) -> None:
    with pytest.raises(OpsError) as caught:
        plan(Fake(*FIVE), kind, target)
    window = "2026-11-21T12:00:00.000000Z (0/200800) to 2026-11-21T12:00:20.500000Z (0/800100)"
    assert str(caught.value).startswith(f"target {target} is outside the window {window}: {why}")


def test_any_time_on_an_idle_cluster_is_outside() -> None:
    with pytest.raises(OpsError, match=r"to no commit since .*use target_type latest"):
        plan(Fake(last=3), "time", "2026-11-21 12:00:01+00")


@pytest.mark.parametrize("target", ["", "now", "0/x", "3000060"])
def test_what_is_no_position_is_refused(target: str) -> None:
    with pytest.raises(OpsError, match=f"target '{target}' is no LSN such as 0/3000060"):
        plan(Fake(*FIVE), "lsn", target)


def test_wal_that_ends_before_the_backup_was_consistent() -> None:
    with pytest.raises(OpsError, match="backup b needs WAL up to 0/200800, which the archive does not hold"):
        plan(Fake(last=1), "immediate")


# --- both sides of a target ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        ("2026-11-21 12:00:00+00", None, 700),
        ("2026-11-21 12:00:00.999999+00", None, 700),
        ("2026-11-21 12:00:01+00", 700, 701),  # recovery to a time includes a commit at that time
        ("2026-11-21 12:00:02.5+00", 701, 702),
        ("2026-11-21 12:00:03+00", 702, 703),
        ("2026-11-21 12:00:09+00", 702, 703),
        ("2026-11-21 12:00:10+00", 703, 704),
        ("2026-11-21 14:00:20.4+02", 703, 704),
    ],
)
def test_commits_around_a_time(target: str, before: int | None, after: int) -> None:
    made = plan(Fake(*FIVE), "time", target)
    assert xids(made) == (before, after)
    assert made.target.value == stamp(parse_time(target))


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        ("0/200800", None, 700),
        ("0/300100", 700, 701),  # recovery ends behind the record that begins here
        ("0/3000F9", 700, 701),  # the next record that begins behind it is the commit
        ("0/3000F0", None, 700),
        ("0/300101", 700, 701),
        ("0/300301", 702, 703),
        ("0/500100", 703, 704),
        ("0/800100", 704, None),
    ],
)
def test_commits_around_a_position(target: str, before: int | None, after: int | None) -> None:
    assert xids(plan(Fake(*FIVE), "lsn", target)) == (before, after)


def test_commits_around_a_name() -> None:
    points = [(2 * SIZE - 8, "early"), (2 * SIZE + 0x10, "early"), (3 * SIZE + 0x250, "mid"), (8 * SIZE, "mid")]
    archive = Fake(*FIVE, points=[*points, (9 * SIZE, "two words"), (9 * SIZE + 8, "late")])
    assert xids(plan(archive, "name", "mid")) == (701, 702)  # of two of one name recovery stops at the first
    assert xids(plan(archive, "name", "two words")) == (704, None)
    with pytest.raises(OpsError, match="before the backup was consistent"):
        plan(archive, "name", "early")
    with pytest.raises(OpsError, match="no restore point of that name"):
        plan(archive, "name", "two")


def test_a_name_from_before_the_backup_does_not_hide_the_one_after() -> None:
    start = lsn.parse(BACKUP.start_lsn)
    backup = Backup(**{**BACKUP.__dict__, "start_lsn": lsn.text(start + 0x100)})
    archive = Fake(*FIVE, points=[(start + 8, "again"), (start + 0x900, "again")])
    made = make(
        archive, backup, {"target_type": "name", "target": "again", "target_timeline": "latest"}, random.Random(1)
    )
    assert xids(made) == (None, 700)


def test_segments_without_commits_do_not_lead_astray() -> None:
    """A bulk load fills segments without a commit; the search by halves lands in them first."""
    archive = Fake((2, 0x900, 1.0), (2, 0xA00, 2.0), (9, 0x100, 30.0), last=9)
    assert xids(plan(archive, "time", "2026-11-21 12:00:01.5+00")) == (700, 701)
    assert xids(plan(archive, "time", "2026-11-21 12:00:02+00")) == (701, 702)


COMMITS = st.lists(st.tuples(st.integers(2, 9), st.integers(0x801, SIZE - 1)), min_size=2, max_size=12, unique=True)


@given(COMMITS, st.lists(st.integers(1, 50), min_size=12, max_size=12), st.data())
def test_the_search_finds_what_a_person_would_find(
    places: list[tuple[int, int]], steps: list[int], data: st.DataObject
) -> None:
    places.sort()
    moments = [sum(steps[: number + 1]) for number in range(len(places))]
    archive = Fake(*[(*place, moment) for place, moment in zip(places, moments)])
    target = data.draw(st.integers(0, moments[-1] - 1))
    made = plan(archive, "time", stamp(at(target)))
    before = [one for one in archive.all if one.time <= at(target)]
    after = [one for one in archive.all if one.time > at(target)]
    assert made.target.before == (before[-1] if before else None)
    assert made.target.after == after[0]


def test_the_search_reads_few_segments() -> None:
    archive = Fake(*[(number, 0x900, float(number)) for number in range(2, 900)], last=900)
    plan(archive, "time", stamp(at(500.5)))
    assert len(set(archive.read)) < 20


# --- random targets -----------------------------------------------------------------------------------------


def test_a_seed_repeats_its_choice() -> None:
    commits = [(number // 10 + 2, 0x900 + number % 10, float(number)) for number in range(70)]
    chosen = [plan(Fake(*commits), "random", seed=seed).target for seed in range(20)]
    assert chosen == [plan(Fake(*commits), "random", seed=seed).target for seed in range(20)]
    assert len({target.value for target in chosen}) > 10
    for target in chosen:
        assert target.type == "time"
        assert target.before is not None
        assert target.after is not None
        assert stamp(target.before.time) == target.value
        assert target.after.xid == target.before.xid + 1


@pytest.mark.parametrize("commits", [[], [(3, 0, 1.0)], [(3, 0, 1.0), (3, 8, 1.0)]])
def test_without_two_distinct_commits_a_random_target_is_the_latest(commits: list[tuple[int, int, float]]) -> None:
    assert plan(Fake(*commits), "random").target.type == "latest"


@given(st.lists(st.integers(0, 8), max_size=12))
def test_steps_are_unambiguous(moments: list[int]) -> None:
    """At each step everything up to it is at or before its time, and the next commit is after: one place to stop."""
    commits = [Commit(at(moment), "0/0", number) for number, moment in enumerate(moments)]
    steps = restore_plan._steps(commits)
    expected: list[Any] = [
        (commits[number], commits[number + 1])
        for number in range(len(commits) - 1)
        if max(moments[: number + 1]) == moments[number] < moments[number + 1]
    ]
    assert steps == expected
