"""A key pair, a ledger and records to put into it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys, ledger

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 10, 1, 3, 0, tzinfo=timezone.utc)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def record(cluster: str = "orders", day: float = 0, **changes: Any) -> dict[str, Any]:
    """A restore drill, `day` days after the first of October."""
    started = START + timedelta(days=day)
    result: dict[str, Any] = {
        "operation": "restore_drill",
        "cluster": cluster,
        "engine": "postgresql",
        "versions": {"engine": "17.5", "tools": {"pgbackrest": "2.55"}},
        "operator": {"user": "dba", "awx_job": "4711"},
        "started": stamp(started),
        "finished": stamp(started + timedelta(seconds=252)),
        "objectives": {"rto_seconds": 900, "rpo_seconds": 300},
        "measurements": {"rto_seconds": 187.4, "rpo_seconds": 41.2, "backup_label": "20260930-010002F"},
        "checks": [
            {"name": "recovery_reached_target", "required": True, "status": "passed", "seconds": 0.1},
            {"name": "relations_exact", "required": True, "status": "passed", "expected": 212, "actual": 212},
            {"name": "page_checksums", "required": False, "status": "skipped", "message": "not enabled"},
        ],
        "subjects": [{"name": "backup manifest", "digest": {"sha256": hashlib.sha256(cluster.encode()).hexdigest()}}],
    }
    result.update(changes)
    return result


@dataclass
class Ground:
    folder: Path
    ledger: Path
    private: Path
    public: Path

    @classmethod
    def create(cls, folder: Path) -> Ground:
        private, public = folder / "key.pem", folder / "key.pub.pem"
        keys.ensure_keypair(private, public, None)
        return cls(folder, folder / "ledger", private, public)

    @property
    def key(self) -> keys.PrivateKey:
        return keys.load_private(self.private)

    def append(self, count: int = 1, cluster: str = "orders", first_day: int = 0) -> list[Path]:
        return [
            ledger.append(self.ledger, record(cluster, first_day + n), self.key).path for n in range(count)
        ]

    def following(self, cluster: str, digest: str, private: Path | None = None, **said: Any) -> dict[str, Any]:
        """The module's options for a follow-up; `said` may hold options beside it."""
        options = {name: said.pop(name) for name in ("second_person", "public_key") if name in said}
        empty = dict.fromkeys(("by", "role", "comment", "action", "ticket"))
        return {
            "ledger": str(self.ledger), "private_key": str(private or self.private), "passphrase": None,
            "public_key": [str(self.public)], "cluster": cluster, "second_person": False, "operator": {"user": "dba"},
            "lock_timeout": 5, "follow_up": {**empty, "record": digest, **said}, **options,
        }

    def verify(self, witnesses: Any = None, public: Path | None = None) -> list[chain.Finding]:
        trusted = keys.load_trusted([public or self.public])
        return [f for c in chain.read_ledger(self.ledger, trusted, (), witnesses) for f in c.findings]

    def kinds(self, **options: Any) -> list[tuple[str, str]]:
        """What verification finds, as (kind, file name)."""
        return [(finding.kind, finding.record) for finding in self.verify(**options)]

    def audit(self, *extra: str, public: Path | None = None) -> subprocess.CompletedProcess[str]:
        """The auditor's command, which shares no code with the collection."""
        tool = ROOT / "tools" / "audit_evidence.py"
        return subprocess.run(
            ["python3", "-I", str(tool), str(self.ledger), "--key", str(public or self.public), *extra],
            capture_output=True, text=True, timeout=120, check=False,
        )

    def audit_kinds(self, *extra: str, public: Path | None = None) -> list[tuple[str, str]]:
        done = self.audit("--json", *extra, public=public)
        found = json.loads(done.stdout)["findings"]
        assert done.returncode == (1 if found else 0), done.stderr
        return [(finding["kind"], finding["record"]) for finding in found]


def statement_of(path: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))


def forge(path: Path, change: Any) -> None:
    """Rewrites a record's contents and leaves its signature."""
    envelope = json.loads(path.read_text())
    document = json.loads(base64.b64decode(envelope["payload"]))
    change(document)
    envelope["payload"] = base64.b64encode(json.dumps(document).encode()).decode()
    path.write_text(json.dumps(envelope))
