# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ready-made accounts do their jobs with what they are given, and nothing beside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from archive_ground import Copy, Source
from embedded_servers import await_
from verify_ground import module

JOBS = ("replication", "backup", "monitoring", "drill")


@pytest.fixture(scope="module")
def source(template: Callable[[int], Path]) -> Iterator[Source]:
    """An archiving server with one account for each job."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    made = Source(home, template(16))
    try:
        accounts = [{"name": f"b_{job}", "job": job, "password": job} for job in JOBS]
        assert module(made.server, "access", accounts=accounts, check=True)["changed"] is True
        assert module(made.server, "access", accounts=accounts)["changed"] is True
        assert module(made.server, "access", accounts=accounts)["changed"] is False
        made.write(1)
        yield made
    finally:
        made.stop()
        shutil.rmtree(home)


def refused(source: Source, account: str, *statements: str) -> None:
    """None of these may be done by an account."""
    where = {"host": str(source.server.socket_dir), "port": source.server.port, "user": account, "dbname": "postgres"}
    with psycopg.connect(**where, autocommit=True) as session:
        session.execute("SET default_transaction_read_only = off")
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


FOR_NONE = (
    "CREATE TABLE public.mine (id int)", "DELETE FROM events", "CREATE ROLE mine",
    "SELECT pg_read_file('postgresql.conf')", "COPY (SELECT 1) TO PROGRAM 'true'", "ALTER SYSTEM SET work_mem = '1MB'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'", "CREATE DATABASE mine",
)  # fmt: skip


@pytest.mark.parametrize("job", JOBS)
def test_none_may_change_or_take_over(source: Source, job: str) -> None:
    own = () if job == "drill" else ("SELECT id FROM events", "SELECT rolpassword FROM pg_authid")
    more = () if job == "backup" else ("SELECT pg_switch_wal()", "SELECT pg_backup_start('x', true)")
    refused(source, f"b_{job}", *FOR_NONE, *own, *more)


def test_the_backup_account_takes_a_backup_that_is_restored(source: Source) -> None:
    taken = source.backup(login_user="b_backup")["backup"]
    assert taken["problem"] == ""
    source.write(2)
    source.archive()
    copy = Copy(source, "by_account")
    copy.restore()
    try:
        assert copy.rows() == [1, 2]
    finally:
        copy.remove()


def test_the_backup_account_starts_and_ends_a_backup_as_pgbackrest_does(source: Source) -> None:
    where = {"host": str(source.server.socket_dir), "port": source.server.port, "user": "b_backup"}
    with psycopg.connect(**where, dbname="postgres", autocommit=True) as session:
        session.execute("SELECT pg_backup_start('by hand', true)")
        assert session.execute("SELECT lsn IS NOT NULL FROM pg_backup_stop(false)").fetchone() == (True,)
        [directory] = session.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
    assert directory == str(source.server.data_dir)


def test_the_replication_account_receives_wal(source: Source) -> None:
    server = source.server
    folder = source.home / "received"
    source.as_owner("mkdir", str(folder))
    source.server.run(
        "pg_basebackup", "-h", server.socket_dir, "-p", str(server.port), "-U", "b_replication", "-D", folder / "base",
        "--checkpoint=fast", "-X", "stream",
    )  # fmt: skip
    assert (folder / "base/backup_manifest").exists()


def test_the_monitoring_account_sees_what_instance_info_tells(source: Source) -> None:
    as_owner = module(source.server, "instance_info")["instance"]
    seen = module(source.server, "instance_info", login_user="b_monitoring")["instance"]
    moving = {"lsn", "next_xid", "archiver"}
    assert {key: seen[key] for key in seen if key not in moving} == {
        key: as_owner[key] for key in as_owner if key not in moving
    }
    where = {"host": str(source.server.socket_dir), "port": source.server.port, "dbname": "postgres"}
    with (
        psycopg.connect(**where, user="b_monitoring", autocommit=True) as session,
        psycopg.connect(**where, user="postgres", autocommit=True, application_name="watched") as other,
    ):
        other.execute("SELECT 42")
        query = "SELECT query FROM pg_stat_activity WHERE application_name = 'watched'"
        await_(lambda: session.execute(query).fetchone() == ("SELECT 42",), what="another session's query")
        assert session.execute("SELECT count(*) > 0 FROM pg_ls_waldir()").fetchone() == (True,)
        assert session.execute("SHOW data_directory").fetchone() == (str(source.server.data_dir),)


def test_the_drill_account_writes_the_manifest_and_verifies_a_copy(source: Source) -> None:
    by_owner = module(source.server, "backup_manifest")
    by_account = module(source.server, "backup_manifest", login_user="b_drill")
    same = ("relations_total", "relations_counted", "rows", "config_files")
    assert {key: by_account[key] for key in same} == {key: by_owner[key] for key in same}
    assert "warnings" not in by_account
    source.backup()
    copy = Copy(source, "verified")
    copy.restore()
    try:
        results = {user: module(copy.server, "verify", login_user=user) for user in ("postgres", "b_drill")}
    finally:
        copy.remove()
    statuses = {user: {check["name"]: check["status"] for check in found["checks"]} for user, found in results.items()}
    assert statuses["b_drill"] == statuses["postgres"]
    assert "failed" not in statuses["b_drill"].values()
    assert list(statuses["b_drill"].values()).count("passed") > 10
