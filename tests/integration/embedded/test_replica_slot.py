# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica whose slot vanished, was invalidated, or whose WAL is gone; and one that comes of the repository."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_ground import Source
from embedded_servers import Server, alive, await_
from replica_ground import SECRET, await_rows, begin, fill, follow, make_primary, reserve, rows, slots, start
from verify_ground import module

from tests.modules import OWNER, ROOT, environment
from tests.modules import command as module_command
from tests.modules import options as module_options


def needed(standby: Server) -> str:
    """Where the replica goes on from."""
    return str(module(standby, "instance_info")["instance"]["needed_lsn"])


def streams(primary: Server) -> bool:
    """Whether a replica streams from it."""
    return primary.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"


def test_a_slot_that_vanished_is_made_again(make_server: Callable[..., Server]) -> None:
    primary = make_primary(make_server)
    standby = begin(make_server("s1", initdb=False), primary)
    assert reserve(primary, "s1")["changed"] is False
    # The very end of the WAL is no gap, also where the next segment is not there yet.
    assert reserve(primary, "s1", needed_lsn="0/FF000000")["must_reclone"] is False
    assert "'here' is no position" in reserve(primary, "s1", needed_lsn="here", fails=True)["msg"]
    standby.stop()
    primary.psql("SELECT pg_drop_replication_slot('s1')", "INSERT INTO t VALUES (1)")
    standby.start()
    at = needed(standby)
    planned = reserve(primary, "s1", needed_lsn=at, check=True)
    assert (planned["changed"], slots(primary)) == (True, {})
    assert planned["diff"] == {"before": "slot s1: absent\n", "after": "slot s1: there\n"}
    for changed in (True, False):
        told = reserve(primary, "s1", needed_lsn=at)
        assert (told["changed"], told["must_reclone"]) == (changed, False)
    assert slots(primary) == {"s1": "reserved"}
    follow(standby, primary, state="streaming")
    await_rows(standby, "1")


def test_an_invalidated_slot_and_a_clone_that_is_needed(make_server: Callable[..., Server]) -> None:
    primary = make_primary(make_server, max_slot_wal_keep_size="16MB")
    standby = begin(make_server("s1", initdb=False), primary)
    # Lost while the WAL is still there: the replica has all of it.
    standby.stop()
    fill(primary, 6)
    await_(lambda: slots(primary) == {"s1": "lost"}, what="the invalidation")
    standby.start()
    at = needed(standby)
    for check in (True, False):
        told = reserve(primary, "s1", needed_lsn=at, check=check, fails=True)
        assert told["msg"].startswith(f"refused: the replica s1 needs WAL from {at} on, its upstream begins at ")
        assert "and its slot s1 is invalidated: it must be cloned anew (-e replica_reclone=true" in told["msg"]
        assert "\n" not in told["msg"]
    assert slots(primary) == {"s1": "lost"}
    allowed = reserve(primary, "s1", needed_lsn=at, reclone=True)
    assert (allowed["changed"], allowed["must_reclone"], slots(primary)) == (False, True, {"s1": "lost"})
    assert "runs (stop it, to clone anew)" in follow(standby, primary, reclone=True, fails=True)["msg"]
    primary.psql("INSERT INTO t VALUES (1)")
    standby.stop()
    done = follow(standby, primary, reclone=True)
    assert (done["changed"], slots(primary)) == (True, {"s1": "reserved"})
    aside = Path(done["kept"])
    assert aside.name.startswith("data.replaced-") and (aside / "PG_VERSION").exists()
    start(standby)
    follow(standby, primary, state="streaming")
    await_rows(standby, "1")
    # And without keeping it.
    standby.stop()
    assert follow(standby, primary, reclone=True, keep_data=False)["kept"] is None
    assert {path.name for path in standby.socket_dir.glob("data*")} == {"data", "data.log", "data.passfile", aside.name}


def test_a_lost_slot_is_made_anew_while_the_wal_is_there(make_server: Callable[..., Server]) -> None:
    primary = make_primary(make_server, max_slot_wal_keep_size="16MB")
    standby = begin(make_server("s1", initdb=False), primary)
    primary.psql("SELECT pg_create_physical_replication_slot('s2', true)")
    # The replica keeps up, whatever else the machine does: its own slot is not lost.
    for _segment in range(6):
        fill(primary, 1)
        end = primary.psql("SELECT pg_current_wal_lsn()")
        arrived = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
        await_(lambda ask=arrived: standby.psql(ask) == "t", what="the replica's arrival")  # type: ignore[misc]
    await_(lambda: slots(primary)["s2"] == "lost", what="the invalidation")
    assert reserve(primary, "s2", needed_lsn=needed(standby))["changed"] is True
    assert slots(primary)["s2"] == "reserved"


def test_an_invalidated_slot_is_no_obstacle_to_a_new_replica(make_server: Callable[..., Server]) -> None:
    primary = make_primary(make_server, max_slot_wal_keep_size="16MB")
    primary.psql("SELECT pg_create_physical_replication_slot('s1', true)")
    fill(primary, 6)
    await_(lambda: slots(primary) == {"s1": "lost"}, what="the invalidation")
    begin(make_server("s1", initdb=False), primary)
    assert slots(primary) == {"s1": "reserved"}
    # Another replica's name is not taken.
    told = follow(make_server("other", initdb=False), primary, slot="s1", fails=True)["msg"]
    assert "slot s1 can't be made anew: " in told and "is active" in told


def test_data_is_taken_out_of_use(make_server: Callable[..., Server]) -> None:
    primary = make_primary(make_server)
    standby = begin(make_server("s1", initdb=False), primary)
    for of, why in ((standby, "runs (stop it"), (primary, "was last a primary (only a replica's data")):
        assert why in module(of, "replica", state="removed", fails=True)["msg"]
    standby.stop()
    assert module(standby, "replica", state="removed", check=True)["changed"] is True
    assert standby.data_dir.exists()
    kept = Path(module(standby, "replica", state="removed")["kept"])
    assert kept.name.startswith("data.decommissioned-") and (kept / "standby.signal").exists()
    assert not standby.data_dir.exists() and not (standby.socket_dir / "data.passfile").exists()
    for check in (True, False):
        assert module(standby, "replica", state="removed", check=check)["changed"] is False
    begin(standby, primary)
    standby.stop()
    assert module(standby, "replica", state="removed", keep_data=False)["kept"] is None
    assert sorted(path.name for path in standby.socket_dir.glob("data*")) == [kept.name, "data.log"]


# --- from the repository ------------------------------------------------------------------------------------


@pytest.fixture
def source(pg_root: Path, template: Callable[[int], Path]) -> Iterator[Source]:
    """A server that archives, with one backup and a row from after it."""
    made = Source(pg_root, template(16), max_slot_wal_keep_size="16MB", min_wal_size="32MB", max_wal_size="32MB")
    listen = {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32"}
    hba = [{"type": "local", "database": name, "user": "all", "method": "trust"} for name in ("all", "replication")]
    module(made.server, "config", file="listen", settings={}, hba=[*hba, {**listen, "method": "scram-sha-256"}])
    module(made.server, "replica", state="prepared", replication_password=SECRET)
    made.sql("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    made.backup()
    made.sql("INSERT INTO t VALUES (2)")
    made.archive()
    made.sql("INSERT INTO t VALUES (3)")
    try:
        yield made
    finally:
        made.stop()


def from_repository(source: Source, **more: Any) -> dict[str, Any]:
    """The options of a replica that comes of the repository."""
    return {**source.repository, "source": "repository", **more}


def test_a_replica_of_the_repository(source: Source, make_server: Callable[..., Server]) -> None:
    standby = make_server("s1", initdb=False)
    assert follow(standby, source.server, **from_repository(source), check=True)["changed"] is True
    assert slots(source.server) == {}
    sent = source.sql("SELECT count(*) FROM pg_stat_progress_basebackup")
    assert follow(standby, source.server, **from_repository(source))["changed"] is True
    assert sent == "0" and slots(source.server) == {"s1": "reserved"}
    for check in (True, False):
        assert follow(standby, source.server, **from_repository(source), check=check)["changed"] is False
    start(standby)
    follow(standby, source.server, state="streaming")
    await_rows(standby, "1 2 3")
    assert "cp " in standby.psql("SHOW restore_command")
    assert "restored log file" in (standby.socket_dir / "data.log").read_text()
    assert source.sql("SELECT slot_name || active FROM pg_replication_slots") == "s1true"

    # What the upstream no longer has comes from the archive: nothing is cloned anew.
    standby.stop()
    for _number in range(6):
        source.archive()
    source.sql("INSERT INTO t VALUES (4)", "CHECKPOINT")
    await_(lambda: slots(source.server) == {"s1": "lost"}, what="the invalidation")
    behind = {"needed_lsn": "0/5000000", **source.repository}
    assert "must be cloned anew" in reserve(source.server, "s1", needed_lsn="0/5000000", fails=True)["msg"]
    done = reserve(source.server, "s1", **behind)
    assert (done["changed"], done["must_reclone"], slots(source.server)) == (True, False, {"s1": "reserved"})
    start(standby)
    follow(standby, source.server, state="streaming")
    await_rows(standby, "1 2 3 4")
    # A hole in the archive is found.
    (source.wal / "000000010000000000000005").rename(source.home / "hole")
    told = reserve(source.server, "s1", **behind, fails=True)["msg"]
    assert "and the archive has no WAL of 0/5000000: it must be cloned anew" in told


def test_a_repository_that_does_not_fit_is_refused(source: Source, make_server: Callable[..., Server]) -> None:
    other, standby = make_server("other"), make_server("s1", initdb=False)
    hba = [{"type": "local", "database": "all", "user": "all", "method": "trust"}]
    rule = {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32"}
    module(other, "config", settings={}, hba=[*hba, {**rule, "method": "scram-sha-256"}])
    module(other, "replica", state="prepared", replication_password=SECRET)
    assert "is of another cluster" in follow(standby, other, **from_repository(source), fails=True)["msg"]
    shutil.rmtree(next(path for path in source.backups.iterdir() if not path.name.startswith(".")))
    told = follow(standby, source.server, **from_repository(source), fails=True)["msg"]
    assert told == "no complete backup in the repository (it is empty)"
    assert "missing: tool" in follow(standby, other, source="repository", fails=True)["msg"]
    assert list(standby.socket_dir.iterdir()) == []
    assert (slots(other), slots(source.server)) == ({}, {})


def test_a_killed_copy_of_the_repository_is_begun_again(source: Source, make_server: Callable[..., Server]) -> None:
    standby = make_server("s1", initdb=False)
    source.as_owner("mkdir", str(source.home / "space"))
    source.sql(f"CREATE TABLESPACE space LOCATION '{source.home}/space'")
    source.sql("CREATE TABLE apart TABLESPACE space AS TABLE t")
    source.backup()
    repository = source.tree(source.backups)
    slow = source.home / "bin"
    slow.mkdir()
    (slow / "cp").write_text('#!/bin/sh\n/bin/cp "$@"\ntouch "$BORINGDB_COPIED"\nsleep 60\n')
    (slow / "cp").chmod(0o755)
    copied = source.home / "copied"
    if ROOT:
        shutil.chown(source.home, OWNER)
    given = {
        "data_dir": str(standby.data_dir), "bin_dir": str(standby.bin_dir), "socket_dir": str(standby.socket_dir),
        "port": standby.port, "primary_address": "127.0.0.1", "primary_port": source.server.port, "slot": "s1",
        "replication_password": SECRET, **from_repository(source),
    }  # fmt: skip
    env = environment(PATH=f"{slow}:{os.environ['PATH']}", BORINGDB_COPIED=str(copied))
    worker = subprocess.Popen(
        module_command("replica"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/", env=env
    )
    assert worker.stdin is not None
    worker.stdin.write(module_options(given))
    worker.stdin.close()
    await_(copied.exists, what="the copy")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    left = standby.socket_dir / "data.cloning"
    assert (left / "PG_VERSION").exists() and not standby.data_dir.exists(), "nothing was left: the test proves nothing"
    with contextlib.suppress(ProcessLookupError):
        await_(lambda: not any(str(left) in line for line in command_lines()), what="the end of the copy")
    assert slots(source.server) == {"s1": "reserved"}
    begin(standby, source.server, **from_repository(source))
    await_rows(standby, "1 2 3")
    assert not left.exists() and alive(standby.pid or 0) and rows(standby) == "1 2 3"
    # A copy that was not finished leads nowhere: what is cleared with it is its own.
    assert source.tree(source.backups) == repository
    assert standby.psql("SELECT count(*) FROM apart") == "3"


def command_lines() -> list[str]:
    """What runs on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found
