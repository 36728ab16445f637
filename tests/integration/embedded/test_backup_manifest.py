# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup_manifest` on a real server, and the rule that everything exact rests on, under writers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_servers import Server
from verify_ground import backup, copy_of, failed, module, verify


def manifest_of(server: Server) -> dict[str, Any]:
    """The manifest as it lies in the data directory."""
    content: dict[str, Any] = json.loads((server.data_dir / "boringdb/manifest.json").read_text())
    return content


def entry_of(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """A relation's entry by its name."""
    relations: dict[str, dict[str, Any]] = manifest["databases"]["postgres"]["relations"]
    return next(entry for entry in relations.values() if entry["name"] == name)


def test_what_it_holds(server: Server) -> None:
    server.psql(
        "CREATE TABLE a (id serial PRIMARY KEY, secret_word text)",
        "INSERT INTO a (secret_word) SELECT 'xyzzy' FROM generate_series(1, 10)",
        "CREATE ROLE app LOGIN PASSWORD 'plugh'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE PUBLICATION feed FOR TABLE a",
        "GRANT SELECT ON a TO app",
        "ALTER SYSTEM SET cluster_name = 'frobnitz'",
    )
    canary = {"name": "one", "database": "postgres", "query": "SELECT secret_word FROM a ORDER BY id LIMIT 2"}
    result = module(server, "backup_manifest", canaries=[canary])
    place = Path(result["manifest"])
    assert place == server.data_dir / "boringdb/manifest.json"
    assert result["sha256"] == hashlib.sha256(place.read_bytes()).hexdigest()
    assert (result["relations_total"], result["relations_counted"], result["rows"]) == (1, 1, 10)
    assert result["changed"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    manifest = manifest_of(server)
    assert manifest["exact"] and manifest["quiet"]
    assert entry_of(manifest, "a")["rows"] == 10
    assert not entry_of(manifest, "a")["busy"]
    database = manifest["databases"]["postgres"]
    sequence = next(iter(database["sequences"].values()))
    assert (sequence["name"], sequence["last"], sequence["max"]) == ("public.a_id_seq", 10, 10)
    assert database["publications"] == ["feed"]
    assert [entry[0] for entry in database["objects"]["functions"].values()] == ["public.f()"]
    role = next(entry for entry in manifest["cluster"]["roles"].values() if entry[0] == "app")
    assert role[1]["has_password"] is True
    assert manifest["canaries"][0]["sha256"] == hashlib.sha256(b"xyzzy\nxyzzy\n").hexdigest()
    text = place.read_text()
    for word in ("xyzzy", "plugh", "SCRAM", "frobnitz", "LIMIT"):
        assert word not in text, word


def test_check_mode_writes_nothing(server: Server) -> None:
    assert module(server, "backup_manifest", check=True)["changed"]
    assert not (server.data_dir / "boringdb").exists()
    server.stop()
    assert module(server, "backup_manifest", check=True)["changed"]
    assert "cannot connect" in module(server, "backup_manifest", fails=True)["msg"]


def test_configuration_from_elsewhere(server: Server, pg_root: Path) -> None:
    config = pg_root / "etc"
    (config / "conf.d").mkdir(parents=True)
    (config / "postgresql.conf").write_text("include_dir = 'conf.d'\n")
    (config / "conf.d" / "a.conf").write_text("work_mem = 5MB\n")
    extra = pg_root / "extra.conf"
    extra.write_text("log_min_messages = warning\n")
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write(f"include '{extra}'\n")
    server.psql("SELECT pg_reload_conf()")
    assert module(server, "backup_manifest", config_dir=str(config))["config_files"] == 3
    stored = server.data_dir / "boringdb/config"
    assert (stored / "conf.d/a.conf").read_text() == "work_mem = 5MB\n"
    assert (stored / "elsewhere" / str(extra)[1:]).exists()
    (config / "conf.d" / "a.conf").unlink()
    assert module(server, "backup_manifest", config_dir=str(config))["config_files"] == 2
    assert not (stored / "conf.d/a.conf").exists()


def test_files_of_the_host_travel_with_it_and_are_proven(server: Server, pg_root: Path) -> None:
    jobs = pg_root / "cron.d"
    jobs.mkdir()
    (jobs / "orders").write_text("0 4 * * 0 postgres true\n")
    assert module(server, "backup_manifest", host_files=[f"{jobs}/*"])["host_files"][0] == f"{jobs}/orders"
    files = manifest_of(server)["config"]["files"]
    stored = server.data_dir / "boringdb/config" / files[0]["stored"]
    assert (files[0]["source"], stored.read_text()) == (f"{jobs}/orders", "0 4 * * 0 postgres true\n")
    copy = copy_of(server, backup(server))
    try:
        assert not failed(verify(copy))
        (copy.data_dir / "boringdb/config" / files[0]["stored"]).unlink()
        assert failed(verify(copy)) == {"settings"}
    finally:
        copy.stop()


def test_the_budget_and_what_is_left_out(server: Server) -> None:
    server.psql("CREATE TABLE a (t text)", "INSERT INTO a SELECT 'x'", "CREATE DATABASE other")
    server.psql("CREATE TABLE b (t text)", dbname="other")
    result = module(server, "backup_manifest", time_budget=0, exclude_databases=["other"])
    assert (result["relations_total"], result["relations_counted"], result["budget_exhausted"]) == (1, 0, True)
    assert "other" not in manifest_of(server)["databases"]
    assert module(server, "backup_manifest")["relations_counted"] == 2


def test_a_table_under_lock_does_not_hold_it_up(server: Server) -> None:
    server.psql("CREATE TABLE a (t text)", "CREATE TABLE b (t text)")
    with psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="postgres") as other:
        other.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        result = module(server, "backup_manifest")
        assert (result["relations_total"], result["relations_counted"]) == (2, 1)
        assert not result["budget_exhausted"]
        assert entry_of(manifest_of(server), "a")["why"] == "locked"


def test_who_writes_is_marked(server: Server) -> None:
    """A transaction that outlasts the start marks what it writes, and only that; readers and vacuum mark nothing."""
    server.psql(*[f"CREATE TABLE {name} (a int)" for name in ("written", "read", "rest", "rolled_back")])
    address = {"host": str(server.socket_dir), "port": server.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**address) as writer, psycopg.connect(**address) as reader:
        writer.execute("INSERT INTO written VALUES (1)")
        reader.execute("SELECT * FROM read")
        result = module(server, "backup_manifest")
        assert result["relations_busy"] == 1
        manifest = manifest_of(server)
        assert entry_of(manifest, "written")["busy"]
        assert not manifest["quiet"]
    module(server, "backup_manifest")
    assert manifest_of(server)["quiet"]


def test_a_short_transaction_is_waited_for(server: Server) -> None:
    server.psql("CREATE TABLE a (a int)")
    address = {"host": str(server.socket_dir), "port": server.port, "user": "postgres", "dbname": "postgres"}
    with psycopg.connect(**address, autocommit=True) as writer:
        running = threading.Thread(
            target=lambda: writer.execute("BEGIN; INSERT INTO a VALUES (1); SELECT pg_sleep(0.8); COMMIT")
        )
        running.start()
        result = module(server, "backup_manifest")
        running.join()
    assert result["relations_busy"] == 0
    assert manifest_of(server)["quiet"]


def test_prepared_transactions_are_marked(server: Server) -> None:
    server.psql("ALTER SYSTEM SET max_prepared_transactions = 5")
    server.stop()
    server.start()
    server.psql("CREATE TABLE a (a int)")
    server.psql("BEGIN; INSERT INTO a VALUES (1); PREPARE TRANSACTION 'p'")
    module(server, "backup_manifest")
    assert entry_of(manifest_of(server), "a")["busy"]


def test_only_the_owner_may(server: Server, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a second account")
    server.owner = "root"
    said = module(server, "backup_manifest", fails=True)
    assert "belongs to another account" in said["msg"]
    assert said["refused"]


class Writers:
    """Sessions that change tables, catalogues and sequences, in short and long transactions, some of them prepared."""

    TABLES = 20
    USUAL = ("55P03", "40P01", "42P01", "42P07", "42704", "XX000", "42710", "25001", "23505")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.over = threading.Event()
        self.unexpected: list[str] = []
        self.committed = 0
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(5)]

    def __enter__(self) -> Writers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(20)

    def _run(self, number: int) -> None:
        choose = random.Random(number)
        address = {"host": str(self.server.socket_dir), "port": self.server.port, "user": "postgres"}
        with psycopg.connect(**address, dbname="postgres", autocommit=True) as session:
            session.execute("SET lock_timeout = '200ms'")
            while not self.over.wait(choose.random() * 0.02):
                # A few tables at a time, so that the others lie still.
                table = (int(time.monotonic() / 1.7) * 5 + choose.randrange(6)) % self.TABLES
                try:
                    self._step(session, choose, table, number)
                    self.committed += 1
                except psycopg.Error as exc:
                    # Locks, deadlocks, objects that another session dropped or made: what such a load brings.
                    if exc.sqlstate not in self.USUAL:
                        self.unexpected.append(repr(exc))

    def _step(self, session: Any, choose: random.Random, table: int, number: int) -> None:
        alone = [
            f"TRUNCATE t{table}", f"VACUUM t{table}", f"VACUUM FULL t{table}", f"DROP TABLE IF EXISTS x{table}",
            f"CREATE TABLE IF NOT EXISTS x{table} AS SELECT g FROM generate_series(1, 50) g", "VACUUM pg_class",
            f"ALTER TABLE t{table} ADD COLUMN IF NOT EXISTS c int DEFAULT {choose.randrange(9)}",
            f"ALTER TABLE t{table} DROP COLUMN IF EXISTS c",
            f"CREATE OR REPLACE FUNCTION f{table}() RETURNS int LANGUAGE sql AS 'SELECT {choose.randrange(99)}'",
            f"DROP FUNCTION IF EXISTS f{table}()", f"GRANT SELECT ON t{table} TO reader",
            f"REVOKE SELECT ON t{table} FROM reader",
            f"SELECT setval('t{table}_id_seq', (SELECT coalesce(max(id), 1) + 1000 FROM t{table}))",
        ]  # fmt: skip
        if choose.random() < 0.25:
            session.execute(choose.choice(alone))
            return
        for (name,) in session.execute("SELECT gid FROM pg_prepared_xacts WHERE gid = %s", (f"p{number}",)).fetchall():
            session.execute(f"COMMIT PREPARED '{name}'")
        with session.transaction():
            for _statement in range(choose.randrange(1, 4)):
                session.execute(
                    choose.choice(
                        [
                            f"INSERT INTO t{table} (n) SELECT g FROM generate_series(1, {choose.randrange(1, 30)}) g",
                            f"UPDATE t{table} SET n = n + 1 WHERE id % 17 = {choose.randrange(17)}",
                            f"DELETE FROM t{table} WHERE id % 31 = {choose.randrange(31)}",
                            f"CREATE OR REPLACE FUNCTION g{table}() RETURNS int LANGUAGE sql AS 'SELECT {number}'",
                        ]
                    )
                )
            self.over.wait(choose.random() * choose.choice([0.03, 0.03, 0.3, 2.5]))
            fate = choose.random()
            if fate < 0.1:
                raise psycopg.Rollback()
            if fate < 0.13:
                session.execute(f"PREPARE TRANSACTION 'p{number}'")


def test_writers_raise_no_false_alarm(make_server: Callable[..., Server]) -> None:
    """BORINGDB_ROUNDS sets how often; each round is a manifest, a backup, a copy and its examination under load."""
    server = make_server(start=False)
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write("max_prepared_transactions = 20\nautovacuum_naptime = 1\nautovacuum_vacuum_scale_factor = 0\n")
    server.start()
    server.psql("CREATE ROLE reader")
    for number in range(Writers.TABLES):
        server.psql(
            f"CREATE TABLE t{number} (id serial PRIMARY KEY, n int)",
            f"INSERT INTO t{number} (n) SELECT g FROM generate_series(1, 1000) g",
        )
    server.psql("VACUUM")
    exact = changed = 0
    with Writers(server) as writers:
        for number in range(int(os.environ.get("BORINGDB_ROUNDS", "4"))):
            module(server, "backup_manifest")
            folder = backup(server, f"backup{number}")
            copy = copy_of(server, folder, f"copy{number}")
            checks = verify(copy)
            copy.stop("immediate")
            assert not failed(checks), checks
            assert checks["_"]["verdict"] == "verified", checks
            exact += checks["_"]["coverage"]["exact"]
            changed += checks["_"]["coverage"]["changed"]
            shutil.rmtree(folder)
            shutil.rmtree(copy.data_dir)
        assert writers.committed > 50
        assert not writers.unexpected
    assert exact > 0
    assert changed > 0, "the load left nothing changed: the test proves nothing"
