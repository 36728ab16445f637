# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`extract`: one table, one database, out of a copy and beside what is there; never over it, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from estate import Estate
from estate_runs import kill, parent
from holds import bin_dir, held


@pytest.fixture(scope="module")
def ground(estate: Estate) -> Iterator[Estate]:
    """The cluster with two awkward tables in a database of their own, archived, and a copy to take them out of."""
    estate.start()
    estate.sql("CREATE DATABASE shop")
    psql(estate, 'CREATE TABLE "Odd Name" (id int PRIMARY KEY, "group" text)')
    awkward = "E'a\\tb\\n\\\\.\\nCOPY x (y) FROM stdin;'"
    psql(estate, f'INSERT INTO "Odd Name" SELECT n, {awkward} FROM generate_series(1, 500) n')
    psql(estate, "CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day)")
    psql(estate, "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')")
    psql(estate, "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')")
    psql(estate, "INSERT INTO parts SELECT n, date '2026-01-01' + n FROM generate_series(1, 300) n")
    estate.converge("backup")
    estate.module("restore", **estate.repository(), **estate.place())
    yield estate
    estate.module("restore", state="absent", tool="native", **estate.place())
    estate.sql("DROP DATABASE IF EXISTS shop_back")
    estate.sql("DROP DATABASE shop WITH (FORCE)")
    estate.assert_clean()


def psql(estate: Estate, text: str, database: str = "shop") -> str:
    """SQL in a database of the primary."""
    return estate.run(*command(estate, database), text).strip()


def command(estate: Estate, database: str) -> list[str]:
    """psql of the primary."""
    where = estate.server()
    words = [f"{where['bin_dir']}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", where["socket_dir"]]
    return [*words, "-p", str(where["port"]), "-U", "postgres", "-d", database, "-c"]


def dump(estate: Estate, name: str, fails: bool = False, **more: Any) -> dict[str, Any]:
    """Out of the copy, into a file."""
    given = {**estate.place(), "database": "shop", "dest": str(estate.home / name), **more}
    return estate.module("extract", fails, **given)


def load(estate: Estate, name: str, fails: bool = False, **more: Any) -> dict[str, Any]:
    """From the file into the primary."""
    given = {**estate.server(), "state": "loaded", "database": "shop", "dest": str(estate.home / name), **more}
    return estate.module("extract", fails, **given)


def test_a_table_comes_out_and_goes_back_beside_the_one_that_is_there(ground: Estate) -> None:
    done = dump(ground, "odd.dump", table='"Odd Name"', as_schema="rescued")
    assert done["tables"] == {'rescued."Odd Name"': 500}
    assert (ground.home / "odd.dump").stat().st_mode & 0o777 == 0o600
    psql(ground, 'DELETE FROM "Odd Name"')
    assert load(ground, "odd.dump", table='"Odd Name"', as_schema="rescued")["rows"] == 500
    query = 'SELECT count(*), count(DISTINCT "group") FROM {}."Odd Name"'
    assert psql(ground, query.format("rescued")) == "500|1"
    assert psql(ground, query.format("public")) == "0|0"
    again = load(ground, "odd.dump", fails=True, table='"Odd Name"', as_schema="rescued")
    assert "is there already" in again["msg"]


def test_partitions_come_with_their_table(ground: Estate) -> None:
    done = dump(ground, "parts.dump", table="public.parts", as_schema="rescued")
    assert (done["rows"], set(done["tables"])) == (300, {"rescued.parts_1", "rescued.parts_2"})
    load(ground, "parts.dump", table="public.parts", as_schema="rescued")
    assert psql(ground, "SELECT count(*) FROM rescued.parts") == "300"


def test_a_database_comes_back_under_another_name(ground: Estate) -> None:
    assert dump(ground, "shop.dump")["rows"] >= 800
    assert "is there already" in load(ground, "shop.dump", fails=True, as_database="shop")["msg"]
    load(ground, "shop.dump", as_database="shop_back")
    names = ground.sql("SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'")
    assert names == "shop,shop_back"
    assert psql(ground, 'SELECT count(*) FROM rescued."Odd Name"', "shop_back") == "500"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dest": "odd.dump"}, "is there already"),
        ({"dest": "nowhere/x.dump"}, "is no directory"),
        ({"dest": "new.dump", "database": "none"}, 'database "none" does not exist'),
        ({"dest": "new.dump", "table": "public.none"}, "does not exist"),
    ],
)
def test_what_can_not_be_is_one_line_and_leaves_nothing(ground: Estate, options: dict[str, str], said: str) -> None:
    more = {name: value for name, value in options.items() if name != "dest"}
    done = dump(ground, options["dest"], fails=True, **more)
    assert said in done["msg"]
    assert "\n" not in done["msg"]
    assert not (ground.home / "new.dump").exists()
    assert not list(ground.home.glob(".*.partial"))


def test_a_killed_worker_leaves_no_file_that_looks_whole(ground: Estate) -> None:
    with held(ground, "pg_dump") as hold:
        given = {**ground.place(), "bin_dir": bin_dir(ground), "database": "shop", "dest": str(ground.home / "k.dump")}
        running = ground.begin_module("extract", **given)
        kill(parent(hold.reached()))
        running.popen.wait()
    assert not (ground.home / "k.dump").exists()
    dump(ground, "k.dump", lock_timeout=10)
    assert not list(ground.home.glob(".k.dump*.partial"))


def test_the_playbook_removes_its_copy_and_loads_what_it_took(ground: Estate) -> None:
    given = {
        "extract_database": "shop", "extract_table": "public.parts", "extract_dest": str(ground.home / "p.dump"),
        "extract_root": str(ground.home / "extract"), "extract_port": ground.port + 8, "extract_load": True,
        "extract_as_schema": "by_playbook",
    }  # fmt: skip
    said = " ".join(ground.converge("extract", **given).split())
    assert "extract: 300 rows are in database shop" in said
    assert psql(ground, "SELECT count(*) FROM by_playbook.parts") == "300"
    assert [path.name for path in (ground.home / "extract/orders").iterdir()] in ([], ["run"])
    assert not (ground.home / "db1/data.extract.dump").exists()
    refused = ground.play("extract", extract_database="shop", extract_load=True)
    assert refused.code != 0
    assert "extract_dest is missing" in refused.told()
    assert "extract_as_database is missing" in refused.told()
