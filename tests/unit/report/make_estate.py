"""An estate of clusters in every state, as a ledger on disk. Run it to look at the page:

    python tests/unit/report/make_estate.py FOLDER
"""

from __future__ import annotations

import random
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests" / "unit" / "evidence"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from ansible_collections.boringdb.ops.plugins.module_utils._core import follow_up, ledger  # noqa: E402
from samples import Ground, forge, record, stamp  # noqa: E402

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=timezone.utc)


def drill(cluster: str, day: float, rto: float, chance: random.Random, **changes: Any) -> dict[str, Any]:
    """A drill `day` days before NOW."""
    started = NOW - timedelta(days=day, hours=5)
    restore = rto * 0.62
    verify = rto * 0.45
    finished = started + timedelta(seconds=rto + verify + 4)
    backup = started - timedelta(hours=6)
    newest = started - timedelta(seconds=chance.uniform(8, 60))
    measurements = {
        "rto_seconds": round(rto, 2), "rpo_seconds": round((started - newest).total_seconds(), 2),
        "restore_seconds": round(restore, 2), "recovery_seconds": round(rto - restore, 2),
        "verify_seconds": round(verify, 2), "teardown_seconds": 3.1,
        "backup_label": backup.strftime("%Y%m%d-%H%M%SF"), "backup_type": "full", "backup_tool": "pgbackrest",
        "backup_started": stamp(backup), "backup_finished": stamp(backup + timedelta(seconds=412)),
        "backup_bytes": 48_312_004_608, "target_type": "time", "target": stamp(newest - timedelta(minutes=40)),
        "window_start": stamp(backup + timedelta(seconds=412)), "window_end": stamp(newest),
        "window_start_lsn": "3A/8F000128", "window_end_lsn": "3B/10A4E2F8",
        "reached_time": stamp(newest - timedelta(minutes=40, seconds=3)), "reached_lsn": "3B/0C51D7A0",
        "reached_timeline": 4, "rows_checked": 18_204_551, "relations_checked": 212, "relations_exact": 187,
        "relations_total": 212,
    }
    passed = {"required": True, "status": "passed"}
    checks = [
        {**passed, "name": "recovery_reached_target", "seconds": 0.03},
        {**passed, "name": "isolated", "expected": "no listener", "actual": "no listener"},
        {**passed, "name": "page_checksums", "expected": 0, "actual": 0, "seconds": 9.71},
        {**passed, "name": "relations_exact", "expected": 187, "actual": 187, "seconds": 31.4},
        {**passed, "name": "relations_bounded", "expected": 25, "actual": 25, "seconds": 4.2},
        {"name": "amcheck", "required": False, "status": "skipped",
         "message": "the extension amcheck is not installed"},
    ]
    return record(
        cluster, started=stamp(started), finished=stamp(finished),
        **{"measurements": measurements, "checks": checks, **changes},
    )


def follow(ground: Ground, cluster: str, **said: str) -> None:
    """Follow the newest record of a chain."""
    newest = ledger.record_files(ground.ledger / cluster)[-1]
    follow_up.followed_up(ground.following(cluster, ledger.digest(newest.read_bytes()), **said), False)


def fill(ground: Ground) -> None:
    """Clusters in every state."""
    chance = random.Random(3)

    def many(cluster: str, first: float, count: int, rto: float, **changes: Any) -> None:
        for number in range(count):
            wave = rto * (1 + 0.012 * number) * chance.uniform(0.9, 1.12)
            ledger.append(ground.ledger, drill(cluster, first + count - number, wave, chance, **changes), ground.key)

    many("orders", 0, 24, 170)
    lost = drill("orders", 0, 236, chance)
    lost["checks"][3].update(status="failed", actual=186, message="orders.line_items: 1 204 rows fewer than the source")
    ledger.append(ground.ledger, lost, ground.key)
    many("customers", -0.2, 30, 96)
    many("ledger-eu", -0.5, 12, 640)
    follow(ground, "ledger-eu", kind="approval", by="Ada", role="head of operations", comment="as planned")
    many("search", 10, 9, 41)
    broken = drill("sessions", 1, 30, chance)
    many("sessions", 2, 3, 28)
    broken.update(checks=[{"name": "recovery_reached_target", "required": True, "status": "skipped",
                           "message": "the server did not start"}],
                  error="restore: repository host backup-01 refused the connection (port 22)")
    broken["measurements"] = {"restore_seconds": 2.4}
    ledger.append(ground.ledger, broken, ground.key)
    follow(ground, "sessions", kind="corrective_action", by="Bob", action="port 22 opened again", ticket="OPS-17")
    many("warehouse", 0, 6, 822)
    ledger.append(ground.ledger, drill("warehouse", -0.1, 1180, chance), ground.key)
    many("billing", 0, 8, 120)
    paths = ledger.record_files(ground.ledger / "billing")
    forge(paths[5], lambda document: document["predicate"]["measurements"].update(rto_seconds=12))
    ledger.append(ground.ledger, record(
        "customers", operation="switchover", started=stamp(NOW - timedelta(days=3)),
        finished=stamp(NOW - timedelta(days=3) + timedelta(seconds=9)), objectives={}, controls=[],
        measurements={"stall_seconds": 0.131, "errors": 0},
        checks=[{"name": "new_primary_writable", "required": True, "status": "passed", "seconds": 0.02}],
    ), ground.key)


if __name__ == "__main__":
    from ansible_collections.boringdb.ops.plugins.module_utils._core import keys, matrix, page, report

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    ground = Ground.create(folder)
    fill(ground)
    estate = report.read_estate(
        ground.ledger, keys.load_trusted([ground.public]), title="Restore evidence", now=NOW, overdue_days=7,
        expected=["payments"],
    )
    estate.matrix = matrix.build(estate.clusters, matrix.period(None, None, NOW), report.Approval())
    (folder / "report.html").write_text(page.render(estate, 20))
    estate.clusters = [cluster for cluster in estate.clusters if cluster.state == "verified"]
    (folder / "good.html").write_text(page.render(estate, 20))
