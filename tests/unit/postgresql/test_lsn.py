# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Positions in the log and the names of its segments, for every segment size that PostgreSQL can be built with."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.sampled_from([1 << power for power in range(20, 31)])  # 1 MB to 1 GB
POSITIONS = st.integers(0, (1 << 64) - 1)
TIMELINES = st.integers(1, (1 << 32) - 1)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0/0", 0),
        ("0/3000060", 0x3000060),
        ("1/0", 1 << 32),
        ("A/bC", (10 << 32) + 0xBC),
        ("FFFFFFFF/FFFFFFFF", (1 << 64) - 1),
    ],
)
def test_positions_are_read(text: str, position: int) -> None:
    assert lsn.parse(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "/",
        "0/",
        "/0",
        "0/0/0",
        "x/0",
        "0/G",
        "-1/0",
        "0/-1",
        "+1/0",
        " 0/0",
        "0/0\n",
        "0x1/0",
        "1_0/0",
        "123456789/0",
        "٣/0",
    ],
)
def test_what_is_no_position_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lsn.parse(text)


@given(POSITIONS)
def test_positions_round_trip(position: int) -> None:
    assert lsn.parse(lsn.text(position)) == position


@given(TIMELINES, POSITIONS, SIZES)
def test_a_segment_holds_the_position_that_named_it(timeline: int, position: int, size: int) -> None:
    name = lsn.segment_name(timeline, position, size)
    assert lsn.SEGMENT.match(name)
    assert lsn.segment_timeline(name) == timeline
    assert lsn.segment_start(name, size) == position - position % size


@given(TIMELINES, POSITIONS, SIZES)
def test_a_segments_ends_belong_to_it_and_its_neighbours_do_not(timeline: int, position: int, size: int) -> None:
    name = lsn.segment_name(timeline, position, size)
    start = lsn.segment_start(name, size)
    assert lsn.segment_name(timeline, start, size) == name
    assert lsn.segment_name(timeline, start + size - 1, size) == name
    if start + size < 1 << 64:
        assert lsn.segment_name(timeline, start + size, size) > name
    if start:
        assert lsn.segment_name(timeline, start - 1, size) < name


@pytest.mark.parametrize(
    ("position", "size", "name"),
    [
        (0x1000000, 16 << 20, "000000010000000000000001"),
        (0xFFFFFFFF, 16 << 20, "0000000100000000000000FF"),
        (1 << 32, 16 << 20, "000000010000000100000000"),
        ((1 << 32) - 1, 1 << 20, "000000010000000000000FFF"),
        ((7 << 32) + (3 << 30), 1 << 30, "000000010000000700000003"),
    ],
)
def test_names_as_postgresql_writes_them(position: int, size: int, name: str) -> None:
    assert lsn.segment_name(1, position, size) == name


@pytest.mark.parametrize(
    "name",
    [
        "00000001000000000000000",
        "0000000100000000000000011",
        "00000001000000000000000a",
        "000000010000000000000001.partial",
        "00000002.history",
        "000000010000000000000001\n",
    ],
)
def test_other_files_of_an_archive_are_no_segments(name: str) -> None:
    assert not lsn.SEGMENT.match(name)
    assert bool(lsn.HISTORY.match(name)) is (name == "00000002.history")
