"""Drills of a cluster that nothing is wrong with, under the write probe's load and idle: none may raise an alarm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.drill import drill
from tests.faults.ground import Ground
from tests.faults.process import await_, module

SEED = 20260101
#: More than one segment of log at a stretch, so that records begin in one segment and end in the next.
BURST = "INSERT INTO shop.beat SELECT clock_timestamp() FROM generate_series(1, 600000)"
#: The last transactions before the cluster falls idle: number taken by a part of a transaction, and by one given up.
LAST_WORDS = """
BEGIN; INSERT INTO shop.beat VALUES (now()); SAVEPOINT a; INSERT INTO shop.beat VALUES (now()); RELEASE a; COMMIT;
BEGIN; INSERT INTO shop.beat VALUES (now()); ROLLBACK;
"""


@dataclass(frozen=True)
class Clean:
    """One clean drill. `alarm` is empty when it verified and left nothing behind."""

    number: int
    state: str
    seed: str
    backup: str
    target: str
    seconds: float
    alarm: str


def clean_drills(ground: Ground, count: int) -> Iterator[Clean]:
    """All but two of `count` under load with backups taken under load too, then two of a cluster that fell idle."""
    probe = {
        "directory": str(ground.home / "probe"), "login_unix_socket": str(ground.socket),
        "login_port": str(ground.first_port + 1), "login_user": "postgres", "login_db": "postgres", "clients": 4,
    }  # fmt: skip
    common = {"restore_drill_probe_directory": probe["directory"]}
    loaded = max(count - 2, 0)
    if count < 1:
        return
    module("probe", state="started", rate=50, **probe)
    try:
        for number in range(loaded):
            if number % 6 == 0:
                ground.backup()
            burst = number % 6 == 1
            if burst:
                ground.sql(BURST)
            ground.archive()
            latest = {"restore_drill_target_type": "latest"} if burst else {}
            yield _one(ground, number, "load, after a burst" if burst else "load", {**common, **latest})
    finally:
        module("probe", state="stopped", **probe)
    if count < 2:
        return
    # Vacuum's own commits would be just that: commits after the last one archived.
    ground.sql("ALTER SYSTEM SET autovacuum = off;\nSELECT pg_reload_conf()")
    workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    await_(lambda: ground.sql(workers) == "0", "the end of autovacuum's workers")
    ground.sql(LAST_WORDS)
    ground.archive()
    time.sleep(2.5)  # idle for longer than the objective is what is asked about
    yield _one(ground, loaded, "idle for longer than its RPO", {**common, "db_rpo_seconds": 2})
    ground.backup()
    time.sleep(2.5)
    idle = {"db_rpo_seconds": 2, "restore_drill_backup": "latest"}
    yield _one(ground, loaded + 1, "no commit since its backup", idle)


def _one(ground: Ground, number: int, state: str, variables: dict[str, Any]) -> Clean:
    random = {"restore_drill_backup": "random", "restore_drill_target_type": "random"}
    met = drill(ground, {**random, "restore_drill_seed": str(SEED + number), **variables})
    measured = met.predicate["measurements"]
    seed, backup = str(measured.get("seed")), str(measured.get("backup_label"))
    alarm = "; ".join(f"left behind: {thing}" for thing in met.left_behind)
    if met.code or met.verdict != "verified":
        alarm = f"verdict {met.verdict}, {sorted(met.wanting)}: {met.cause} {alarm}"
    target = str(measured.get("target") or measured.get("target_type"))
    return Clean(number, state, seed, backup, target, met.seconds, alarm.strip())
