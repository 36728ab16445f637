# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COLLECTIONS = str(Path(__file__).resolve().parents[3] / ".collections")
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_journal import Layout, Writer  # noqa: E402

START = 1_800_000_000_000_000  # µs
Row = tuple[int, int, int]  # id, client, milliseconds after START at which it was acknowledged


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty probe directory."""
    return Layout(tmp_path)


@pytest.fixture
def write(layout: Layout) -> Callable[..., None]:
    """Writes one session of the run ``r`` as a worker does. A round trip takes 1 ms, the insert is in its middle."""

    def session(rows: list[Row], begun: int = 0, ended: int | None = None, first_id: int = 1) -> None:
        writer = Writer(layout, "r")
        writer.begin(START + begun * 1000, {"clients": 2, "rate": 50, "first_id": first_id})
        for ident, client, ms in rows:
            acked = START + ms * 1000
            writer.ack(ident, client, acked - 1000, acked, acked - 500)
        if ended is not None:
            writer.end(START + ended * 1000, "stopped")
        writer.close()

    return session
