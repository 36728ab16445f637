# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read from pages: positions, their order, files in segments."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.page_lsn import (
    file_bytes,
    file_state,
    page_position,
    relation_key,
)
from hypothesis import given
from hypothesis import strategies as st

PAGE = 8192


def pages(*positions: int) -> bytes:
    """Pages as PostgreSQL writes them: the high half of the position first, each half in this host's order."""
    return b"".join(struct.pack("=II", p >> 32, p & 0xFFFFFFFF) + b"\xff" * (PAGE - 8) for p in positions)


@given(
    positions=st.lists(st.integers(0, 2**64 - 1) | st.integers(2**32 - 3, 2**32 + 3), max_size=300),
    limit=st.integers(0, 2**64 - 1) | st.integers(2**32 - 3, 2**32 + 3),
)
def test_one_later_page_is_enough(tmp_path_factory: pytest.TempPathFactory, positions: list[int], limit: int) -> None:
    file = tmp_path_factory.mktemp("data") / "16384"
    file.write_bytes(pages(*positions))
    expected = "changed" if any(position > limit for position in positions) else "same"
    assert file_state(file, len(positions) * PAGE, limit) == expected


def test_less_than_there_was(tmp_path: Path) -> None:
    file = tmp_path / "16384"
    file.write_bytes(pages(1, 2))
    assert file_state(file, 2 * PAGE, 5) == "same"
    assert file_state(file, 1 * PAGE, 5) == "same"
    assert file_state(file, 3 * PAGE, 5) == "shorter"
    assert file_state(file, 3 * PAGE, 1) == "changed"
    assert file_state(tmp_path / "gone", 0, 5) == "shorter"


def test_zeros_are_no_change(tmp_path: Path) -> None:
    file = tmp_path / "16384"
    file.write_bytes(pages(1) + bytes(PAGE))
    assert file_state(file, 2 * PAGE, 1) == "same"


def test_every_segment_counts(tmp_path: Path) -> None:
    (tmp_path / "16384").write_bytes(pages(1, 1))
    (tmp_path / "16384.1").write_bytes(pages(1))
    (tmp_path / "16384.2").write_bytes(pages(9))
    (tmp_path / "16384_fsm").write_bytes(pages(99))
    assert file_bytes(tmp_path / "16384") == 4 * PAGE
    assert file_state(tmp_path / "16384", 4 * PAGE, 9) == "same"
    assert file_state(tmp_path / "16384", 4 * PAGE, 8) == "changed"


def test_a_torn_end_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "16384").write_bytes(pages(1, 1)[:-1])
    assert file_state(tmp_path / "16384", 2 * PAGE, 5) == "shorter"


def test_one_page(tmp_path: Path) -> None:
    file = tmp_path / "1262"
    file.write_bytes(pages(1 << 40, 7))
    (tmp_path / "1262.1").write_bytes(pages(3))
    assert page_position(file, 0) == 1 << 40
    assert page_position(file, 1) == 7
    assert page_position(file, 2, segment=2 * PAGE) == 3
    assert page_position(file, 5) == page_position(tmp_path / "gone", 0) == -1


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("base/5/16390", "1663/5/16390"),
        ("global/1262", "1664/0/1262"),
        ("pg_tblspc/16500/PG_16_202307071/5/16390", "16500/5/16390"),
    ],
)
def test_as_the_log_names_it(path: str, key: str) -> None:
    assert relation_key(path) == key
