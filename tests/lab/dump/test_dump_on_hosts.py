# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dump` on real hosts: of the replica, over a mount, proven on a third host; and what comes back out of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.lab.dump.ground import DUMPS, PASSWORD, PRIMARY, PROOF, REPLICA, ROWS, SCRATCH, Ground
from tests.lab.estate import changed

pytestmark = pytest.mark.lab

CHECKS = {"files", "globals", "databases", "rows", "values", "large_objects", "sequences", "owners", "privileges",
          "roles", "properties", "teardown"}  # fmt: skip
ACL = """SELECT pg_get_userbyid(relowner) || ': ' || array_to_string(ARRAY(SELECT unnest(relacl)::text ORDER BY 1), ' ')
         FROM pg_class WHERE oid = '{}'::regclass"""


def test_a_dry_run_where_nothing_is_yet_is_one_line(fresh_told: str) -> None:
    assert fresh_told.startswith("2 ")
    assert "Traceback" not in fresh_told
    assert f"refused: no server of wares can be dumped ({PRIMARY} is unseen, {REPLICA} is unseen)" in fresh_told


def test_a_dry_run_on_a_converged_cluster_changes_nothing(ground: Ground) -> None:
    told = ground.play("dump", "--check", "--diff", cluster="wares")
    line = " ".join(told.split())
    assert f"planned: a dump of postgres, shop, template1 of wares on {REPLICA} into {DUMPS}" in line
    assert ground.on(PRIMARY, f"ls -A {DUMPS}") == ""
    assert ground.on(PROOF, "ls -d /var/lib/boringdb 2>/dev/null || true") == ""
    assert not (ground.home / "ledger/wares").exists()


def test_the_replica_is_dumped_over_the_mount_and_proven_on_the_third_host(ground: Ground) -> None:
    """By peer authentication: no password is asked for, and none is in the inventory but the replication's."""
    peer = "SELECT count(*) FROM pg_hba_file_rules WHERE type = 'local' AND auth_method = 'peer'"
    assert ground.sql(REPLICA, peer) != "0"
    told = ground.dump("-vvv")
    [label] = ground.labels()
    assert f"dump: {label} of wares on {REPLICA} (replica): 3 databases" in told
    record = ground.record("wares")
    assert (record["operation"], record["verdict"]) == ("dump", "verified")
    assert {check["name"]: check["status"] for check in record["checks"]} == dict.fromkeys(CHECKS, "passed")
    measured = record["measurements"]
    assert (measured["taken_on"], measured["rows"]) == ("replica", measured["rows_checked"])
    assert measured["rows"] >= ROWS
    assert record["versions"]["engine"].startswith("15.")
    assert PASSWORD not in told
    assert "SCRAM-SHA-256$" not in told + json.dumps(record)
    assert "SCRAM-SHA-256$" in ground.on(PROOF, f"cat {DUMPS}/{label}/globals.sql")
    owned = ground.on(PROOF, f"find {DUMPS}/{label} -printf '%u %m %y\\n' | sort -u").splitlines()
    assert owned == ["postgres 600 f", "postgres 700 d"]
    assert ground.on(PROOF, f"ls -A {SCRATCH} {SCRATCH}/run").split() == [f"{SCRATCH}:", "run", f"{SCRATCH}/run:"]
    assert [ground.left(host) for host in (PRIMARY, REPLICA, PROOF)] == ["", "", ""]


def test_a_second_run_takes_a_second_one_and_retention_spares_what_was_proven(ground: Ground) -> None:
    [first] = ground.labels()
    told = ground.dump(dump_prove=False, dump_keep=1)
    assert f" of wares on {REPLICA} (replica)" in told
    assert ground.labels()[0] == first
    assert ground.record("wares")["verdict"] == "error"
    told = ground.dump(dump_keep=1, dump_from="primary")
    assert f"of wares on {PRIMARY} (primary)" in told
    # The first one was proven, and is the newest that was when the retention looked.
    assert ground.labels()[0] == first
    assert len(ground.labels()) == 2
    told = ground.dump(dump_keep=1)
    assert f"removed {first}" in told
    assert len(ground.labels()) == 2


def test_one_table_comes_back_with_its_grants(ground: Ground) -> None:
    ground.shop("DELETE FROM goods WHERE id > 10")
    given = {"extract_from_dump": "latest", "extract_database": "shop", "extract_table": "goods",
             "extract_as_schema": "rescued", "extract_privileges": True}  # fmt: skip
    told = " ".join(ground.play("extract", "--check", "-e", json.dumps(given), cluster="wares").split())
    assert "extract: planned: 3000 rows of dump" in told
    assert ground.shop("SELECT to_regclass('rescued.goods')") == ""
    said = ground.play("extract", "-e", json.dumps(given), cluster="wares")
    assert "extract: 3000 rows of dump" in " ".join(said.split())
    assert changed(said)[PRIMARY] == 1
    assert ground.shop("SELECT count(*), count(DISTINCT tags), max(name) FROM rescued.goods") == "3000|3000|Ware 999"
    assert ground.shop("SELECT count(*) FROM goods") == "10"
    assert ground.shop(ACL.format("rescued.goods")) == ground.shop(ACL.format("goods")) != ""
    assert ground.shop(ACL.format("rescued.goods")).startswith("clerk: ")
    assert ground.sql(PRIMARY, "SELECT count(*) FROM pg_database WHERE datname ~ 'extracting|_loading'") == "0"
    refused = ground.attempt("extract", "-e", json.dumps({"cluster": "wares", **given}))
    assert refused.returncode != 0
    assert "is there already (choose another as_schema)" in " ".join(refused.stdout.split())


def test_a_schema_and_a_database_come_back(ground: Ground) -> None:
    given = {"extract_from_dump": "latest", "extract_database": "shop", "extract_privileges": True}
    ground.shop("DROP SCHEMA ledger CASCADE")
    schema = json.dumps({**given, "extract_schema": "ledger", "extract_as_schema": "ledger"})
    ground.play("extract", "-e", schema, cluster="wares")
    assert ground.shop("SELECT count(*) FROM ledger.line JOIN ledger.entry ON id = entry") == "40"
    assert ground.shop("SELECT policyname FROM pg_policies") == "own"
    ground.play("extract", "-e", json.dumps({**given, "extract_as_database": "shop_back"}), cluster="wares")
    query = "SELECT datlocprovider, daticulocale, pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop_back'"
    assert ground.sql(PRIMARY, query) == "i|de-DE|clerk"
    assert ground.sql(PRIMARY, "\\connect shop_back\nSELECT count(*) FROM goods") == "3000"
    assert ground.sql(PRIMARY, "\\connect shop_back\nSELECT spcname FROM pg_tablespace t JOIN pg_class c"
                               " ON c.reltablespace = t.oid WHERE relname = 'goods'") == "fast"  # fmt: skip
    ground.sql(PRIMARY, "DROP DATABASE shop_back")


def test_an_account_with_another_number_is_told_so(ground: Ground) -> None:
    """A directory on several hosts, and postgres is not the same number on all of them."""
    number = ground.on(PROOF, "id -u postgres").strip()
    ground.on(PROOF, "usermod -u 4242 postgres && chown -R postgres: /var/lib/boringdb")
    try:
        done = ground.attempt("dump", "-e", "cluster=wares", "-e", "dump_keep=2")
    finally:
        ground.on(PROOF, f"usermod -u {number} postgres && chown -R postgres: /var/lib/boringdb")
    told = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "Traceback" not in told
    assert re.search(rf"{DUMPS} .*can't be read by postgres", told), told[-2000:]
    assert ground.record("wares")["verdict"] == "error"


def test_a_mount_that_is_gone_is_refused_before_anything_is_written(ground: Ground) -> None:
    ground.on(REPLICA, "umount /mnt/dumps")
    try:
        done = ground.attempt("dump", "-e", "cluster=wares")
    finally:
        ground.on(REPLICA, "mount /mnt/dumps")
    told = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert f"there is no directory {DUMPS} (mount it, or create it for this account)" in told
