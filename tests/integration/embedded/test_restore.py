# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` on real backups: each target brings back exactly the rows that were there, and nothing leaves the copy."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from archive_ground import Copy, Moment, Source, checks, only_owner
from embedded_servers import Server, alive, await_, free_port

from tests.modules import OWNER, ROOT, programs

#: Every check of a restore that a target in the middle of the log passes.
PASSED = {name: "passed" for name in ("backup_complete", "wal_continuity", "target_reached", "before_target",
                                      "after_target", "isolation")}  # fmt: skip


@dataclass
class History:
    """A source, its backups and the rows committed after them."""

    source: Source
    first: str
    second: str
    rows: dict[int, Moment]

    @property
    def end(self) -> int:
        """The last row that is archived."""
        return max(self.rows)


@pytest.fixture(scope="module")
def history(template: Callable[[int], Path]) -> Iterator[History]:
    """Row 1, a backup, rows 2 to 5, a restore point, 6 and 7, a second backup, 8 and 9."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    source = Source(home, template(16), wal_level="logical", max_connections=40, max_prepared_transactions=3)
    try:
        source.as_owner("mkdir", str(home / "space"))
        source.sql(
            f"CREATE TABLESPACE elsewhere LOCATION '{home}/space'",
            "CREATE TABLE placed TABLESPACE elsewhere AS SELECT generate_series(1, 1000) AS id",
            "CREATE TABLE feed (id int PRIMARY KEY)", "CREATE PUBLICATION feed FOR TABLE feed", "CREATE DATABASE other",
            "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
        )  # fmt: skip
        where = f"host={source.server.socket_dir} port={source.server.port} user=postgres dbname=postgres"
        source.server.psql(
            "CREATE TABLE feed (id int PRIMARY KEY)",
            f"CREATE SUBSCRIPTION feed CONNECTION '{where}' PUBLICATION feed WITH (create_slot = false)",
            dbname="other",
        )
        await_(lambda: source.sql("SELECT active FROM pg_replication_slots") == "t", what="the subscription")
        rows = {1: source.write(1)}
        first = source.backup()["backup"]["label"]
        for number in (2, 3, 4):
            rows[number] = source.write(number)
        source.archive()
        source.sql("BEGIN; INSERT INTO events VALUES (99); ROLLBACK")
        rows[5] = source.write(5)
        source.sql("SELECT pg_create_restore_point('before the deploy')")
        rows[6] = source.write(6)
        source.sql("BEGIN; INSERT INTO events VALUES (7); PREPARE TRANSACTION 'seven'")
        source.sql("COMMIT PREPARED 'seven'")
        rows[7] = Moment(7, 0, *source.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', "
                         "'YYYY-MM-DD HH24:MI:SS.US+00'), pg_current_wal_lsn()").split("|"), "")  # fmt: skip
        second = source.backup()["backup"]["label"]
        for number in (8, 9):
            rows[number] = source.write(number)
        source.archive()
        # A segment without a commit, as bulk loads and idle time leave them.
        source.archive()
        yield History(source, first, second, rows)
    finally:
        source.stop()
        shutil.rmtree(home)


@pytest.fixture
def copy(history: History) -> Iterator[Copy]:
    """A place for a copy, removed afterwards by the module itself."""
    place = Copy(history.source)
    yield place
    place.remove()
    assert not place.server.data_dir.exists()
    left = [path.name for path in place.home.rglob("*")] if place.home.exists() else []
    assert left in ([], ["run"])


def target_of(history: History, kind: str, name: str) -> str:
    """A target by what it is near: `time 5` is right behind row 5's commit, `inside 6` is before row 6's commit."""
    if kind == "time":
        return history.rows[int(name)].time
    if kind == "lsn":
        return history.rows[int(name)].lsn
    if kind == "inside":
        return history.rows[int(name)].inside
    return name


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("time", "1", []),  # between the row and the backup's end: replaced in the test by the backup's own end
        ("time", "3", [1, 2, 3]),
        ("time", "4", [1, 2, 3, 4]),  # the last before a segment's end
        ("time", "6", [1, 2, 3, 4, 5, 6]),  # the next one is a prepared transaction
        ("time", "7", [1, 2, 3, 4, 5, 6, 7]),
        ("lsn", "5", [1, 2, 3, 4, 5]),
        ("inside", "6", [1, 2, 3, 4, 5, 6]),  # recovery ends behind the record that begins there: the commit itself
        ("name", "before the deploy", [1, 2, 3, 4, 5]),
    ],
)
def test_a_target_brings_back_exactly_what_was_there(
    history: History, copy: Copy, kind: str, name: str, expected: list[int]
) -> None:
    target = target_of(history, kind, name)
    wanted = dict(PASSED)
    if (kind, name) == ("time", "1"):
        backups = {one["label"]: one for one in history.source.listed()["backups"]}
        target, expected = backups[history.first]["finished"], [1]
        wanted["before_target"] = "skipped"
    done = copy.restore(backup=history.first, target_type="lsn" if kind == "inside" else kind, target=target)
    assert copy.rows() == expected
    assert checks(done) == wanted
    assert (done["changed"], done["backup"]["label"], done["target"]["timeline"]) == (True, history.first, "1")
    assert done["reached"]["timeline"] == 2
    # The copy is promoted: it takes writes of its own.
    copy.server.psql("INSERT INTO events VALUES (1000)")


def test_immediate_stops_where_the_backup_is_consistent(history: History, copy: Copy) -> None:
    done = copy.restore(backup=history.second, target_type="immediate")
    assert copy.rows() == [1, 2, 3, 4, 5, 6, 7]
    assert checks(done) == {**PASSED, "before_target": "skipped", "after_target": "skipped"}


def test_latest_brings_back_everything_isolated(history: History, copy: Copy) -> None:
    before = history.source.tree(copy.home, history.source.backups)
    planned = copy.restore(check=True)
    assert (planned["changed"], planned["diff"]["after"]) == (True, f"copy: {history.second}\n")
    assert history.source.tree(copy.home, history.source.backups) == before
    done = copy.restore()
    assert copy.rows() == list(range(1, 10))
    assert checks(done) == {**PASSED, "after_target": "skipped"}
    for name in ("backup", "window", "target", "system_digest", "backup_directory"):
        assert done[name] == planned[name]
    assert (done["backup"]["label"], done["target"]["type"]) == (history.second, "latest")
    assert done["window"]["end"][:26].replace("T", " ") <= history.rows[9].time[:26]
    assert 0 < done["restore_seconds"] < done["rto_seconds"]
    assert done["rpo_seconds"] > 0

    psql = copy.server.psql
    shown = {name: psql(f"SHOW {name}") for name in (
        "archive_mode", "listen_addresses", "primary_conninfo", "shared_preload_libraries", "ssl",
        "max_logical_replication_workers", "max_connections", "max_prepared_transactions", "port", "fsync",
    )}  # fmt: skip
    assert shown == {
        "archive_mode": "off", "listen_addresses": "", "primary_conninfo": "", "shared_preload_libraries": "",
        "ssl": "off", "max_logical_replication_workers": "0", "max_connections": "40", "max_prepared_transactions": "3",
        "port": str(copy.server.port), "fsync": "off",
    }  # fmt: skip
    # The restored subscription is enabled, and yet nothing connects to the publisher.
    assert psql("SELECT subname, subenabled FROM pg_subscription") == "feed|t"
    assert psql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'") == "0"
    assert history.source.sql(
        "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid"
    ) == "1"  # fmt: skip
    # Nobody but its own account reaches it.
    with contextlib.closing(socket.socket()) as knock:
        assert knock.connect_ex(("127.0.0.1", copy.server.port)) != 0
    assert only_owner(copy.server.socket_dir)
    assert only_owner(copy.server.data_dir)
    # Its tablespace is its own.
    location = psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'")
    assert location.startswith(f"{copy.home}/data.tablespaces/")
    psql("DELETE FROM placed")
    assert history.source.sql("SELECT count(*) FROM placed") == "1000"
    # What it writes goes nowhere.
    archived = sorted(history.source.wal.iterdir())
    psql("SELECT pg_switch_wal()", "CHECKPOINT")
    assert sorted(history.source.wal.iterdir()) == archived

    # A second call refuses nothing of its own: it lays the copy down anew.
    again = copy.restore()
    assert (again["changed"], copy.rows()) == (True, list(range(1, 10)))
    assert psql("SELECT count(*) FROM placed") == "1000"
    # Gone, and gone again.
    gone = copy.remove(check=True)
    assert (gone["changed"], copy.server.data_dir.exists()) == (True, True)
    assert copy.remove()["diff"] == {"before": "copy: present\n", "after": "copy: absent\n"}
    assert copy.remove()["changed"] is False


def test_a_random_target_is_repeatable(history: History, copy: Copy) -> None:
    aim = {"backup": history.first, "target_type": "random"}
    plans = [copy.restore(check=True, seed=seed, **aim) for seed in (3, 3, 4, 5, 6)]
    assert plans[0]["target"] == plans[1]["target"]
    assert len({plan["target"]["value"] for plan in plans}) > 1
    assert [plan["seed"] for plan in plans] == [3, 3, 4, 5, 6]
    done = copy.restore(seed=3, **aim)
    assert done["target"] == plans[0]["target"]
    assert checks(done) == PASSED
    value = done["target"]["value"].replace("T", " ").replace("Z", "+00")
    # A target right at a commit includes it; the clock was read right behind each commit.
    behind = [number for number, row in history.rows.items() if row.time <= value]
    rows = copy.rows()
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) == len(behind) + 1
    unseeded = copy.restore(check=True, backup="random", target_type="random")
    assert unseeded["backup"]["label"] in (history.first, history.second)
    assert unseeded["seed"] is not None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"target_type": "time", "target": "2020-01-01 00:00:00+00"}, "the backup was not consistent yet"),
        ({"target_type": "time", "target": "2099-01-01 00:00:00+00"}, "it must lie before the last archived commit"),
        ({"target_type": "lsn", "target": "0/1000000"}, "the backup was not consistent yet"),
        ({"target_type": "lsn", "target": "FF/0"}, "the archive does not reach that far"),
        ({"target_type": "name", "target": "never made"}, "no restore point of that name is in the archived WAL"),
        ({"target_type": "name", "target": "before the deploy", "backup": "second"}, "no restore point of that name"),
    ],
)
def test_a_target_outside_the_window_is_refused_before_anything_is_touched(
    history: History, options: dict[str, str], why: str
) -> None:
    copy = Copy(history.source, "fresh")
    options = {**options, "backup": history.second if options.get("backup") else history.first}
    window = copy.restore(check=True, backup=options["backup"])["window"]
    before = history.source.tree(history.source.home / "fresh", history.source.backups)
    for check in (True, False):
        told = copy.restore(check=check, fails=True, **options)
        span = f"{window['start']} ({window['start_lsn']}) to {window['end']} ({window['end_lsn']})"
        assert told["msg"].startswith(f"target {options['target']} is outside the window {span}: {why}")
        assert checks(told)["target_in_window"] == "failed"
        assert history.source.tree(history.source.home / "fresh", history.source.backups) == before
    assert not copy.home.exists()


def test_a_place_that_is_not_empty_is_refused(history: History) -> None:
    copy = Copy(history.source, "taken")
    history.source.as_owner("mkdir", "-p", str(copy.server.data_dir))
    (copy.server.data_dir / "precious").write_text("mine")
    for check in (True, False):
        told = copy.restore(check=check, fails=True)
        assert told["msg"] == f"{copy.server.data_dir} is not empty; a restore never overwrites anything"
        assert checks(told)["empty_place"] == "failed"
    told = copy.remove(fails=True)["msg"]
    assert told == f"{copy.server.data_dir} was not put there by a restore; it is left alone"
    assert [path.name for path in copy.home.rglob("*")] == ["data", "precious"]
    # Least of all a server that runs.
    copy.server.data_dir = history.source.server.data_dir
    assert "is not empty" in copy.restore(fails=True)["msg"]
    assert "was not put there by a restore" in copy.remove(fails=True)["msg"]
    assert history.source.sql("SELECT 1") == "1"


def test_what_somebody_packed_is_named_as_such(history: History) -> None:
    source, copy = history.source, Copy(history.source, "packed")
    tar, wal, shut = source.home / "packed/tar", source.home / "packed/wal", source.home / "packed/shut"
    source.as_owner("mkdir", "-p", str(tar), str(wal), str(shut / "one"))
    source.as_owner("cp", str(source.backups / history.first / "backup_manifest"), str(tar))
    (tar / "base.tar.gz").touch()
    told = copy.restore(check=True, fails=True, backup_path=str(tar.parent), backup="tar")
    assert told["msg"].endswith("can't be restored: a tar backup (base.tar); take plain ones, pg_basebackup -F plain")
    for name in (f"{1:024X}.gz", f"{2:024X}.gz", f"{1:024X}.00000028.backup"):
        (wal / name).touch()
    told = copy.restore(check=True, fails=True, wal_path=str(wal))
    assert told["msg"].endswith(
        ", which the archive does not hold; it holds 2 files that are no segments, such as "
        f"{1:024X}.gz: are they compressed?"
    )
    assert checks(told)["wal_continuity"] == "failed"
    if not ROOT:
        return
    # What root copied there for the account of the drill host.
    shutil.chown(shut / "one", 0)
    (shut / "one").chmod(0o700)
    told = copy.restore(check=True, fails=True, backup_path=str(shut), backup="one")
    assert f" may not read {shut / 'one'}" in told["msg"]
    assert told["msg"].endswith(": give it read access to the whole folder")


def test_programs_of_another_version_and_a_taken_port_are_refused(history: History) -> None:
    copy = Copy(history.source, "fresh")
    told = copy.restore(bin_dir=str(programs(18)), fails=True)
    assert told["msg"] == (
        f"the backup is of PostgreSQL 16, and no programs of 16 are here (those in {programs(18)} are of 18): install "
        "postgresql-16, or set bin_dir (in a drill restore_drill_bin_dir)"
    )
    assert checks(told)["version"] == "failed"
    told = copy.restore(port=history.source.server.port, fails=True)
    assert told["msg"] == f"port {history.source.server.port} is taken on this host; choose another"
    told = copy.restore(backup="20200101-000000F", fails=True)
    assert told["msg"] == f"no backup 20200101-000000F; there are {history.first}, {history.second}"
    told = copy.restore(expected_system_digest="0" * 64, fails=True)
    assert "is of another cluster (identity " in told["msg"]
    assert checks(told)["cluster_identity"] == "failed"
    assert not copy.home.exists()


def test_a_copy_lives_as_long_as_it_was_given(history: History) -> None:
    copy = Copy(history.source, "brief")
    done = copy.restore(ttl_seconds=3600)
    marker = copy.home / "data.restore.json"
    said = json.loads(marker.read_text())
    assert 3500 < said["until"] - time.time() < 3600
    assert datetime.fromisoformat(done["started"].replace("Z", "+00:00")).timestamp() < said["until"] - 3600 + 60
    pid = copy.server.pid
    assert pid is not None
    # An hour later.
    marker.write_text(json.dumps({**said, "until": time.time() - 1}))
    await_(lambda: not marker.exists(), seconds=30, what="the end of its time")
    assert not alive(pid)
    assert [path.name for path in copy.home.rglob("*")] == ["run"]


def test_a_kept_copy_is_in_nobodys_way_but_its_places(history: History, copy: Copy) -> None:
    copy.restore(target_type="immediate")
    planned = copy.remove(keep=True, check=True)
    assert planned["changed"] is True
    kept = copy.remove(keep=True)
    assert (kept["changed"], kept["kept_until"]) == (True, planned["kept_until"])
    assert copy.remove(keep=True)["changed"] is False
    assert copy.rows() == [1, 2, 3, 4, 5, 6, 7]
    told = copy.restore(fails=True)["msg"]
    assert told.startswith(f"refused: {copy.server.data_dir} holds a copy kept until 20")
    assert copy.rows() == [1, 2, 3, 4, 5, 6, 7]
    assert copy.remove()["changed"] is True


def test_objectives_are_judged(history: History, copy: Copy) -> None:
    done = copy.restore(target_type="immediate", rto_seconds=0.01, rpo_seconds=0.01)
    told = {check["name"]: check for check in done["checks"]}
    assert (told["rto"]["status"], told["rpo"]["status"]) == ("failed", "failed")
    assert told["rto"]["message"].startswith("the restore took ")
    idle = history.source.sql("SELECT pg_current_snapshot()")
    done = copy.restore(target_type="immediate", rto_seconds=600, rpo_seconds=0.01, source_snapshot=idle)
    told = {check["name"]: check for check in done["checks"]}
    assert (told["rto"]["status"], told["rpo"]["status"]) == ("passed", "passed")
    assert told["rpo"]["message"] == "the source has committed nothing since: it is idle"
    # It has committed since, but only into the segment that it writes to.
    history.source.sql("CREATE TABLE lately (a int)", "DROP TABLE lately")
    writing = history.source.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    lately = {"source_snapshot": history.source.sql("SELECT pg_current_snapshot()"), "source_wal_file": writing}
    for timeout, status in ((60, "failed"), (1, "passed")):
        done = copy.restore(target_type="immediate", rpo_seconds=1, source_archive_timeout=timeout, **lately)
        assert {check["name"]: check["status"] for check in done["checks"]}["rpo"] == status


def test_a_gap_in_the_archive_is_refused(history: History, tmp_path: Path) -> None:
    copy = Copy(history.source, "fresh")
    plan = copy.restore(check=True, backup=history.first)
    assert plan["checks"][1]["status"] == "passed"
    names = sorted(path.name for path in history.source.wal.iterdir() if len(path.name) == 24)
    first = names.index(min(name for name in names if name > "000000010000000000000003"))
    hidden = history.source.wal / names[first + 2]
    shutil.move(hidden, tmp_path / hidden.name)
    try:
        told = copy.restore(backup=history.first, fails=True)
        assert told["msg"] == f"refused: the WAL archive is not whole: {hidden.name} is missing"
        assert checks(told)["wal_continuity"] == "failed"
    finally:
        shutil.move(tmp_path / hidden.name, hidden)
    assert not copy.home.exists()


# --- timelines ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def branched(history: History) -> Iterator[History]:
    """A second line of history: somebody went back to row 5 and went on from there, while the old line goes on too."""
    source = history.source
    pristine = source.home / "pristine"
    source.as_owner("cp", "-a", str(source.home / "repository"), str(pristine))
    data = source.home / "branch"
    source.as_owner("cp", "-a", str(source.backups / history.first), str(data))
    (tablespace,) = (data / "pg_tblspc").iterdir()
    source.as_owner("cp", "-a", str(tablespace.resolve()), str(source.home / "branch-space"))
    tablespace.unlink()
    tablespace.symlink_to(source.home / "branch-space")
    branch = Server(free_port(), source.server.socket_dir, data, source.server.bin_dir, OWNER)
    with (data / "conf.d/zz.conf").open("w") as conf:
        conf.write(
            f"port = {branch.port}\nrestore_command = 'cp {source.wal}/%f \"%p\"'\nlisten_addresses = ''\n"
            f"recovery_target_time = '{history.rows[5].time}'\nrecovery_target_action = promote\n"
            "recovery_target_timeline = 1\nmax_logical_replication_workers = 0\n"
        )
    (data / "conf.d/zz.conf").chmod(0o644)
    (data / "recovery.signal").touch()
    try:
        branch.start()
        await_(lambda: branch.psql("SELECT pg_is_in_recovery()") == "f", what="the promotion")
        for number in (106, 107):
            branch.psql(f"INSERT INTO events VALUES ({number})")
            query = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')"
            history.rows[number] = Moment(number, 0, branch.psql(query), "", "")
        name = branch.psql("SELECT pg_walfile_name(pg_switch_wal())")
        await_((source.wal / name).exists, what=f"the archiving of {name}")
        yield history
    finally:
        for number in (106, 107):
            history.rows.pop(number, None)
        with contextlib.suppress(RuntimeError):
            branch.stop("immediate")
        shutil.rmtree(data)
        shutil.rmtree(source.home / "branch-space")
        shutil.rmtree(source.home / "repository")
        pristine.rename(source.home / "repository")


@pytest.mark.parametrize(
    ("backup", "timeline", "target", "expected", "line"),
    [
        ("first", "latest", None, [1, 2, 3, 4, 5, 106, 107], "2"),
        ("first", "2", "106", [1, 2, 3, 4, 5, 106], "2"),
        ("first", "1", None, list(range(1, 10)), "1"),
        ("first", "current", "8", list(range(1, 9)), "1"),
        ("first", "latest", "3", [1, 2, 3], "2"),  # before the branch both lines are one
        # The branch left before this backup was taken: the newest line that it is on is its own.
        ("second", "latest", None, list(range(1, 10)), "1"),
    ],
)
def test_each_line_of_history_is_its_own(
    branched: History, copy: Copy, backup: str, timeline: str, target: str | None, expected: list[int], line: str
) -> None:
    aim: dict[str, Any] = {"target_type": "time", "target": branched.rows[int(target)].time} if target else {}
    done = copy.restore(backup=getattr(branched, backup), target_timeline=timeline, **aim)
    assert copy.rows() == expected
    assert done["target"]["timeline"] == line
    assert done["reached"]["timeline"] == 3
    assert "failed" not in checks(done).values()


def test_a_timeline_that_can_not_be_reached_is_refused(branched: History) -> None:
    copy = Copy(branched.source, "fresh")
    told = copy.restore(backup=branched.second, target_timeline="2", fails=True)["msg"]
    assert told.startswith("target timeline 2 left the backup's timeline 1 at ")
    told = copy.restore(backup=branched.first, target_timeline="7", fails=True)["msg"]
    assert told == "target timeline 7 does not descend from the backup's timeline 1; the archive knows 1, 2"
    window = branched.source.listed(window=True)["window"]
    assert window["label"] == branched.second
    assert not copy.home.exists()


# --- version 18 ---------------------------------------------------------------------------------------------


def test_version_18(template: Callable[[int], Path], pg_root: Path) -> None:
    source = Source(pg_root, template(18), version=18)
    try:
        source.write(1)
        source.backup()
        rows = {number: source.write(number) for number in (2, 3)}
        source.archive()
        copy = Copy(source)
        done = copy.restore(target_type="time", target=rows[2].time)
        assert copy.rows() == [1, 2]
        assert checks(done) == PASSED
        assert done["backup"]["major"] == 18
        copy.restore()
        assert copy.rows() == [1, 2, 3]
        copy.remove()
    finally:
        source.stop()
