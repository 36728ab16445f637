# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files survive what happens to a probe, and the figures follow from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_journal import (
    ID_SKIP,
    Layout,
    Writer,
    next_id,
    read_acks,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_summary import summarise
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_time import ProbeError

START = 1_800_000_000_000_000
Write = Callable[..., None]


def test_what_is_written_is_read(layout: Layout, write: Write) -> None:
    write([(1, 1, 10), (2, 2, 20)], ended=30)
    journal = read_acks(layout.acks("r"))
    assert list(journal.ids) == [1, 2]
    assert list(journal.clients) == [1, 2]
    assert list(journal.acked) == [START + 10_000, START + 20_000]
    assert list(journal.at) == [START + 9_500, START + 19_500]
    assert list(journal.sent) == [START + 9_000, START + 19_000]
    assert journal.size == layout.acks("r").stat().st_size


def test_no_file_is_an_error_and_not_an_empty_run(layout: Layout) -> None:
    with pytest.raises(ProbeError, match="no acknowledgements"):
        read_acks(layout.acks("r"))


def test_a_torn_line_is_left_out_and_the_next_session_stands_on_its_own_line(layout: Layout, write: Write) -> None:
    write([(1, 1, 10), (2, 1, 20)])
    path = layout.acks("r")
    path.write_bytes(path.read_bytes()[:-7])
    assert list(read_acks(layout.acks("r")).ids) == [1]
    write([(3, 1, 40)], begun=35)
    journal = read_acks(layout.acks("r"))
    assert list(journal.ids) == [1, 3]
    assert journal.damaged == 1
    assert len(journal.sessions) == 2


@pytest.mark.parametrize("garbage", [b"\0\0\0\0\n", b"12\t1\n", b"x\t1\t1.000000\t1.000000\t1.000000\n", b"#begin\n"])
def test_garbage_is_counted(layout: Layout, write: Write, garbage: bytes) -> None:
    write([(1, 1, 10)])
    with layout.acks("r").open("ab") as handle:
        handle.write(garbage)
    journal = read_acks(layout.acks("r"))
    assert (list(journal.ids), journal.damaged) == ([1], 1)


def test_reading_goes_on_where_it_ended(layout: Layout, write: Write) -> None:
    write([(1, 1, 10)])
    size = read_acks(layout.acks("r")).size
    write([(2, 1, 20)])
    assert list(read_acks(layout.acks("r"), size).ids) == [2]


def test_a_new_session_never_reuses_an_id_that_may_have_been_in_flight(layout: Layout, write: Write) -> None:
    assert next_id(layout, "r") == 1
    write([(7, 1, 10)])
    assert next_id(layout, "r") == 7 + ID_SKIP + 1
    # A session killed before it recorded anything: only its first id is known.
    write([], first_id=5000)
    assert next_id(layout, "r") == 5000 + ID_SKIP + 1
    writer = Writer(layout, "r")
    writer.error(START, 1, 9000, kind="write", sqlstate="57P01", name="AdminShutdown", message="terminating connection")
    writer.close()
    assert next_id(layout, "r") == 9000 + ID_SKIP + 1


@pytest.mark.parametrize("run", ["a/b", "../x", "", ".hidden", "-x", "a" * 64, "a\n"])
def test_a_run_id_cannot_leave_the_directory(layout: Layout, run: str) -> None:
    layout.remember({"run": run})
    with pytest.raises(ProbeError, match="not a run id"):
        layout.run_id(None)


def test_largest_gap_is_over_all_clients(layout: Layout, write: Write) -> None:
    # Out of order in the file, as threads may be; client 2 alone is quiet for 70 ms.
    write([(1, 1, 10), (3, 1, 60), (2, 2, 20), (4, 1, 65), (5, 2, 90)], ended=91)
    summary = summarise(layout, "r")
    assert summary["largest_gap_ms"] == 40.0
    assert summary["largest_gap_from"].endswith(".020000+00:00")
    assert summary["largest_gap_to"].endswith(".060000+00:00")
    assert summary["largest_gap_open"] is False
    assert summary["largest_client_gap_ms"] == 70.0
    assert summary["commit_ms"] == {"p50": 1.0, "p99": 1.0, "max": 1.0}
    assert summary["acknowledged"] == 5


def test_a_server_that_never_came_back_is_a_gap(layout: Layout, write: Write) -> None:
    write([(1, 1, 10), (2, 1, 20)], ended=5000)
    summary = summarise(layout, "r")
    assert (summary["largest_gap_ms"], summary["largest_gap_open"]) == (4980.0, True)


def test_a_session_without_any_commit_is_one_gap(layout: Layout, write: Write) -> None:
    write([], begun=100, ended=3100)
    assert summarise(layout, "r")["largest_gap_ms"] == 3000.0


def test_the_time_between_sessions_is_no_gap(layout: Layout, write: Write) -> None:
    write([(1, 1, 10), (2, 1, 20)], ended=25)
    write([(1100, 1, 60_010), (1101, 1, 60_025)], begun=60_000)  # killed: no end
    summary = summarise(layout, "r")
    assert (summary["largest_gap_ms"], summary["largest_gap_open"]) == (15.0, False)
    assert (summary["sessions"], summary["interrupted_sessions"]) == (2, 1)


def test_while_it_runs_the_open_gap_grows(layout: Layout, write: Write) -> None:
    write([(1, 1, 10)])
    summary = summarise(layout, "r", now=START + 500_000)
    assert (summary["largest_gap_ms"], summary["largest_gap_open"]) == (490.0, True)
    assert summary["interrupted_sessions"] == 0


def test_errors_are_counted_by_kind_and_class(layout: Layout, write: Write) -> None:
    write([(1, 1, 10)], ended=20)
    writer = Writer(layout, "r")
    writer.error(
        START + 1000, 1, 2, kind="write", sqlstate="57P01", name="AdminShutdown", message="terminating\nDETAIL: more"
    )
    writer.error(
        START + 2000, 1, 0, kind="connect", sqlstate="", name="OperationalError", message="connection\trefused"
    )
    writer.error(
        START + 3000,
        2,
        3,
        kind="read_only",
        sqlstate="25006",
        name="ReadOnlySqlTransaction",
        message="cannot execute INSERT",
    )
    writer.close()
    summary = summarise(layout, "r")
    assert summary["errors"] == 3
    assert summary["read_only_errors"] == 1
    assert summary["errors_by_kind"] == {"read_only": 1, "connect": 1, "timeout": 0, "warning": 0, "write": 1}
    assert summary["errors_by_class"]["AdminShutdown"] == 1
    assert summary["first_error"]["message"] == "terminating"
    assert summary["first_error"]["sqlstate"] == "57P01"
    assert summary["last_error"]["class"] == "ReadOnlySqlTransaction"


def test_stalls_of_the_probe_itself_are_told(layout: Layout, write: Write) -> None:
    write([(1, 1, 10)])
    writer = Writer(layout, "r")
    writer.stall(START + 20_000, 75_000)
    writer.close()
    summary = summarise(layout, "r")
    assert (summary["probe_stalls"], summary["probe_stall_max_ms"]) == (1, 75.0)
