# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An idle source and a stuck archive look the same from outside: told apart on servers that have just written."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.idle import lacks_at_most, nothing_missing
from postgresql_ground import Make, Running


@pytest.fixture
def other(running: Running) -> Iterator[psycopg.Connection]:
    """A session whose transactions stay open as long as a test wants."""
    server = running.server
    place = {"host": str(server.socket_dir), "port": server.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**place) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS idle (a int)")
        connection.commit()
        yield connection
        connection.rollback()


def _idle(running: Running, archive: Make, snapshot: str = "") -> bool:
    snapshot = snapshot or running.server.psql("SELECT pg_current_snapshot()")
    now = archive()
    return nothing_missing(now, now.names, snapshot)


def test_a_source_that_wrote_nothing_since_is_idle(running: Running, archive: Make, other: psycopg.Connection) -> None:
    other.execute("INSERT INTO idle VALUES (1)")
    other.commit()
    running.archived()
    assert _idle(running, archive)


def test_a_commit_that_is_not_archived_is_missed(running: Running, archive: Make, other: psycopg.Connection) -> None:
    other.execute("INSERT INTO idle VALUES (2)")
    other.commit()
    assert not _idle(running, archive)
    running.archived()
    assert _idle(running, archive)


def test_a_transaction_that_is_still_open_hides_no_commit(
    running: Running, archive: Make, other: psycopg.Connection
) -> None:
    other.execute("INSERT INTO idle VALUES (3)")
    running.server.psql("INSERT INTO idle VALUES (4)")
    # A checkpoint writes down which transactions are running; later ends are before and behind that record.
    running.server.psql("CHECKPOINT", "INSERT INTO idle VALUES (5)")
    running.archived()
    assert _idle(running, archive)
    running.server.psql("INSERT INTO idle VALUES (6)")
    assert not _idle(running, archive)
    running.archived()
    seen = running.server.psql("SELECT pg_current_snapshot()")
    other.commit()
    assert _idle(running, archive, seen)
    assert not _idle(running, archive)
    running.archived()
    assert _idle(running, archive)


def test_rolled_back_and_nested_transactions_are_no_loss(
    running: Running, archive: Make, other: psycopg.Connection
) -> None:
    other.execute("INSERT INTO idle VALUES (7)")
    other.rollback()
    with other.transaction(), other.transaction():
        other.execute("INSERT INTO idle VALUES (8)")
    running.archived()
    assert _idle(running, archive)


def test_a_log_that_tells_nothing_of_what_ran_proves_nothing(running: Running, archive: Make) -> None:
    running.server.psql("CREATE TABLE IF NOT EXISTS idle (a int)", "INSERT INTO idle VALUES (9)")
    running.archived()
    snapshot = running.server.psql("SELECT pg_current_snapshot()")
    now = archive()
    assert not nothing_missing(now, [], snapshot)
    assert not nothing_missing(now, now.names, f"1:{int(snapshot.split(':')[1]) + 1_000_000}:")


def test_what_the_archive_lacks_is_as_old_as_the_segment_that_is_written_to(
    running: Running, archive: Make, other: psycopg.Connection
) -> None:
    other.execute("INSERT INTO idle VALUES (10)")
    other.commit()
    running.archived()
    other.execute("INSERT INTO idle VALUES (11)")
    other.commit()
    now = archive()
    writing = running.server.psql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    assert lacks_at_most(now, now.names, writing, 60) == 60
    # Nothing forces the end of a segment, so a commit may lie in it for days.
    assert lacks_at_most(now, now.names, writing, 0) is None
    # One more that the archive lacks, and there is no limit; nor is there one on another timeline, or without any.
    assert lacks_at_most(now, now.names[:-1], writing, 60) is None
    assert lacks_at_most(now, now.names, f"0000000A{writing[8:]}", 60) is None
    assert lacks_at_most(now, [], writing, 60) is None
