# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups with PostgreSQL's own tools: a chain is whole and comes back exactly, or is refused by name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from archive_ground import TRUST, Copy, Moment, Source, checks
from embedded_servers import Server, await_
from mended import programs_18
from test_restore import PASSED
from verify_ground import module

from tests.modules import command
from tests.modules import options as module_options

MANY = "SELECT n, repeat('x', 200) AS t FROM generate_series(1, 20000) n"


@dataclass
class Chain:
    """A full backup, two that build on it, and what was committed around them."""

    source: Source
    full: str
    first: str
    second: str
    rows: dict[int, Moment]

    def place(self, label: str) -> Path:
        """Where a backup lies."""
        return self.source.backups / label

    def listed(self) -> dict[str, dict[str, Any]]:
        """The repository's backups by label."""
        return {one["label"]: one for one in self.source.listed()["backups"]}


@pytest.fixture(scope="module")
def chain(template: Callable[[int], Path]) -> Iterator[Chain]:
    """Row 1, full, row 2 and other changes, incr, row 3 and others, incr, rows 4 and 5, all archived."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    source = Source(home, template(18), version=18, summarize_wal=True)
    source.server.bin_dir = programs_18(home / "bin")
    try:
        source.as_owner("mkdir", str(home / "space=1"))
        source.sql(
            f"CREATE TABLESPACE elsewhere LOCATION '{home}/space=1'",
            f"CREATE TABLE placed TABLESPACE elsewhere AS {MANY}", f"CREATE TABLE shrinks AS {MANY}",
            "CREATE TABLE goes AS SELECT 1 AS n",
        )  # fmt: skip
        rows = {1: source.write(1)}
        module(source.server, "backup_manifest")
        full = source.backup()["backup"]["label"]
        source.sql("UPDATE placed SET t = 'changed' WHERE n <= 100", "DELETE FROM shrinks WHERE n > 1000")
        source.sql("VACUUM shrinks", "DROP TABLE goes", f"CREATE TABLE comes AS {MANY}")
        rows[2] = source.write(2)
        planned = source.backup(type="incr", check=True)
        assert (planned["changed"], planned["backup"]) == (True, None)
        first = source.backup(type="incr")["backup"]["label"]
        source.sql("INSERT INTO shrinks SELECT n, repeat('z', 200) FROM generate_series(1, 5000) n")
        rows[3] = source.write(3)
        module(source.server, "backup_manifest")
        second = source.backup(type="incr")["backup"]["label"]
        for number in (4, 5):
            rows[number] = source.write(number)
        source.archive()
        yield Chain(source, full, first, second, rows)
    finally:
        source.stop()
        shutil.rmtree(home)


@pytest.fixture
def copy(chain: Chain) -> Iterator[Copy]:
    """A place for a copy, removed afterwards by the module itself."""
    place = Copy(chain.source)
    yield place
    place.remove()
    assert not place.server.data_dir.exists()


def sums(sql: Callable[..., str]) -> str:
    """What the tables hold that the chain's backups saw change."""
    tables = ("placed", "shrinks", "comes")
    return sql(*(f"SELECT count(*), sum(hashtext({table}::text)::bigint) FROM {table}" for table in tables))


def test_each_names_what_it_builds_on(chain: Chain) -> None:
    found = chain.listed()
    shown = [(found[label]["type"], found[label]["prior"], found[label]["problem"]) for label in
             (chain.full, chain.first, chain.second)]  # fmt: skip
    assert shown == [("full", "", ""), ("incr", chain.full, ""), ("incr", chain.first, "")]
    assert [label[-1] for label in (chain.full, chain.first, chain.second)] == ["F", "I", "I"]
    # It is small where it lies, and as large as any other when restored.
    assert size_of(chain.place(chain.first) / "base") < size_of(chain.place(chain.full) / "base") / 2
    assert found[chain.first]["bytes"] > found[chain.full]["bytes"] / 2


def size_of(place: Path) -> int:
    """What the files below a place hold."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def test_it_comes_back_exactly(chain: Chain, copy: Copy) -> None:
    repository = chain.source.tree(chain.source.backups)
    done = copy.restore(target_type="time", target=chain.rows[4].time)
    assert (done["backup"]["label"], copy.rows(), checks(done)) == (chain.second, [1, 2, 3, 4], PASSED)
    assert sums(copy.server.psql) == sums(chain.source.sql)
    location = copy.server.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'")
    assert location.startswith(f"{copy.home}/data.tablespaces/")
    told = json.loads((copy.server.data_dir / "backup_manifest").read_text())["Files"]
    size = sum(file["Size"] for file in told if not file["Path"].startswith(("pg_wal/", "backup_label")))
    assert 0 < done["backup"]["bytes"] - size < 1000, "only backup_label has lost two lines"
    # The copy is written to, its data checked, and nothing of that reaches the repository.
    copy.server.psql("UPDATE shrinks SET t = 'of the copy'", "CHECKPOINT")
    assert chain.source.tree(chain.source.backups) == repository


@pytest.mark.parametrize("label", ["full", "first"])
def test_what_is_older_comes_back_too(chain: Chain, copy: Copy, label: str) -> None:
    done = copy.restore(backup=getattr(chain, label), target_type="immediate")
    assert done["backup"]["label"] == getattr(chain, label)
    assert copy.rows() == ([1] if label == "full" else [1, 2])


def test_the_proof_reads_the_whole_chain(chain: Chain, copy: Copy) -> None:
    done = copy.restore()
    result = module(copy.server, "verify", backup_dir=done["backup_directory"], page_checksums=True)
    by_name = {check["name"]: check for check in result["checks"]}
    assert result["verdict"] == "verified", result
    assert by_name["backup_bytes"]["expected"].endswith("in 3 backups that build on each other")
    assert by_name["page_checksums"]["status"] == "passed"
    copy.server.start()
    # A byte of the oldest that no size tells of, in a file that the newest holds a few blocks of.
    path = chain.place(chain.full) / chain.source.sql("SELECT pg_relation_filepath('shrinks')")
    with changed(path) as file:
        file.seek(5000)
        file.write(b"\xa5")
        file.flush()
        checked = module(copy.server, "verify", backup_dir=done["backup_directory"])["checks"]
        bytes_ = next(check for check in checked if check["name"] == "backup_bytes")
        assert bytes_["status"] == "failed"
        assert bytes_["message"].startswith(f"{chain.full}: checksum mismatch for file ")
    with moved(chain.place(chain.full)):
        checked = module(copy.server, "verify", backup_dir=done["backup_directory"])["checks"]
        bytes_ = next(check for check in checked if check["name"] == "backup_bytes")
        assert (bytes_["status"], bytes_["actual"]) == ("failed", "a broken one")


@contextlib.contextmanager
def changed(path: Path) -> Iterator[Any]:
    """A file to be damaged, mended afterwards."""
    content, stat = path.read_bytes(), path.stat()
    try:
        with path.open("r+b") as file:
            yield file
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@contextlib.contextmanager
def moved(path: Path) -> Iterator[None]:
    """Something that is gone meanwhile."""
    away = path.parents[2] / "away"
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


def test_a_chain_whose_parent_is_gone_is_never_chosen(chain: Chain, copy: Copy) -> None:
    begins = chain.listed()[chain.full]["start_lsn"]
    with moved(chain.place(chain.full)):
        found = chain.listed()
        why = f"its chain is broken: the backup from {begins} on timeline 1, on which {chain.first} builds, "
        why += "is not there"
        assert {found[label]["problem"] for label in (chain.first, chain.second)} == {why}
        told = copy.restore(fails=True)
        assert told["msg"].startswith("no complete backup in the repository")
        assert checks(told) == {"backup_complete": "failed"}
        assert copy.restore(backup=chain.second, fails=True)["msg"] == f"backup {chain.second} can't be restored: {why}"
        told = chain.source.backup(type="incr", fails=True)["msg"]
        assert told.startswith("refused: there is no backup of this server to build on (")
        assert told.endswith("(take a full one first)")
    assert chain.listed()[chain.second]["problem"] == ""


def test_a_member_that_was_altered_is_told(chain: Chain, copy: Copy) -> None:
    manifest = chain.place(chain.first) / "backup_manifest"
    with changed(manifest) as file:
        file.write(b" {")
        file.flush()
        found = chain.listed()
        why = "altered: backup_manifest does not have the checksum that it names"
        assert found[chain.first]["problem"] == why
        assert found[chain.second]["problem"] == (
            f"its chain is broken: {chain.first}, on which {chain.second} builds: {why}"
        )
    path = chain.place(chain.full) / chain.source.sql("SELECT pg_relation_filepath('shrinks')")
    with changed(path) as file:
        file.truncate(8192)
        told = copy.restore(fails=True)
        name = path.relative_to(chain.place(chain.full))
        assert f"its chain is broken: {name} has 8192 bytes in {chain.full}, its manifest says " in told["msg"]
        assert checks(told) == {"backup_complete": "failed"}
    with moved(path):
        assert f"its chain is broken: {name} is missing in {chain.full}" in copy.restore(check=True, fails=True)["msg"]
    assert not copy.server.data_dir.exists()


def test_one_by_hand_is_a_member_like_any_other(chain: Chain, copy: Copy) -> None:
    place, mapped = chain.place("by-hand"), chain.source.home / "mapped"
    space = f"{chain.source.home}/space=1".replace("=", "\\=")
    chain.source.server.run(
        "pg_basebackup", "-h", chain.source.server.socket_dir, "-p", str(chain.source.server.port), "-U", "postgres",
        "-D", place, "--checkpoint=fast", f"--tablespace-mapping={space}={mapped}",
        f"--incremental={chain.place(chain.second)}/backup_manifest",
    )  # fmt: skip
    chain.source.archive()
    try:
        assert chain.listed()["by-hand"]["prior"] == chain.second
        done = copy.restore(backup="by-hand", target_type="immediate")
        assert (done["backup"]["type"], copy.rows()) == ("incr", [1, 2, 3, 4, 5])
        assert sums(copy.server.psql) == sums(chain.source.sql)
        # The repository may be the backup itself: what it builds on lies beside it.
        found = chain.source.listed(backup_path=str(place))["backups"]
        assert [(one["label"], one["prior"], one["problem"]) for one in found] == [("by-hand", chain.second, "")]
    finally:
        shutil.rmtree(place)
        shutil.rmtree(mapped)


def test_it_refuses_with_every_reason(chain: Chain) -> None:
    source = chain.source
    empty = source.home / "empty"
    source.as_owner("mkdir", str(empty))
    told = source.backup(type="incr", backup_path=str(empty), fails=True)["msg"]
    assert told == "refused: there is no backup of this server to build on (take a full one first)"
    summaries = source.server.data_dir / "pg_wal/summaries"
    kept = summaries.with_name("kept")
    summaries.rename(kept)
    source.as_owner("mkdir", str(summaries))
    try:
        begins = chain.listed()[chain.second]["start_lsn"]
        told = source.backup(type="incr", fails=True)["msg"]
        assert told.startswith(
            f"refused: the server's WAL summaries don't reach back to {begins}, where backup {chain.second} begins ("
        )
    finally:
        for summary in kept.iterdir():
            summary.rename(summaries / summary.name)
        kept.rmdir()
    source.sql("ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    await_(lambda: source.sql("SHOW summarize_wal") == "off", what="the reload")
    try:
        told = source.backup(type="incr", fails=True, wal_path=str(source.home / "none"))
        assert [reason["what"].split(":")[0] for reason in told["reasons"]] == [
            "the repository can't be reached", "summarize_wal is off",
        ]  # fmt: skip
    finally:
        source.sql("ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")
        await_(lambda: source.sql("SHOW summarize_wal") == "on", what="the reload")


@contextlib.contextmanager
def replaced(chain: Chain, name: str, script: str) -> Iterator[None]:
    """A program of the server that is a script meanwhile; `{real}` is its path."""
    place = chain.source.server.bin_dir / name
    real = place.resolve()
    place.unlink()
    place.write_text("#!/bin/sh\n" + script.replace("{real}", str(real)))
    place.chmod(0o755)
    try:
        yield
    finally:
        place.unlink()
        place.symlink_to(real)


def test_a_backup_that_fails_half_way_leaves_nothing(chain: Chain) -> None:
    before = sorted(path.name for path in chain.source.backups.iterdir())
    spaces = sorted(path.name for path in (chain.source.backups / ".tablespaces").iterdir())
    with replaced(chain, "pg_basebackup", "{real} --max-rate=1M \"$@\" & sleep 0.7; kill -9 $!; exit 1\n"):
        assert "pg_basebackup exited 1" in chain.source.backup(type="incr", fails=True)["msg"]
    assert sorted(path.name for path in chain.source.backups.iterdir()) == before
    assert sorted(path.name for path in (chain.source.backups / ".tablespaces").iterdir()) == spaces


def test_a_combination_that_dies_half_way_is_done_anew(chain: Chain, copy: Copy) -> None:
    script = "{real} \"$@\" & sleep 0.15; kill -9 $!; wait $!\nexit 137\n"
    with replaced(chain, "pg_combinebackup", script):
        told = copy.restore(fails=True)
        assert "pg_combinebackup exited 137" in told["msg"]
        assert checks(told)["restore"] == "failed"
    assert copy.server.data_dir.exists(), "nothing was left half done: the test proves nothing"
    assert not (copy.server.data_dir / "postmaster.pid").exists()
    done = copy.restore()
    assert (copy.rows(), checks(done)["target_reached"]) == ([1, 2, 3, 4, 5], "passed")


@contextlib.contextmanager
def killed(server: Server, word: str, half: Callable[[], Any], **options: Any) -> Iterator[None]:
    """A module whose worker is killed as soon as `half` is there."""
    own = {"data_dir": str(server.data_dir), "bin_dir": str(server.bin_dir), "socket_dir": str(server.socket_dir)}
    given = module_options({**own, "port": server.port, **options})
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", "text": True}
    with subprocess.Popen(command(word), stdin=subprocess.PIPE, **quiet) as worker:
        assert worker.stdin is not None
        worker.stdin.write(given)
        worker.stdin.close()
        await_(half, what="a run that is half done")
        worker.kill()
    yield


def test_a_killed_worker_leaves_no_backup_and_the_next_run_converges(chain: Chain) -> None:
    source = chain.source
    with (
        replaced(chain, "pg_basebackup", 'exec {real} --max-rate=1M "$@"\n'),
        killed(source.server, "backup", lambda: list(source.backups.glob("*.partial/base")), type="incr",
               **source.repository),
    ):  # fmt: skip
        assert list(source.backups.glob("*I.partial"))
    taken = source.backup(type="incr", lock_timeout=30)["backup"]
    assert (taken["prior"], list(source.backups.glob("*.partial"))) == (chain.second, [])
    for place in (source.backups / taken["label"], source.backups / ".tablespaces" / taken["label"]):
        shutil.rmtree(place)


def test_a_killed_worker_leaves_no_copy_and_the_next_run_converges(chain: Chain, copy: Copy) -> None:
    own = {"settings": {"fsync": "off", "shared_buffers": "16MB"}, **chain.source.repository}
    with (
        replaced(chain, "pg_combinebackup", '{real} "$@" & sleep 60\n'),
        killed(copy.server, "restore", (copy.server.data_dir / "global").exists, **own),
    ):
        assert not (copy.server.data_dir / "postmaster.pid").exists()
    copy.restore(lock_timeout=30)
    assert copy.rows() == [1, 2, 3, 4, 5]


def test_the_account_for_backups_suffices(chain: Chain) -> None:
    chain.source.sql("CREATE ROLE taker LOGIN REPLICATION IN ROLE pg_read_all_settings")
    assert chain.source.backup(type="incr", check=True, login_user="taker")["changed"] is True


def test_what_does_not_fit_its_manifest_is_not_started(chain: Chain, copy: Copy) -> None:
    with replaced(chain, "pg_combinebackup", '{real} "$@" && printf x >> "$2/postgresql.conf"\n'):
        told = copy.restore(fails=True)
    assert "postgresql.conf" in told["msg"]
    assert checks(told)["restore"] == "failed"
    assert not (copy.server.data_dir / "postmaster.pid").exists()


def test_a_replica_is_cloned_from_it(chain: Chain) -> None:
    source = chain.source
    near = {"type": "host", "database": "replication", "user": "all", "address": "127.0.0.1/32", "method": "trust"}
    module(source.server, "config", settings={"port": source.server.port}, file="chain", hba=[*TRUST, near])
    source.sql("SELECT pg_reload_conf()")
    module(source.server, "replica", state="prepared", replication_password="of a test only")
    place = Copy(source, "replica")
    source.as_owner("mkdir", "-p", str(place.server.socket_dir))
    given = {"primary_address": "127.0.0.1", "primary_port": source.server.port, "slot": "replica",
             "replication_password": "of a test only"}  # fmt: skip
    try:
        assert module(place.server, "replica", source="repository", **given, **source.repository)["changed"] is True
        own = {"port": place.server.port, "unix_socket_directories": str(place.server.socket_dir)}
        module(place.server, "config", settings={**own, "archive_mode": False, "shared_buffers": "16MB"})
        place.server.start()
        source.sql("SELECT pg_create_restore_point('behind')")
        at = source.sql("SELECT pg_current_wal_lsn()")
        await_(lambda: place.server.psql(f"SELECT pg_last_wal_replay_lsn() >= '{at}'") == "t", what="the replay")
        assert place.rows() == [1, 2, 3, 4, 5]
        assert sums(place.server.psql) == sums(source.sql)
    finally:
        if place.server.pid:
            place.server.stop("immediate")
        source.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_after_a_promotion_it_builds_on_what_was_before(chain: Chain, copy: Copy) -> None:
    """The last of all, for it changes the source for good; a second base follows."""
    source = chain.source
    source.server.stop()
    source.as_owner("touch", str(source.server.data_dir / "standby.signal"))
    source.server.start()
    source.sql("SELECT pg_promote()")
    await_(lambda: source.sql("SELECT pg_is_in_recovery()") == "f", what="the promotion")
    source.write(6)
    taken = source.backup(type="incr")["backup"]
    assert (taken["prior"], taken["timeline"]) == (chain.second, 2)
    row = source.write(7)
    source.write(8)
    source.archive()
    done = copy.restore(target_type="time", target=row.time)
    assert (done["backup"]["label"], copy.rows()) == (taken["label"], [1, 2, 3, 4, 5, 6, 7])
    copy.remove()
    full = source.backup()["backup"]["label"]
    source.write(9)
    newest = source.backup(type="incr")["backup"]
    assert newest["prior"] == full
    source.archive()
    assert copy.restore()["backup"]["label"] == newest["label"]
    assert copy.rows() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
