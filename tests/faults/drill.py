"""One restore drill of the playbook's, read back from its signed record; and what it must not leave behind."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.ground import CANARY, CLUSTER, Ground
from tests.faults.process import REPO, Broken

sys.path.insert(0, str(REPO / ".collections"))
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import lock_path

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
    """Run the playbook once. Raises Broken unless it leaves exactly one more record."""
    before = records(ground)
    root = Path(variables.get("restore_drill_root") or ground.drill_root)
    own = {"restore_drill_port": ground.first_port + 8, **EXPECTED}
    begun = time.monotonic()
    code, _output = ground.try_play("playbooks/restore_drill.yml", **{**own, **variables})
    seconds = time.monotonic() - begun
    new = [path for path in records(ground) if path not in before]
    if len(new) != 1:
        raise Broken(f"the drill left {len(new)} new records instead of one, see {ground.log}")
    return Drill(code, seconds, predicate_of(new[0]), left_behind(root / CLUSTER))


def records(ground: Ground) -> list[Path]:
    """The cluster's records, the oldest first."""
    return sorted((ground.ledger / CLUSTER).glob("*.dsse.json"))


def predicate_of(record: Path) -> dict[str, Any]:
    """What was signed."""
    statement = json.loads(base64.b64decode(json.loads(record.read_text())["payload"]))
    predicate: dict[str, Any] = statement["predicate"]
    return predicate


def left_behind(place: Path) -> list[str]:
    """What a drill has left on its host: files, processes, a lock that is held."""
    left = [str(path) for path in sorted(place.glob("*")) if path.name != "run"]
    left += [str(path) for path in sorted(place.glob("run/.s.PGSQL.*"))]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            cwd = ""
            with contextlib.suppress(PermissionError):
                cwd = str((process / "cwd").readlink())
            ours = process.name == str(os.getpid())
            if not ours and (f"{place}/" in words or f"{cwd}/".startswith(f"{place}/")):
                left.append(f"process {process.name}: {' '.join(words.split(chr(0)))[:80]}")
    lock = lock_path(str(place / "data"))
    if lock.exists():
        with lock.open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                left.append(f"lock {lock} is held")
    return left
