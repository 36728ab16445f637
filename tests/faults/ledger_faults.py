"""Faults of the evidence: a ledger that somebody has changed, found by the playbook and by the auditor's program."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.drill import drill, records
from tests.faults.fault import FAULTS, Caught
from tests.faults.ground import CLUSTER, Ground
from tests.modules import REPO

sys.path.insert(0, str(REPO / ".collections"))
from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, keys

Damage = Callable[[list[Path]], None]
#: Enough for a first, a middle and a last record.
ENOUGH = 4
_FINDING = re.compile(r"orders(?:/\S+)?: ([a-z_]+): ")


@dataclass(frozen=True)
class LedgerFault:
    """A change to a copy of the ledger that both verifications must name `kind`; without it both must be content."""

    name: str
    what: str
    kind: str
    damage: Damage
    witnessed: bool = False
    grounds: tuple[str, ...] = ("embedded",)

    def prove(self, ground: Ground) -> Caught:
        """Damage a copy of the ledger, verify it twice over, and verify the undamaged one."""
        while len(records(ground)) < ENOUGH:
            drill(ground, ground.field_variables())
        begun = time.monotonic()
        copy = ground.evidence / "damaged"
        shutil.copytree(ground.ledger, copy)
        head = _audit(ground, copy, None)["clusters"][CLUSTER]["head"]
        witness = head if self.witnessed else None
        self.damage(sorted((copy / CLUSTER).glob("*.dsse.json")))
        by_playbook, by_auditor = _by_playbook(ground, copy, witness), _by_auditor(ground, copy, witness)
        shutil.rmtree(copy)
        misses = []
        for who, kinds in (("verify_evidence", by_playbook), ("audit_evidence", by_auditor)):
            if self.kind not in kinds:
                misses.append(f"{who} says {sorted(kinds) or 'nothing'}, expected {self.kind}")
            others = _by_playbook if who == "verify_evidence" else _by_auditor
            whole = others(ground, ground.ledger, witness)
            misses += [f"with the fault undone: {who} says {sorted(whole)}"] if whole else []
        checks = sorted(by_playbook & by_auditor)
        seconds = time.monotonic() - begun
        return Caught(self.name, ground.name, checks, "failed", f"{self.kind} in the ledger", seconds, misses)


def _by_playbook(ground: Ground, ledger: Path, head: str | None) -> set[str]:
    """The kinds of findings that the playbook's one line of error names; none where it ends well."""
    witnesses = {"evidence_witnesses": {CLUSTER: head}} if head else {}
    code, output = ground.try_play("playbooks/verify_evidence.yml", evidence_ledger=str(ledger), **witnesses)
    if not code:
        return set()
    message = " ".join(output.split())
    return set(_FINDING.findall(message)) or {"no finding named"}


def _by_auditor(ground: Ground, ledger: Path, head: str | None) -> set[str]:
    """The kinds of findings of tools/audit_evidence.py; its exit code has to agree with them."""
    result = _audit(ground, ledger, head)
    kinds = {str(finding["kind"]) for finding in result["findings"]}
    return kinds if bool(kinds) == (result["exit"] == 1) else {f"exit code {result['exit']}"}


def _audit(ground: Ground, ledger: Path, head: str | None) -> dict[str, Any]:
    argv = [sys.executable, str(REPO / "tools/audit_evidence.py"), str(ledger), "--json"]
    argv += ["--key", str(ground.evidence / "key.pub.pem"), *(["--head", f"{CLUSTER}={head}"] if head else [])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return {**result, "exit": done.returncode}


def _alter(files: list[Path]) -> None:
    envelope = json.loads(files[1].read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["measurements"]["rto_seconds"] = 0.1
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    files[1].write_text(json.dumps(envelope))


def _remove(files: list[Path]) -> None:
    files[1].unlink()


def _reorder(files: list[Path]) -> None:
    aside = files[1].with_name("aside")
    files[1].rename(aside)
    files[2].rename(files[1])
    aside.rename(files[2])


def _sign_anew(files: list[Path]) -> None:
    private = files[-1].parents[2] / "stranger.pem"
    keys.ensure_keypair(private, private.with_suffix(".pub.pem"), None)
    key = keys.load_private(private)
    payload = base64.b64decode(json.loads(files[-1].read_text())["payload"])
    files[-1].write_bytes(dsse.seal(payload, key.keyid, key.sign))


def _cut(files: list[Path]) -> None:
    files[-1].unlink()


FAULTS += [
    LedgerFault("ledger_altered", "a record of the ledger altered", "altered", _alter),
    LedgerFault("ledger_removed", "a record removed from the ledger", "removed", _remove),
    LedgerFault("ledger_reordered", "two records of the ledger in each other's place", "reordered", _reorder),
    LedgerFault("ledger_foreign_key", "a record of the ledger signed by a stranger's key", "foreign_key", _sign_anew),
    LedgerFault("ledger_cut", "the ledger's last record removed, its head witnessed", "witness", _cut, True),
]
