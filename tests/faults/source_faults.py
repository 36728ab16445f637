"""Faults of the source: what is lost or wrong in it when it is backed up, or lost between its manifest and its backup.

A *phantom* is an object that the manifest names and the backup does not hold: what a backup that lost it looks like.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.faults.fault import fault, in_live
from tests.faults.ground import ROLE, Ground
from tests.faults.supplies import Variables


@contextlib.contextmanager
def phantom(ground: Ground) -> Iterator[dict[str, Any]]:
    """A backup whose manifest says what is done to it here."""
    with ground.backup_around():
        manifest = json.loads(ground.manifest())
        yield manifest
        ground.put_manifest(json.dumps(manifest))


def first(items: Iterator[Any]) -> Any:
    """The first of them. A `next` in a fault, which is a generator itself, would end it without a word."""
    return next(items)


def another(objects: dict[str, list[Any]], like: str, name: str) -> None:
    """One more object, on the catalogue page of the one that is named `like`."""
    value = next(item for item in objects.values() if item[0] == like)
    objects["4000000000"] = [name, *value[1:]]


def of_database(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the database `postgres`."""
    entry: dict[str, Any] = manifest["databases"]["postgres"]
    return entry


@fault(
    "rows deleted before the backup, though an invariant forbids it", "invariant:customers",
    says=r"the answer is not the expected one", variables=in_live,
)  # fmt: skip
def rows_deleted(ground: Ground) -> Iterator[Variables]:
    ground.sql("CREATE TABLE shop.kept AS SELECT * FROM shop.customer WHERE id > 1990")
    ground.sql("DELETE FROM shop.customer WHERE id > 1990")
    ground.backup()
    yield {}
    ground.sql("INSERT INTO shop.customer SELECT * FROM shop.kept; DROP TABLE shop.kept")
    ground.renew()


@fault("a canary's rows altered", "canary:prices", says=r"the answer is another one", variables=in_live)
def canary_altered(ground: Ground) -> Iterator[Variables]:
    with ground.backup_around():
        ground.sql("UPDATE shop.price SET cents = cents + 1 WHERE id = 7")
    yield {}
    ground.sql("UPDATE shop.price SET cents = cents - 1 WHERE id = 7")
    ground.renew()


@fault("a role missing that must be there", "expected_objects", says=r"missing: role reporting", variables=in_live)
def role_missing(ground: Ground) -> Iterator[Variables]:
    ground.sql("DROP OWNED BY reporting; DROP ROLE reporting")
    ground.backup()
    yield {}
    ground.sql(ROLE)
    ground.renew()


@fault(
    "a grant missing that must be there", "expected_objects",
    says=r"missing: postgres: SELECT on table shop.customer for reporting", variables=in_live,
)  # fmt: skip
def grant_missing(ground: Ground) -> Iterator[Variables]:
    ground.sql("REVOKE SELECT ON shop.customer FROM reporting")
    ground.backup()
    yield {}
    ground.sql("GRANT SELECT ON shop.customer TO reporting")
    ground.renew()


@fault(
    "a function missing that must be there", "expected_objects", says=r"missing: postgres: function shop.gross\(int\)",
    variables=in_live,
)  # fmt: skip
def function_missing(ground: Ground) -> Iterator[Variables]:
    ground.sql("DROP FUNCTION shop.gross(int)")
    ground.backup()
    yield {}
    ground.sql("CREATE FUNCTION shop.gross(net int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT net * 119 / 100'")
    ground.renew()


@fault("a role lost by the backup (phantom)", "roles", says=r"not as backed up: ghost is missing", variables=in_live)
def role_lost(ground: Ground) -> Iterator[Variables]:
    with phantom(ground) as manifest:
        another(manifest["cluster"]["roles"], "reporting", "ghost")
    yield {}
    ground.renew()


@fault(
    "a grant lost by the backup (phantom)",
    "grants",
    says=r"table shop.customer is .*, was .*reporting=UPDATE",
    variables=in_live,
)
def grant_lost(ground: Ground) -> Iterator[Variables]:
    with phantom(ground) as manifest:
        grants = of_database(manifest)["objects"]["grants"]
        key = first(key for key, item in grants.items() if item[0] == "table shop.customer")
        held = grants[key][1].split(",")
        role = first(item for item in held if "=SELECT/" in item and not item.startswith("10="))
        grants[key][1] = ",".join([*held, role.replace("=SELECT/", "=UPDATE/")])
    yield {}
    ground.renew()


@fault("a function lost by the backup (phantom)", "functions", says=r"shop.ghost\(\) is missing", variables=in_live)
def function_lost(ground: Ground) -> Iterator[Variables]:
    with phantom(ground) as manifest:
        another(of_database(manifest)["objects"]["functions"], "shop.gross(net integer)", "shop.ghost()")
    yield {}
    ground.renew()


@fault(
    "a table lost by the backup (phantom)", "relations_exact", says=r"postgres.shop.ghost: missing", variables=in_live
)
def table_lost(ground: Ground) -> Iterator[Variables]:
    with phantom(ground) as manifest:
        relations = of_database(manifest)["relations"]
        like = first(item for item in relations.values() if item["name"] == "note")
        relations["4000000000"] = {**like, "name": "ghost", "path": "base/5/4000000000"}
    yield {}
    ground.renew()


@fault(
    "rows lost by the backup (phantom)", "relations_exact", says=r"postgres.shop.note: 1000 rows, expected 1001",
    variables=in_live,
)  # fmt: skip
def rows_lost(ground: Ground) -> Iterator[Variables]:
    with phantom(ground) as manifest:
        relations = of_database(manifest)["relations"]
        first(item for item in relations.values() if item["name"] == "note")["rows"] += 1
    yield {}
    ground.renew()


@fault(
    "a sequence behind its column",
    "sequences",
    says=r"shop.customer_id_seq is at 10, shop.customer.id has 2000",
    variables=in_live,
)
def sequence_behind(ground: Ground) -> Iterator[Variables]:
    with ground.backup_around():
        ground.sql("SELECT setval('shop.customer_id_seq', 10)")
    yield {}
    ground.sql("SELECT setval('shop.customer_id_seq', 2000)")
    ground.renew()


def small_rpo(ground: Ground) -> Variables:
    """An objective that the newest commit has missed by the time that a drill asks for it."""
    ground.ready({})
    ground.write(1)
    ground.archive()
    time.sleep(1.5)  # the age itself is the fault
    return {**ground.live_variables(), "db_rpo_seconds": 1}


@fault(
    "the newest commit older than the RPO, and the source does not answer", "rpo",
    says=r"the newest commit in the archive is \S+ s old, the objective is 1 s", variables=small_rpo,
)  # fmt: skip
def rpo_missed(ground: Ground) -> Iterator[Variables]:
    ground.stop_source()
    try:
        yield {}
    finally:
        ground.start_source()


@fault(
    "the source goes on writing, and nothing is archived", "rpo",
    says=r"the newest commit in the archive is \S+ s old, the objective is 1 s", variables=small_rpo,
)  # fmt: skip
def archiving_stuck(ground: Ground) -> Iterator[Variables]:
    ground.sql("ALTER SYSTEM SET archive_command = 'false';\nSELECT pg_reload_conf()")
    ground.write(5)
    yield {}
    ground.sql("ALTER SYSTEM RESET archive_command;\nSELECT pg_reload_conf()")
    ground.archive()
