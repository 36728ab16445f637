# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clusters a fleet is, in which waves, and when they may be changed."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_select import select, typed, wave_sizes
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_window import closed

GROUPS = {
    "all": ["o1", "o2", "b1"], "ungrouped": ["lone"], "orders": ["o1", "o2"], "books": ["b1"], "empty": [],
    "shop_eu": ["eu1"], "shop_us": ["us1"], "shop_test": ["t1"], "production": ["o1", "o2", "b1"],
    "twice": ["o2", "x1"],
}  # fmt: skip
CHILDREN = {"all": ["orders", "books"], "production": ["orders", "books", "empty"]}


@pytest.mark.parametrize(("wanted", "clusters"), [
    ("orders", ["orders"]),
    ("books, orders", ["books", "orders"]),
    (["orders", "books", "orders"], ["orders", "books"]),
    ("production:children", ["orders", "books"]),
    ("shop_*,!shop_test", ["shop_eu", "shop_us"]),
    (["!books", "production:children"], ["orders"]),
    ("shop_*,!shop_[et]*", ["shop_us"]),
    ("orders,!gone", ["orders"]),
])  # fmt: skip
def test_clusters_are_named(wanted: object, clusters: list[str]) -> None:
    assert select(wanted, GROUPS, CHILDREN) == clusters


@pytest.mark.parametrize(("wanted", "words"), [
    ("", ["names no cluster"]),
    (None, ["names no cluster"]),
    ("orders,!orders", ["names no cluster"]),
    ("orders,nowhere,empty", ["nowhere is no group", "empty is no group"]),
    ("all", ["all is a group that Ansible makes itself"]),
    ("all:children", ["all has no groups"]),
    ("orders:children", ["orders has no groups"]),
    ("garden_*", ["no group with hosts is like garden_*"]),
    ("orders,twice", ["o2 would be worked on twice, for orders and twice"]),
    ("production,books", ["b1 would be worked on twice"]),
])  # fmt: skip
def test_what_is_no_cluster_is_refused_with_every_reason(wanted: object, words: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        select(wanted, GROUPS, CHILDREN)
    assert all(word in str(refused.value) for word in words)
    assert len(refused.value.reasons) == len(words)


def test_a_name_that_is_no_group_is_a_cluster_only_where_that_is_said() -> None:
    assert select("afar,orders", GROUPS, CHILDREN, unlisted=True) == ["afar", "orders"]
    with pytest.raises(Refused, match="no name of a cluster"):
        select("../etc", GROUPS, CHILDREN, unlisted=True)


def test_a_name_that_can_be_no_file_is_refused() -> None:
    with pytest.raises(Refused, match="no name of a cluster"):
        select("a b", {"a b": ["h"]}, {})


@pytest.mark.parametrize(("total", "waves", "sizes"), [
    (5, ["100%"], [5]), (5, [], [5]), (5, [1], [1, 1, 1, 1, 1]), (40, [1, "10%", "100%"], [1, 4, 35]),
    (3, ["1", "10%", "100%"], [1, 1, 1]), (1, [7], [1]), (0, ["100%"], []),
])  # fmt: skip
def test_waves(total: int, waves: list[object], sizes: list[int]) -> None:
    assert wave_sizes(total, waves) == sizes


def test_waves_hold_everything_whatever_they_are() -> None:
    chance = random.Random(5)
    for _round in range(300):
        total = chance.randrange(1, 600)
        waves = [chance.choice([chance.randrange(1, 50), f"{chance.randrange(1, 101)}%"]) for _wave in range(3)]
        sizes = wave_sizes(total, waves)
        assert sum(sizes) == total and min(sizes) >= 1


@pytest.mark.parametrize("wave", [0, -1, "0%", "101%", "half", "", True, 1.5, None])
def test_what_is_no_wave_is_refused(wave: object) -> None:
    with pytest.raises(OpsError, match="no wave"):
        wave_sizes(4, [wave])


def test_what_is_typed_names_a_few_and_counts_many() -> None:
    assert typed(["b", "a"]) == "a,b"
    assert typed(["d", "c", "b", "a"]) == "4 clusters"


def at(text: str) -> datetime:
    """A moment of UTC."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=timezone.utc)


NIGHT = {"days": ["sat", "sun"], "start": "22:00", "end": "04:00"}


@pytest.mark.parametrize(("now", "is_open"), [
    ("2026-11-28 21:59", False),  # a Saturday
    ("2026-11-28 22:00", True),
    ("2026-11-29 03:59", True),
    ("2026-11-29 04:00", False),
    ("2026-11-30 03:59", True),  # Monday, still of Sunday's window
    ("2026-11-30 22:30", False),
])  # fmt: skip
def test_a_window_reaches_over_midnight(now: str, is_open: bool) -> None:
    assert (closed(at(now), [NIGHT], []) == "") is is_open


def test_a_closed_window_tells_the_next() -> None:
    assert closed(at("2026-11-30 12:00"), [NIGHT], []).endswith("the next begins 2026-12-05 22:00 UTC")
    soon = {"days": "sat", "start": "13:00", "end": "14:00"}
    assert closed(at("2026-11-28 12:00"), [NIGHT, soon], []).endswith("13:00 UTC")


def test_no_window_is_any_time_and_an_empty_one_is_the_whole_day() -> None:
    assert closed(at("2026-11-30 12:00"), [], []) == ""
    assert closed(at("2026-11-30 00:00"), [{}], []) == ""
    assert closed(at("2026-11-30 23:59"), [{"days": ["mon"]}], []) == ""


def test_yaml_reads_an_unquoted_time_as_a_number() -> None:
    window = {"start": 1320, "end": "04:00"}
    assert closed(at("2026-11-30 22:00"), [window], []) == "" and closed(at("2026-11-30 21:59"), [window], []) != ""


def test_a_window_goes_by_the_clock_of_its_zone() -> None:
    window = {"start": "02:00", "end": "04:00", "timezone": "America/New_York"}
    for day in (date(2026, 1, 15), date(2026, 7, 15)):
        noon = datetime(day.year, day.month, day.day, 3, 0, tzinfo=ZoneInfo("America/New_York"))
        assert closed(noon, [window], []) == "" and closed(noon - timedelta(hours=2), [window], []) != ""


def test_a_freeze_stands_above_windows_and_holds_its_last_day() -> None:
    freeze = {"start": date(2026, 12, 20), "end": date(2027, 1, 3), "reason": "the year's end"}
    assert closed(at("2026-12-20 00:00"), [{}], [freeze]) == "frozen until 2027-01-04 00:00 UTC: the year's end"
    assert closed(at("2027-01-03 23:59"), [{}], [freeze]) and not closed(at("2027-01-04 00:00"), [{}], [freeze])
    assert not closed(at("2026-12-19 23:59"), [{}], [freeze])
    short = {"start": "2026-12-20 18:00", "end": "2026-12-20T20:00"}
    assert closed(at("2026-12-20 19:59"), [], [short]) and not closed(at("2026-12-20 20:00"), [], [short])


@pytest.mark.parametrize(("windows", "freezes", "words"), [
    ([{"days": ["funday"]}], [], "no day 'fun'"),
    ([{"start": "25:00"}], [], "no time of day"),
    ([{"start": "10:75"}], [], "no time of day"),
    ([{"timezone": "Atlantis"}], [], "no time zone"),
    ([{"timezone": "../../etc/passwd"}], [], "no time zone"),
    ([{"from": "22:00"}], [], "a window has no from"),
    (["sat"], [], "is no window"),
    ([], [{"start": "2026-12-20"}], "lacks its start or its end"),
    ([], [{"start": "2026-12-20", "end": "2026-12-19"}], "ends before it starts"),
    ([], [{"start": "soon", "end": "2026-12-19"}], "start is no day"),
    ([], [{"start": "2026-02-31", "end": "2026-12-19"}], "start is no day"),
    ([], ["2026"], "is no freeze"),
])  # fmt: skip
def test_what_can_not_be_read_is_refused(windows: list[object], freezes: list[object], words: str) -> None:
    with pytest.raises(OpsError, match=r"^refused: ") as refused:
        closed(at("2026-11-30 12:00"), windows, freezes)  # type: ignore[arg-type]
    assert words in str(refused.value) and "\n" not in str(refused.value)
