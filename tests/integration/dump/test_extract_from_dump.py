# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`extract` from a logical dump: one table, one schema, one database back, with owners and privileges when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate
from estate_runs import kill, parent
from holds import bin_dir, held

sys.path.insert(0, str(Path(__file__).parent))

from dump_ground import DATABASE, empty, fill, place, psql, take

ACL = """SELECT pg_get_userbyid(relowner) || ': ' || array_to_string(ARRAY(SELECT unnest(relacl)::text ORDER BY 1), ' ')
         FROM pg_class WHERE oid = '{}'::regclass"""


@pytest.fixture(scope="module")
def ground(estate: Estate) -> Iterator[Estate]:
    """The cluster, a dump of it, and then a loss."""
    estate.start()
    fill(estate)
    take(estate, place(estate))
    psql(estate, 'BEGIN READ WRITE; DELETE FROM "Odd Name"; DELETE FROM ledger.line; COMMIT')
    yield estate
    for name in ("shop_back", "shop_bare", "odd_back", "roles_back", "k"):
        estate.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    empty(estate)
    estate.assert_clean()


def load(estate: Estate, fails: bool = False, **more: Any) -> dict[str, Any]:
    """Out of the dump, into the primary."""
    given = {"state": "loaded", "dump_path": str(estate.home / "dumps"), "database": "shop", **more}
    return estate.module("extract", fails, **{**estate.server(), **given})


def stages(estate: Estate) -> str:
    """What must not be left."""
    return estate.sql("SELECT count(*) FROM pg_database WHERE datname ~ 'extracting|_loading'")


def test_a_table_comes_back_beside_the_one_that_is_there(ground: Estate) -> None:
    done = load(ground, table='"Odd Name"', as_schema="rescued")
    assert done["tables"] == {'rescued."Odd Name"': 500}
    query = 'SELECT count(*), count(DISTINCT "group"), min(how::text) FROM {}."Odd Name"'
    assert psql(ground, query.format("rescued")) == "500|500|sad"
    assert psql(ground, query.format("public")) == "0|0|"
    assert psql(ground, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'rescued'") == "1"
    assert psql(ground, "SELECT last_value FROM rescued.\"Odd Name_id_seq\"") == "500"
    again = load(ground, fails=True, table='"Odd Name"', as_schema="rescued")
    assert again["msg"] == 'refused: "rescued"."Odd Name" is there already (choose another as_schema)'
    assert stages(ground) == "0"


def test_a_table_comes_back_with_its_owner_and_privileges(ground: Estate) -> None:
    load(ground, table='public."Odd Name"', as_schema="granted", privileges=True)
    assert psql(ground, ACL.format('granted."Odd Name"')) == psql(ground, ACL.format('public."Odd Name"'))
    query = "SELECT attacl FROM pg_attribute WHERE attrelid = '{}.\"Odd Name\"'::regclass AND attname = 'group'"
    assert psql(ground, query.format("granted")) == psql(ground, query.format("public")) != ""


def test_without_privileges_nobody_else_may_read_it(ground: Estate) -> None:
    load(ground, table="ledger.entry", as_schema="bare")
    query = "SELECT relrowsecurity, relacl IS NULL, pg_get_userbyid(relowner) FROM pg_class WHERE oid = '{}'::regclass"
    assert psql(ground, query.format("bare.entry")) == "f|t|postgres"
    load(ground, table="ledger.entry", as_schema="secured", privileges=True)
    assert psql(ground, query.format("secured.entry")) == "t|f|clerk"
    assert psql(ground, "SELECT policyname FROM pg_policies WHERE schemaname = 'secured'") == "own"


def test_partitions_come_with_their_table(ground: Estate) -> None:
    done = load(ground, table="parts", as_schema="rescued")
    assert (done["rows"], set(done["tables"])) == (300, {"rescued.parts_1", "rescued.parts_2"})
    assert psql(ground, "SELECT count(*) FROM rescued.parts") == "300"


def test_a_schema_comes_back_whole(ground: Estate) -> None:
    done = load(ground, schema="ledger", as_schema="Ledger of yesterday", privileges=True)
    assert done["rows"] == 80
    new = '"Ledger of yesterday"'
    assert psql(ground, f"SELECT count(*) FROM {new}.line JOIN {new}.entry ON id = entry") == "40"
    assert psql(ground, "SELECT count(*) FROM ledger.line") == "0"
    assert psql(ground, f"SELECT * FROM {new}.sums") == "1640"
    assert psql(ground, f"SELECT confrelid::regclass FROM pg_constraint WHERE conrelid = '{new}.line'::regclass") == (
        f"{new}.entry"
    )
    assert psql(ground, ACL.format(f"{new}.line")) == psql(ground, ACL.format("ledger.line"))
    query = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'Ledger of yesterday'"
    assert psql(ground, query) == "clerk"
    assert psql(ground, f"SELECT last_value FROM {new}.down") == "95"
    query = "SELECT has_function_privilege('reader', '{}.twice(int)', 'EXECUTE')"
    assert psql(ground, query.format(new)) == "f"
    assert "is there already" in load(ground, fails=True, schema="ledger", as_schema="ledger")["msg"]
    assert stages(ground) == "0"


def test_a_database_comes_back_under_another_name(ground: Estate) -> None:
    assert load(ground, as_database="shop_bare")["rows"] == 881
    load(ground, as_database="shop_back", privileges=True)
    assert psql(ground, 'SELECT count(*) FROM "Odd Name"', "shop_back") == "500"
    assert psql(ground, ACL.format("ledger.line"), "shop_back") == psql(ground, ACL.format("ledger.line"))
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'line'"
    assert psql(ground, owner, "shop_bare") == "postgres"
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{}'"
    assert ground.sql(owner.format("shop_back")) == "Shop's owner"
    assert "is there already" in load(ground, fails=True, as_database="shop")["msg"]
    load(ground, database=DATABASE, as_database="odd_back")
    assert psql(ground, 'SELECT count(*) FROM "t""1"', "odd_back") == "7"
    assert stages(ground) == "0"


def test_roles_that_are_gone_are_made_only_when_asked(ground: Estate) -> None:
    ground.sql("ALTER ROLE reader RENAME TO reader_now")
    try:
        refused = load(ground, fails=True, table="ledger.line", as_schema="theirs", privileges=True)
        assert "the roles reader are not there (create them, have them made without a login" in refused["msg"]
        assert psql(ground, "SELECT to_regnamespace('theirs')") == ""
        load(ground, table="ledger.line", as_schema="nobodys")
        done = load(ground, table="ledger.line", as_schema="theirs", privileges=True, roles=True)
        assert done["roles"] == ["reader"]
        assert ground.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'reader'") == "f"
        assert "reader=r/clerk" in psql(ground, ACL.format("theirs.line"))
        psql(ground, "BEGIN READ WRITE; DROP SCHEMA theirs CASCADE; COMMIT")
    finally:
        ground.sql("DROP ROLE IF EXISTS reader")
        ground.sql("ALTER ROLE reader_now RENAME TO reader")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "public.none", "as_schema": "x"}, "table public.none of database shop is not in dump"),
        ({"table": "parts"}, "as_schema is missing"),
        ({}, "as_database is missing"),
        ({"schema": "none", "as_schema": "x"}, "schema none is not in database shop of dump"),
        ({"schema": "ledger", "table": "parts", "as_schema": "x"}, "schema and table are both given"),
        ({"database": "none", "as_database": "x"}, "database none is not in dump"),
        ({"as_database": "x", "dump_label": "20200101-000000"}, "holds no whole dump 20200101-000000"),
        ({"as_database": "x", "dump_path": "/nowhere"}, "there is no directory /nowhere"),
    ],
)
def test_what_can_not_be_is_one_line_and_leaves_nothing(ground: Estate, options: dict[str, Any], said: str) -> None:
    done = load(ground, fails=True, **options)
    assert said in done["msg"], done["msg"]
    assert "\n" not in done["msg"]
    assert stages(ground) == "0"


def test_a_dry_run_changes_nothing(ground: Estate) -> None:
    done = load(ground, table="parts", as_schema="dry", _ansible_check_mode=True)
    assert (done["changed"], done["rows"], done["diff"]["after"]) == (True, 300, "loaded: shop\n")
    assert psql(ground, "SELECT to_regnamespace('dry')") == ""


def test_a_killed_worker_leaves_what_the_next_removes(ground: Estate) -> None:
    with held(ground, "pg_restore", matching="section=data") as hold:
        given = {**ground.server(), "bin_dir": bin_dir(ground), "state": "loaded", "database": "shop", "table": "parts",
                 "dump_path": str(ground.home / "dumps"), "as_schema": "killed"}  # fmt: skip
        running = ground.begin_module("extract", **given)
        kill(parent(hold.reached()))
        running.popen.wait()
    assert psql(ground, "SELECT to_regnamespace('killed')") == ""
    load(ground, table="parts", as_schema="killed", lock_timeout=10)
    assert psql(ground, "SELECT count(*) FROM killed.parts") == "300"
    assert stages(ground) == "0"


def test_a_database_that_no_extraction_made_is_left_alone(ground: Estate) -> None:
    """Its name is all that it has in common with what a killed extraction leaves."""
    for name, options in (("boringdb_extracting", {"table": "parts", "as_schema": "again"}),
                          ("k_loading", {"as_database": "k"})):  # fmt: skip
        ground.sql(f"CREATE DATABASE {name}")
        try:
            told = load(ground, fails=True, **options)["msg"]
            assert told.startswith(f"refused: database {name} is there, and no extraction says that it left it")
            assert ground.sql(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "1"
            # One that says so is removed.
            ground.sql(f"COMMENT ON DATABASE {name} IS 'boringdb.ops.extract has not finished this database;"
                       " the next extraction removes it'")  # fmt: skip
            load(ground, **options)
            assert stages(ground) == "0"
        finally:
            ground.sql(f"DROP DATABASE IF EXISTS {name}")
    assert ground.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'k'") == ""
