# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `dump`: a dump of the replica, proven on the drill host and on record; and `extract` from it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate

sys.path.insert(0, str(Path(__file__).parent))

from dump_ground import empty, fill, place, psql


@pytest.fixture(scope="module")
def ground(estate: Estate) -> Iterator[Estate]:
    """The cluster, filled, and a place for dumps."""
    estate.start()
    fill(estate)
    place(estate)
    yield estate
    empty(estate)
    estate.assert_clean()


def given(estate: Estate, **more: Any) -> dict[str, Any]:
    """The variables of a run."""
    own = {"dump_path": str(estate.home / "dumps"), "dump_prove_root": str(estate.home / "proof")}
    return {**own, "dump_prove_port": estate.port + 7, **more}


def newest(estate: Estate) -> dict[str, Any]:
    """The last record of the cluster."""
    file = sorted((estate.evidence / "ledger/orders").glob("*.dsse.json"))[-1]
    said: dict[str, Any] = json.loads(base64.b64decode(json.loads(file.read_text())["payload"]))
    return said


def labels(estate: Estate) -> list[str]:
    """The dumps that are there."""
    return sorted(path.name for path in (estate.home / "dumps").glob("[!.]*"))


def test_a_dump_is_taken_of_the_replica_proven_and_recorded(ground: Estate) -> None:
    # Another test may have left one in this cluster.
    databases = int(ground.sql("SELECT count(*) FROM pg_database WHERE datallowconn"))
    with ground.watched():
        told = " ".join(ground.converge("dump", "-vvv", **given(ground, dump_keep=1)).split())
    [label] = labels(ground)
    assert f"dump: {label} of orders on db2 (replica): {databases} databases" in told
    assert f"dump: orders verified label={label}" in told
    said = newest(ground)
    assert (said["predicate"]["operation"], said["predicate"]["verdict"]) == ("dump", "verified")
    assert [subject["name"] for subject in said["subject"]] == [f"dump/{label}", "cluster/orders"]
    assert {check["status"] for check in said["predicate"]["checks"]} == {"passed"}
    measured = said["predicate"]["measurements"]
    assert (measured["taken_on"], measured["dump_label"], measured["databases"]) == ("replica", label, databases)
    assert measured["rows_checked"] == measured["rows"]
    assert "SCRAM-SHA-256$" not in told + json.dumps(said)
    assert not [line for line in ground.seen if b"SCRAM-SHA-256$" in line]
    home = ground.home / "proof/orders"
    assert [path.name for path in home.iterdir()] == ["run"]


def test_the_last_proven_one_stays_and_one_that_nobody_loaded_is_not_verified(ground: Estate) -> None:
    [proven] = labels(ground)
    for _number in range(2):
        told = " ".join(
            ground.converge("dump", **given(ground, dump_keep=1, dump_prove=False, dump_databases=["shop"])).split()
        )
        assert "dump: orders error label=" in told
    assert len(labels(ground)) == 2
    assert labels(ground)[0] == proven
    predicate = newest(ground)["predicate"]
    assert predicate["verdict"] == "error"
    assert [(check["name"], check["status"]) for check in predicate["checks"]] == [("proof", "skipped")]


def test_a_dump_that_does_not_come_back_fails_and_is_on_record(ground: Estate) -> None:
    """A check that goes by the search path, which a load empties: PostgreSQL takes it, and no load of it succeeds."""
    psql(ground, "BEGIN READ WRITE; CREATE FUNCTION odd(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
                 " 'BEGIN RETURN n + (SELECT count(*) FROM helper); END'; CREATE TABLE helper (n int);"
                 " CREATE TABLE checked (n int CHECK (odd(n) > 0)); INSERT INTO checked VALUES (1);"
                 " COMMIT")  # fmt: skip
    try:
        done = ground.play("dump", **given(ground, dump_from="primary", dump_databases=["shop"]))
    finally:
        psql(ground, "BEGIN READ WRITE; DROP TABLE checked, helper; DROP FUNCTION odd; COMMIT")
    assert done.code != 0
    predicate = newest(ground)["predicate"]
    assert predicate["verdict"] == "failed"
    [wrong] = [check for check in predicate["checks"] if check["status"] == "failed"]
    assert wrong["name"] == "databases"
    assert wrong["message"] == (
        'shop: pg_restore exited 1: COPY failed for table "checked": ERROR: relation "helper" does not exist'
    )
    assert "the verdict on dump" in done.told()


def test_what_can_not_be_taken_is_on_record_as_an_error(ground: Estate) -> None:
    before = labels(ground)
    done = ground.play("dump", **given(ground, dump_databases=["none"]))
    assert done.code != 0
    assert "there is no database none that takes connections" in done.told()
    assert newest(ground)["predicate"]["verdict"] == "error"
    assert labels(ground) == before
    missing = ground.play("dump", **given(ground, dump_path=""))
    assert "refused: dump_path is missing" in missing.told()


def test_the_primary_is_dumped_for_want_of_a_replica_and_nothing_runs_is_said(ground: Estate) -> None:
    ground.module("instance", state="stopped", **ground.server("db2"))
    try:
        told = " ".join(ground.converge("dump", "--check", **given(ground)).split())
        assert "no replica of orders streams, so the primary db1 is dumped (db1 is running primary, db2 is " in told
        assert "planned: a dump of" in told
        ground.module("instance", state="stopped", **ground.server("db1"))
        done = ground.play("dump", **given(ground))
        assert done.code != 0
        assert "refused: no server of orders can be dumped (db1 is stopped primary, db2 is stopped" in done.told()
    finally:
        ground.start()


def test_the_primary_is_dumped_where_the_replica_s_host_does_not_answer(ground: Estate) -> None:
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = ground.logs / "gone.json"
    inventory.write_text(json.dumps({"embedded": {"children": {"orders": {"hosts": {"db2": gone}}}}}))
    before = labels(ground)
    done = ground.play("dump", "-i", str(inventory), **given(ground))
    assert done.code == 0, done.output[-3000:]
    assert labels(ground)[-1] not in before


def test_extract_loads_a_schema_of_the_dump(ground: Estate) -> None:
    own = {"dump_path": str(ground.home / "dumps"), "extract_from_dump": labels(ground)[0], "extract_database": "shop",
           "extract_schema": "ledger", "extract_as_schema": "by_playbook", "extract_privileges": True}  # fmt: skip
    told = " ".join(ground.converge("extract", "--check", **own).split())
    assert "extract: planned: 80 rows of dump" in told
    assert psql(ground, "SELECT to_regnamespace('by_playbook')") == ""
    told = " ".join(ground.converge("extract", **own).split())
    assert "extract: 80 rows of dump" in told
    assert psql(ground, "SELECT count(*) FROM by_playbook.line") == "40"
    refused = ground.play("extract", extract_from_dump="latest", extract_database="shop", extract_table="parts")
    assert "dump_path is missing" in refused.told()
    assert "extract_as_schema is missing" in refused.told()
