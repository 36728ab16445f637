"""One restore drill, by the playbook, read back from its signed record."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.ground import CANARY, CLUSTER, Ground
from tests.faults.process import Broken

_CUSTOMER = {"database": "postgres", "name": "shop.customer"}


def _count(name: str, relation: str, rows: int) -> dict[str, str]:
    """An invariant: a relation holds so many rows."""
    return {"name": name, "database": "postgres", "query": f"SELECT count(*) FROM {relation}", "expected": str(rows)}


#: What is known of the data: the same for every drill, so that a fault shows in its own check and in no other.
EXPECTED: dict[str, Any] = {
    # Objectives that nothing but the faults about them can miss.
    "db_rto_seconds": 300,
    "db_rpo_seconds": 86400,
    "restore_drill_canaries": [CANARY],
    "restore_drill_invariants": [
        _count("customers", "shop.customer", 2000),
        _count("accounts", "pgbench_accounts", 100000),
    ],
    "restore_drill_expected_objects": {
        "roles": ["reporting"],
        "functions": [{"database": "postgres", "name": "shop.gross(int)"}],
        "grants": [{**_CUSTOMER, "role": "reporting", "type": "table", "privilege": "SELECT"}],
    },
}


@dataclass
class Drill:
    """What a drill's signed record says, and how the run ended."""

    code: int
    seconds: float
    predicate: dict[str, Any]
    left_behind: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return str(self.predicate["verdict"])

    @property
    def wanting(self) -> dict[str, dict[str, Any]]:
        """The required checks that did not pass, by name."""
        checks = [check for check in self.predicate["checks"] if check["required"] and check["status"] != "passed"]
        return {check["name"]: check for check in checks}

    @property
    def cause(self) -> str:
        """The line a person reads: the first reason that a check gives, else the error that ended the run."""
        reasons = [f"{check['name']}: {check['message']}" for check in self.wanting.values() if check["message"]]
        return reasons[0] if reasons else str(self.predicate.get("error") or "")


def drill(ground: Ground, variables: Mapping[str, Any]) -> Drill:
    """Run the playbook once, after what is due. Raises Broken unless it leaves exactly one more record."""
    ground.ready({**variables})
    before = records(ground)
    root = Path(variables.get("restore_drill_root") or ground.drill_root)
    begun = time.monotonic()
    code, _output = ground.try_play(
        "playbooks/restore_drill.yml", **{**ground.own_variables(), **EXPECTED, **variables}
    )
    seconds = time.monotonic() - begun
    new = [path for path in records(ground) if path not in before]
    if len(new) != 1:
        raise Broken(f"the drill left {len(new)} new records instead of one, see {ground.log}")
    return Drill(code, seconds, predicate_of(new[0]), ground.left_behind(root / CLUSTER))


def records(ground: Ground) -> list[Path]:
    """The cluster's records, the oldest first."""
    return sorted((ground.ledger / CLUSTER).glob("*.dsse.json"))


def predicate_of(record: Path) -> dict[str, Any]:
    """What was signed."""
    statement = json.loads(base64.b64decode(json.loads(record.read_text())["payload"]))
    predicate: dict[str, Any] = statement["predicate"]
    return predicate
