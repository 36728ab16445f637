# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with everything that a dump may lose: awkward names, privileges of every kind, settings, large objects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from estate import Estate

from tests.modules import OWNER, ROOT, programs

#: What an application's database holds, in the order in which it is made.
SHOP = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE "Odd Name" (id serial PRIMARY KEY, "group" text, how mood DEFAULT 'sad', seen timestamptz DEFAULT now(),
                         price numeric(10,2) DEFAULT 1.5, weight float8 DEFAULT pi(), tags mood[] DEFAULT '{glad}');
INSERT INTO "Odd Name" ("group") SELECT E'a\\tb\\n\\\\.\\n' || n FROM generate_series(1, 500) n;
ALTER TABLE "Odd Name" ADD COLUMN gone int;
ALTER TABLE "Odd Name" DROP COLUMN gone;
ALTER TABLE "Odd Name" OWNER TO "Shop's owner";
GRANT SELECT ON "Odd Name" TO PUBLIC;
GRANT UPDATE ("group") ON "Odd Name" TO clerk WITH GRANT OPTION;
CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
INSERT INTO parts SELECT n, date '2026-01-01' + n FROM generate_series(1, 300) n;
CREATE SCHEMA ledger AUTHORIZATION clerk;
ALTER DEFAULT PRIVILEGES FOR ROLE clerk IN SCHEMA ledger GRANT SELECT ON TABLES TO reader;
SET ROLE clerk;
CREATE TABLE ledger.entry (id int PRIMARY KEY, total numeric GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE ledger.line (entry int REFERENCES ledger.entry, what text);
RESET ROLE;
INSERT INTO ledger.entry SELECT generate_series(1, 40);
INSERT INTO ledger.line SELECT n, 'line ' || n FROM generate_series(1, 40) n;
CREATE FUNCTION ledger.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
REVOKE ALL ON FUNCTION ledger.twice FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.twice TO clerk;
ALTER TABLE ledger.entry ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ledger.entry TO reader USING (id < 10);
CREATE VIEW ledger.sums AS SELECT sum(total) FROM ledger.entry;
CREATE MATERIALIZED VIEW ledger.stale AS SELECT count(*) FROM ledger.entry;
CREATE SEQUENCE ledger.down INCREMENT -5 MAXVALUE 100 START 100;
SELECT nextval('ledger.down'), nextval('ledger.down');
CREATE TABLE empty_of_columns ();
INSERT INTO empty_of_columns DEFAULT VALUES;
SELECT lo_from_bytea(0, 'a large object');
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
"""
ROLES = """
CREATE ROLE "Shop's owner";
CREATE ROLE clerk LOGIN PASSWORD 'pa55-of-clerk';
CREATE ROLE reader NOLOGIN;
ALTER ROLE clerk SET work_mem = '5MB';
GRANT reader TO clerk WITH ADMIN OPTION;
"""
DATABASE = 'a "b"/../c'


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def psql(estate: Estate, text: str, database: str = "shop", host: str = "db1") -> str:
    """SQL in a database of a member."""
    where = estate.server(host)
    words = [f"{where['bin_dir']}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", where["socket_dir"]]
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    words += ["-p", str(where["port"]), "-U", "postgres", "-d", f"dbname='{escaped}'", "-c", text]
    return estate.run(*words).strip()


def fill(estate: Estate) -> None:
    """Make all of it."""
    for text in (line for line in ROLES.split(";\n") if line.strip()):
        estate.sql(text)
    for name in ("shop", DATABASE):
        estate.sql(f"CREATE DATABASE {quoted(name)}")
    for text in (line for line in SHOP.split(";\n") if line.strip()):
        if text.strip() == "SET ROLE clerk":
            break
        psql(estate, text)
    psql(estate, SHOP[SHOP.index("SET ROLE clerk") :])
    estate.sql('ALTER DATABASE shop OWNER TO "Shop\'s owner"')
    estate.sql("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    estate.sql("ALTER DATABASE shop SET default_transaction_read_only = on")
    estate.sql("ALTER ROLE clerk IN DATABASE shop SET search_path = ledger")
    psql(estate, 'CREATE TABLE "t""1" AS SELECT generate_series(1, 7) AS n', DATABASE)


def empty(estate: Estate) -> None:
    """Remove all of it."""
    for name in ("shop", DATABASE):
        estate.sql(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
    for role in ('"Shop\'s owner"', "clerk", "reader"):
        estate.sql(f"DROP ROLE IF EXISTS {role}")


def place(estate: Estate, name: str = "dumps") -> Path:
    """A directory that dumps go into."""
    made = estate.home / name
    made.mkdir(mode=0o700, exist_ok=True)
    if ROOT:
        shutil.chown(made, OWNER)
    return made


def take(estate: Estate, path: Path, fails: bool = False, host: str = "db1", **more: Any) -> dict[str, Any]:
    """One dump of a member."""
    return estate.module("dump", fails, **{**estate.server(host), "path": str(path), **more})


def scratch(estate: Estate) -> dict[str, Any]:
    """The options that name the proof's scratch server."""
    home = estate.home / "proof/orders"
    home.parent.mkdir(mode=0o700, exist_ok=True)
    if ROOT:
        shutil.chown(home.parent, OWNER)
    return {
        "data_dir": str(home / "data"), "socket_dir": str(home / "run"), "port": estate.port + 7,
        "bin_dir": str(programs()),
    }  # fmt: skip


def prove(estate: Estate, path: Path, fails: bool = False, **more: Any) -> dict[str, Any]:
    """Prove a dump."""
    return estate.module("dump", fails, **{**scratch(estate), "state": "proven", "path": str(path), **more})


def statuses(proved: dict[str, Any]) -> dict[str, str]:
    """The status of every check by its name."""
    return {check["name"]: check["status"] for check in proved["checks"]}


def manifest(path: Path, label: str) -> dict[str, Any]:
    """What a dump says of itself."""
    said: dict[str, Any] = json.loads((path / label / "manifest.json").read_text())
    return said
