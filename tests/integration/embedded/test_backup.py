# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup` and `backup_info` with PostgreSQL's own tools: whole, archived and listed, or not there at all."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive_ground import Source
from embedded_servers import Server, await_
from verify_ground import module

from tests.modules import REPO, as_owner


@pytest.fixture(scope="module")
def shared(template: Callable[[int], Path]) -> Iterator[Source]:
    """One archiving server for all tests here."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    made = Source(home, template(16))
    yield made
    made.stop()
    shutil.rmtree(home)


@pytest.fixture
def source(shared: Source) -> Iterator[Source]:
    """The server, its archiving in order before and after."""
    yield shared
    shared.sql("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    shared.archive()


def break_archive(source: Source, command: str = "false") -> None:
    """Have the archiver fail."""
    source.sql(f"ALTER SYSTEM SET archive_command = '{command}'", "SELECT pg_reload_conf()")
    await_(lambda: source.sql("SHOW archive_command") == command, what="the reload")


def labels(source: Source) -> list[str]:
    """What lies in the repository, hidden things too."""
    return sorted(path.name for path in source.backups.iterdir())


def test_a_backup_is_whole_archived_and_listed(source: Source) -> None:
    before = labels(source)
    planned = source.backup(check=True)
    assert (planned["changed"], planned["backup"]) == (True, None)
    assert labels(source) == before
    row = source.write(1)
    done = source.backup()
    taken = done["backup"]
    assert done["changed"] is True
    assert done["diff"] == {"before": "", "after": f"backup: {taken['label']}\n"}
    assert labels(source) == sorted([*before, taken["label"]])
    assert (taken["type"], taken["timeline"], taken["major"], taken["problem"]) == ("full", 1, 16, "")
    assert taken["system_identifier"] == source.sql("SELECT system_identifier FROM pg_control_system()")
    manifest = source.backups / taken["label"] / "backup_manifest"
    assert taken["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert taken["started"] <= taken["finished"]
    assert row.time.replace(" ", "T")[:19] <= taken["started"][:19]
    assert (source.wal / taken["stop_segment"]).exists()
    place = source.backups / taken["label"]
    subprocess.run([*as_owner(), str(source.server.bin_dir / "pg_verifybackup"), "-q", str(place)], check=True, cwd="/")
    assert place.stat().st_mode & 0o077 == 0

    # Every call takes one; it is listed behind the older ones.
    again = source.backup(checkpoint="fast")["backup"]
    found = source.listed()
    assert [one["label"] for one in found["backups"]][-2:] == [taken["label"], again["label"]]
    seconds, stop = taken.pop("seconds"), taken.pop("stop_segment")
    assert found["backups"][-2] == taken
    assert (seconds > 0, stop < again["stop_segment"]) == (True, True)
    assert (found["changed"], found["window"]) == (False, None)


def test_the_window_of_the_newest_backup(source: Source) -> None:
    taken = source.backup()["backup"]
    idle = source.listed(window=True)["window"]
    assert idle == {
        "label": taken["label"], "start": taken["finished"], "start_lsn": taken["stop_lsn"],
        "end": None, "end_lsn": taken["stop_lsn"],
    }  # fmt: skip
    row = source.write(100)
    source.archive()
    window = source.listed(window=True)["window"]
    assert window["end"][:26].replace("T", " ") <= row.time[:26]
    assert taken["finished"] < window["end"]


def test_an_archive_that_fails_is_refused_before_the_backup(source: Source) -> None:
    break_archive(source)
    before = labels(source)
    source.sql("SELECT pg_create_restore_point('x')", "SELECT pg_switch_wal()")
    await_(
        lambda: (
            source.sql("SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver")
            == "t"
        ),
        what="the archiver's failure",
    )
    told = source.backup(fails=True)["msg"]
    assert told.startswith("refused: the archive is broken: archive_command fails on 0000000100000000")
    assert told.endswith("; read the server's log and mend archive_command first")
    assert labels(source) == before


def test_an_archive_that_takes_nothing_in_time_is_no_place_for_a_backup(source: Source) -> None:
    """The command claims success but brings nothing: only the missing segment tells."""
    source.as_owner("mkdir", "-p", str(source.home / "space"))
    if not source.sql("SELECT 1 FROM pg_tablespace WHERE spcname = 'elsewhere'"):
        source.sql(f"CREATE TABLESPACE elsewhere LOCATION '{source.home}/space'")
    break_archive(source, "true")
    before = source.tree(source.backups)
    told = source.backup(archive_timeout=1, fails=True)["msg"]
    assert told.startswith("the archive is broken, 0000000100000000")
    assert f"is not in {source.wal} after 1 s: archive_command did not bring it; backup 20" in told
    assert told.endswith("could not reach any point in time and was removed")
    after = source.tree(source.backups)
    assert {path for path in after if ".tablespaces" not in path or not Path(path).is_dir()} == {
        path for path in before if ".tablespaces" not in path or not Path(path).is_dir()
    }
    # What was dropped is lost; a new backup is complete without it.
    source.sql("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    assert source.backup()["backup"]["problem"] == ""


def test_what_a_killed_run_left_is_removed_by_the_next(source: Source) -> None:
    partial = source.backups / "20200101-000000F.partial"
    source.as_owner("mkdir", "-p", str(partial / "base"), str(source.backups / ".tablespaces/20200101-000000F/16384"))
    unfinished = source.backups / "20200102-000000F"
    # What somebody else has not finished there: a logical dump, a copy.
    others = [source.backups / name for name in ("20200101-000000.dump.partial", "copy.partial")]
    source.as_owner("mkdir", str(unfinished), *map(str, others))
    found = {one["label"]: one["problem"] for one in source.listed()["backups"]}
    assert found[partial.name] == found[unfinished.name] == "incomplete: it was never finished (no backup_manifest)"
    source.backup()
    assert not partial.exists()
    assert not (source.backups / ".tablespaces/20200101-000000F").exists()
    for place in (unfinished, *others):
        assert place.exists()  # these are no leftovers of ours
        shutil.rmtree(place)


def test_what_stands_in_the_way_is_told_at_once(source: Source, make_server: Callable[..., Server]) -> None:
    gone = {"backup_path": str(source.home / "none"), "wal_path": str(source.home / "neither")}
    told = source.backup(fails=True, **gone)
    assert [reason["what"] for reason in told["reasons"]] == [
        f"the repository can't be reached: no directory {gone['backup_path']}",
        f"the repository can't be reached: no directory {gone['wal_path']}",
    ]
    assert "no directory" in source.backup(check=True, fails=True, **gone)["msg"]
    stopped = make_server(copied=True, start=False)
    assert "no server runs on" in module(stopped, "backup", fails=True, **source.repository)["msg"]
    assert module(stopped, "backup", check=True, **source.repository)["changed"] is True
    stopped.start()
    assert "archive_mode is off" in module(stopped, "backup", fails=True, **source.repository)["msg"]
    stopped.stop()
    (stopped.data_dir / "standby.signal").touch()
    stopped.start()
    told = module(stopped, "backup", fails=True, **source.repository)
    assert [reason["what"] for reason in told["reasons"]] == ["archive_mode is off", "this server is a replica"]
    told = source.backup(type="incr", fails=True, wal_path=gone["wal_path"])
    assert [reason["what"] for reason in told["reasons"]] == [
        f"the repository can't be reached: no directory {gone['wal_path']}", "incr needs PostgreSQL 17, this is 16",
    ]  # fmt: skip


def test_one_backup_at_a_time(source: Source) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock\n"
        "with host_lock(sys.argv[2], 'backup'):\n    print('held', flush=True); sys.stdin.read()"
    )
    words = [*as_owner(), sys.executable, "-c", code, str(REPO / ".collections"), str(source.backups)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = source.backup(fails=True)["msg"]
        assert told.startswith(f"{source.backups} is in use by backup (pid {holder.pid}, since ")
        assert "is in use by" in source.backup(fails=True, lock_timeout=1)["msg"]
        assert holder.stdin is not None
        holder.stdin.close()
        assert source.backup(lock_timeout=60)["changed"] is True


def test_backups_of_other_hands_are_listed_too(source: Source) -> None:
    """A repository may itself be one backup that somebody took with pg_basebackup."""
    place = source.backups / "by-hand"
    mapped = (
        [f"--tablespace-mapping={source.home}/space={source.home}/mapped"] if (source.home / "space").exists() else []
    )
    source.server.run(
        "pg_basebackup", "-h", source.server.socket_dir, "-p", str(source.server.port), "-U", "postgres", "-D", place,
        "--checkpoint=fast", *mapped,
    )  # fmt: skip
    listed = {one["label"]: one for one in source.listed()["backups"]}
    assert listed["by-hand"]["problem"] == ""
    assert [one["label"] for one in source.listed(backup_path=str(place))["backups"]] == ["by-hand"]
    (place / "backup_manifest").unlink()
    assert "never finished" in {one["label"]: one["problem"] for one in source.listed()["backups"]}["by-hand"]
    shutil.rmtree(place)
    shutil.rmtree(source.home / "mapped", ignore_errors=True)


def test_a_repository_that_is_not_there(source: Source) -> None:
    told = source.listed(fails=True, backup_path=str(source.home / "none"))["msg"]
    assert told == f"the repository can't be reached: no directory {source.home}/none"
