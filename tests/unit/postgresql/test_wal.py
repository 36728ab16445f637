# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What archived WAL says, read live with pg_waldump 16 and 18 from servers that have just written it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native import NativeRepository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive, Commit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal_header import header
from postgresql_ground import Make, Memory, Running, Server, await_, free_port, scratch


def _fresh(running: Running) -> None:
    """Begin a new segment, so that a test knows what is in it."""
    running.server.psql("SELECT pg_create_restore_point('fresh')")
    running.archived()


def _xid(running: Running, *statements: str) -> int:
    """Run statements in one transaction; returns its number."""
    answer = running.server.psql("BEGIN; " + "; ".join(statements) + "; SELECT txid_current(); COMMIT")
    return int(answer.splitlines()[-1])


# --- records ------------------------------------------------------------------------------------------------


def _commits(running: Running, archive: Make) -> list[Commit]:
    """The commits of the segment that ends now."""
    name = running.archived()
    return archive().commits(name)


def test_commits_of_every_kind(running: Running, archive: Make) -> None:
    psql = running.server.psql
    psql("CREATE TABLE IF NOT EXISTS kinds (a int)")
    _fresh(running)
    before = psql("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    plain = _xid(running, "INSERT INTO kinds VALUES (1)")
    nested = _xid(running, "INSERT INTO kinds VALUES (2)", "SAVEPOINT s", "INSERT INTO kinds VALUES (3)", "RELEASE s")
    catalogue = _xid(running, "CREATE TABLE IF NOT EXISTS kinds_more (a int)")
    prepared = int(psql("BEGIN; INSERT INTO kinds VALUES (4); SELECT txid_current(); PREPARE TRANSACTION 'a COMMIT b'"))
    aborted = int(psql("BEGIN; INSERT INTO kinds VALUES (5); SELECT txid_current(); ROLLBACK"))
    psql("COMMIT PREPARED 'a COMMIT b'")
    psql("SELECT txid_current_if_assigned()")  # a transaction without a number writes no commit
    after = psql("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
    commits = _commits(running, archive)
    assert [commit.xid for commit in commits] == [plain, nested, catalogue, prepared]
    assert aborted not in [commit.xid for commit in commits]
    times = [commit.time.strftime("%Y-%m-%d %H:%M:%S.%f") for commit in commits]
    assert before[:23] <= times[0] <= times[1] <= times[2] <= times[3] <= after.ljust(26, "9")
    positions = [lsn.parse(commit.lsn) for commit in commits]
    assert positions == sorted(set(positions))
    # Without the zeros that pg_waldump fills up with.
    assert [commit.lsn for commit in commits] == [lsn.text(position) for position in positions]


def test_a_commits_time_is_the_one_that_postgresql_tells(running: Running, archive: Make) -> None:
    running.server.psql("CREATE TABLE IF NOT EXISTS stamped (a int)")
    _fresh(running)
    xid = _xid(running, "INSERT INTO stamped VALUES (1)", "SELECT pg_current_wal_insert_lsn()")
    end = lsn.parse(running.server.psql("SELECT pg_current_wal_lsn()"))
    (commit,) = _commits(running, archive)
    assert commit.xid == xid
    assert 0 < end - lsn.parse(commit.lsn) < 1000


def test_restore_points_with_any_name(running: Running, archive: Make) -> None:
    _fresh(running)
    names = ["plain", "two words", "a, lsn: 0/1, desc: COMMIT", "plain", "ü"]
    places = [running.server.psql(f"SELECT pg_create_restore_point('{name}')") for name in names]
    name = running.archived()
    found = archive().restore_points(name)
    assert [name for name, _place in found] == names
    # A record's position is its begin; the function tells its end.
    assert all(0 < lsn.parse(end) - lsn.parse(begin) <= 256 for (_name, begin), end in zip(found, places))


def test_changes_are_counted_per_relation(running: Running, archive: Make) -> None:
    psql = running.server.psql
    psql("DROP TABLE IF EXISTS counted, bulk; CREATE TABLE counted (a int); CREATE TABLE bulk (a int)")
    paths = {name: psql(f"SELECT pg_relation_filepath('{name}')") for name in ("counted", "bulk")}
    _fresh(running)
    begun = psql("SELECT pg_current_wal_insert_lsn()")
    psql("INSERT INTO counted SELECT generate_series(1, 100)", "DELETE FROM counted WHERE a <= 30")
    psql("UPDATE counted SET a = a + 1 WHERE a > 90")  # neither inserts nor deletes a row
    psql("COPY bulk FROM PROGRAM 'seq 500'")
    ended = psql("SELECT pg_current_wal_insert_lsn()")
    name = running.archived()
    found = archive().changes([name], begun, ended)
    database = paths["counted"].rpartition("/")[0].rpartition("/")[2]
    tally = {key: found[f"1663/{database}/{path.rpartition('/')[2]}"] for key, path in paths.items()}
    assert tally == {"counted": {"inserts": 100, "deletes": 30}, "bulk": {"inserts": 500, "deletes": 0}}
    # Segments that lie outside of the positions are not read.
    assert archive().changes([name], lsn.text(lsn.parse(ended) + (1 << 31)), lsn.text(1 << 40)) == {}


def test_where_the_next_record_begins(running: Running, archive: Make) -> None:
    psql = running.server.psql
    psql("CREATE TABLE IF NOT EXISTS kinds (a int)")
    _fresh(running)
    _xid(running, "INSERT INTO kinds VALUES (1)")
    name = running.archived()
    made = archive()
    (commit,) = made.commits(name)
    position = lsn.parse(commit.lsn)
    assert made.record_at([name], position) == position
    assert made.record_at([name], position - 7) == position
    assert (made.record_at([name], position + 1) or 0) > position
    assert (made.record_at([name], position - 200) or position) < position
    # What lies behind a segment's last record begins in the next one.
    end = lsn.segment_start(name, made.size) + made.size
    running.server.psql("SELECT pg_create_restore_point('next')")
    following = running.archived()
    found = archive().record_at([name, following], end - 8)
    assert found is not None
    assert 0 < found - end < 100
    assert archive().record_at([name], end - 8) is None


def test_the_last_commit(running: Running, archive: Make) -> None:
    running.server.psql("CREATE TABLE IF NOT EXISTS kinds (a int)")
    _fresh(running)
    xid = _xid(running, "INSERT INTO kinds VALUES (1)")
    running.archived()
    for _segment in range(2):
        _fresh(running)
    made = archive()
    last = made.last_commit(made.names, "0/0")
    assert last is not None
    assert last.xid == xid
    assert made.last_commit(made.names, lsn.text(lsn.parse(last.lsn) + 1)) is None
    assert made.last_commit(made.names[-2:], "0/0") is None
    assert made.last_commit([], "0/0") is None


# --- segments -----------------------------------------------------------------------------------------------


def test_a_segments_header(running: Running, archive: Make) -> None:
    server = running.server
    server.psql("SELECT pg_create_restore_point('something')")
    name = running.archived()
    head = header(running.archive / name)
    assert head.timeline == 1
    assert head.segment_size == archive().size == (running.archive / name).stat().st_size
    assert head.position == lsn.segment_start(name, head.segment_size)
    assert head.system_identifier == server.psql("SELECT system_identifier FROM pg_control_system()")
    assert name == server.psql(f"SELECT pg_walfile_name('{lsn.text(head.position + 1)}')")
    assert archive().faulty([name], head.system_identifier) == []
    assert archive().faulty([name], "12345") == [
        f"{name} is of another cluster (system identifier {head.system_identifier}, the backup's is 12345)"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is truncated to 0 bytes"),
        (b"\0" * 39, "is truncated to 39 bytes"),
        (b"\0" * 8192, "does not begin with a WAL header"),
        (b"\xff" * 8192, "does not begin with a WAL header"),
        (b"PostgreSQL" * 100, "does not begin with a WAL header"),
        (bytes(range(256)) * 4, "does not begin with a WAL header"),
    ],
)
def test_what_is_no_segment(tmp_path: Path, content: bytes, message: str) -> None:
    place = tmp_path / "000000010000000000000001"
    place.write_bytes(content)
    with pytest.raises(OpsError, match=f"^WAL segment 000000010000000000000001 {message}$"):
        header(place)


@pytest.fixture
def damaged(running: Running, tmp_path: Path) -> Iterator[tuple[Archive, Path]]:
    """An archive of one segment full of commits, a copy to damage."""
    running.server.psql("CREATE TABLE IF NOT EXISTS kinds (a int)")
    _fresh(running)
    running.server.psql(*["INSERT INTO kinds VALUES (1)"] * 50)
    name = running.archived()
    shutil.copy(running.archive / name, tmp_path / name)
    repository = NativeRepository(tmp_path, tmp_path, lambda word: str(running.server.bin_dir / word))
    place = scratch()
    yield Archive(repository, running.waldump, place), tmp_path / name
    shutil.rmtree(place)


def test_a_sound_segment_simply_ends(damaged: tuple[Archive, Path]) -> None:
    archive, segment = damaged
    assert len(archive.commits(segment.name)) == 50


def test_a_truncated_segment_is_told(damaged: tuple[Archive, Path]) -> None:
    archive, segment = damaged
    size = archive.size
    os.truncate(segment, size // 2 + 5)
    again = Archive(archive._repository, archive._waldump, archive._scratch)
    assert again.size == size
    assert f"{segment.name} is truncated to {size // 2 + 5} of {size} bytes" in again.faulty([segment.name], "")


def test_flipped_bytes_in_a_segments_header_are_told(damaged: tuple[Archive, Path]) -> None:
    archive, segment = damaged
    with segment.open("r+b") as stream:
        stream.write(b"\0" * 16)
    with pytest.raises(OpsError, match=f"WAL segment {segment.name} does not begin with a WAL header"):
        archive.commits(segment.name)


def test_another_segment_under_this_name_is_told(damaged: tuple[Archive, Path]) -> None:
    """As when two servers archive to one place, or somebody renamed a file."""
    archive, segment = damaged
    other = lsn.segment_name(1, lsn.segment_start(segment.name, archive.size) + 5 * archive.size, archive.size)
    segment.rename(segment.with_name(other))
    again = Archive(archive._repository, archive._waldump, archive._scratch)
    with pytest.raises(OpsError, match=f"WAL segment {other} is damaged: "):
        again.commits(other)


def test_flipped_bytes_in_a_record_are_told(damaged: tuple[Archive, Path]) -> None:
    archive, segment = damaged
    position = lsn.parse(archive.commits(segment.name)[20].lsn) % archive.size
    with segment.open("r+b") as stream:
        stream.seek(position + 28)  # behind the record's own header
        stream.write(b"\xff\xff")
    again = Archive(archive._repository, archive._waldump, scratch())
    with pytest.raises(OpsError, match=f"WAL segment {segment.name} is damaged: .*checksum"):
        again.commits(segment.name)


# --- timelines ----------------------------------------------------------------------------------------------


def _names(timeline: int, *numbers: int) -> list[str]:
    return [lsn.segment_name(timeline, number << 24, 16 << 20) for number in numbers]


def _text(*rows: tuple[int, str]) -> str:
    return "".join(f"{timeline}\t{position}\tno recovery target specified\n\n" for timeline, position in rows)


def _archive(names: list[str], histories: dict[int, str] | None = None) -> Archive:
    return Archive(Memory(*names, histories=histories), "no program", scratch())


#: 2 left 1 in segment 4, and 3 left 2 in segment 6; 4 left 1 in segment 3.
TREE = {2: _text((1, "0/4800000")), 3: _text((1, "0/4800000"), (2, "0/6000000")), 4: _text((1, "0/3000000"))}
BRANCHED = [*_names(1, 1, 2, 3, 4), *_names(2, 4, 5), *_names(3, 6, 7, 8), *_names(4, 3, 4)]


@pytest.mark.parametrize(
    ("backup", "stop", "wanted", "expected"),
    [
        (1, "0/2000000", "current", [(1, 0)]),
        (1, "0/2000000", "1", [(1, 0)]),
        (1, "0/2000000", "2", [(1, 0), (2, 0x4800000)]),
        (1, "0/2000000", "3", [(1, 0), (2, 0x4800000), (3, 0x6000000)]),
        (1, "0/2000000", "latest", [(1, 0), (4, 0x3000000)]),
        # 4 left before this backup ended: what descends from it is 3.
        (1, "0/3800000", "latest", [(1, 0), (2, 0x4800000), (3, 0x6000000)]),
        (1, "0/4900000", "latest", [(1, 0)]),
        (2, "0/5000000", "latest", [(1, 0), (2, 0x4800000), (3, 0x6000000)]),
        (3, "0/7000000", "latest", [(3, 0)]),
        (4, "0/4000000", "latest", [(4, 0)]),
    ],
)
def test_lines_of_timelines(backup: int, stop: str, wanted: str, expected: list[tuple[int, int]]) -> None:
    assert _archive(BRANCHED, TREE).lineage(backup, wanted, stop) == expected


@pytest.mark.parametrize(
    ("backup", "stop", "wanted", "message"),
    [
        (
            2,
            "0/5000000",
            "4",
            "target timeline 4 does not descend from the backup's timeline 2; the archive knows 2, 3, 4",
        ),
        (2, "0/5000000", "1", "target timeline 1 does not descend from the backup's timeline 2"),
        (1, "0/2000000", "9", "target timeline 9 does not descend from the backup's timeline 1"),
        (
            1,
            "0/3800000",
            "4",
            "target timeline 4 left the backup's timeline 1 at 0/3000000, before the backup ended at 0/3800000",
        ),
        (1, "0/2000000", "newest", "target timeline 'newest' is none; write latest, current or a number"),
        (1, "0/2000000", "²", "target timeline '²' is none"),
        (1, "0/2000000", "-1", "target timeline '-1' is none"),
        (1, "0/2000000", "", "target timeline '' is none"),
    ],
)
def test_timelines_that_can_not_be_reached(backup: int, stop: str, wanted: str, message: str) -> None:
    with pytest.raises(OpsError) as caught:
        _archive(BRANCHED, TREE).lineage(backup, wanted, stop)
    assert str(caught.value).startswith(message)


def test_the_path_changes_timelines_where_they_branch() -> None:
    archive = _archive(BRANCHED, TREE)
    line = archive.lineage(1, "3")
    assert archive.path(line, "0/2000028") == ([*_names(1, 2, 3), *_names(2, 4, 5), *_names(3, 6, 7, 8)], [])
    assert archive.path([(1, 0)], "0/2000028") == (_names(1, 2, 3, 4), [])


def test_gaps_on_the_path_are_named() -> None:
    archive = _archive([name for name in BRANCHED if name not in (*_names(1, 3), *_names(2, 5))], TREE)
    present, missing = archive.path(archive.lineage(1, "3"), "0/2000028")
    assert missing == [*_names(1, 3), *_names(2, 5)]
    assert present == [*_names(1, 2), *_names(2, 4), *_names(3, 6, 7, 8)]


def test_what_the_old_primary_wrote_after_the_branch_is_not_missed_on_the_new_line() -> None:
    archive = _archive([*_names(1, 1, 2, 3, 4, 5, 6, 7), *_names(2, 4, 5)], TREE)
    assert archive.path(archive.lineage(1, "2"), "0/2000028") == ([*_names(1, 2, 3), *_names(2, 4, 5)], [])


def test_a_start_that_the_archive_has_left_behind() -> None:
    archive = _archive(_names(1, 5, 6))
    assert archive.path([(1, 0)], "0/3000028") == (_names(1, 5, 6), _names(1, 3, 4))
    assert archive.path([(1, 0)], "0/9000028") == ([], [])
    assert _archive([]).path([(1, 0)], "0/3000028") == ([], [])


def test_real_histories_are_read(running: Running, archive: Make) -> None:
    """A promotion writes one; ours is read as PostgreSQL wrote it."""
    server = running.server
    if server.psql("SELECT timeline_id FROM pg_control_checkpoint()") != "1":
        pytest.fail("another test has promoted this server")
    copy = server.socket_dir / "branch"
    shutil.rmtree(copy, ignore_errors=True)
    server.run("pg_basebackup", "-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", "-D", copy,
               "--checkpoint=fast")  # fmt: skip
    branch = Server(free_port(), server.socket_dir, copy, server.bin_dir, server.owner)
    with (copy / "postgresql.conf").open("a") as conf:
        conf.write(f"port = {branch.port}\n")
    (copy / "standby.signal").touch()
    try:
        branch.start()
        branch.psql("SELECT pg_promote()")
        there = branch.psql("SELECT pg_walfile_name(pg_switch_wal())")
        await_((running.archive / there).exists, what="the archiving of the new timeline")
        made = archive()
        line = made.lineage(1, "latest")
        assert [number for number, _start in line] == [1, 2]
        history = (running.archive / "00000002.history").read_text()
        assert history.split("\t")[:2] == ["1", lsn.text(line[1][1])]
        present, missing = made.path(line, lsn.text(line[1][1]))
        assert (present[0][:8], missing) == ("00000002", [])
    finally:
        branch.stop("immediate")
        for path in running.archive.glob("00000002*"):
            path.unlink()
