# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention that counts, but never removes the backup that was verified last, nor anything that it builds on.

pgBackRest can't pin a backup. It can tell what it would remove, and it keeps more when it is told a higher number: so
it is asked first, and given a number that reaches back to the verified backup where its own would not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest_program import Pgbackrest

_LABEL = re.compile(r"\b\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?\b")


@dataclass(frozen=True)
class Expiry:
    """What retention did to one repository.

    `verified` is the protected backup, empty where none of those in the repository was ever verified. `kept` are
    those that would have gone by number and stayed for its sake. `reason` is one line for people.
    """

    repository: int
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    verified: str = ""
    reason: str = ""

    def facts(self) -> dict[str, Any]:
        """The shape that modules return."""
        return asdict(self)


def expire(program: Pgbackrest, number: int, entries: Sequence[dict[str, Any]], verified: Sequence[str]) -> Expiry:
    """Expire repository `number`, whose backups are `entries` of `info`. Raises OpsError where pgBackRest can't."""
    labels = [entry["label"] for entry in entries]
    last = next((label for label in verified if label in labels), "")
    doomed = _run(program, number, "--dry-run")
    chain = _chain(last, entries)
    if not doomed:
        # WAL from before the oldest backup still goes.
        return Expiry(number, _run(program, number), verified=last, reason="its number keeps every backup")
    if not chain & set(doomed):
        why = f"verified last and kept: {last}" if last else "none of the repository's backups was ever verified"
        return Expiry(number, _run(program, number), verified=last, reason=f"removed by number; {why}")
    reaching = _reaching(last, entries, number)
    spared = _run(program, number, "--dry-run", *reaching)
    why = f"{last} is the last verified backup"
    if chain & set(spared):
        return Expiry(number, [], doomed, last, f"{why}; nothing was removed, for no number keeps it")
    removed = _run(program, number, *reaching) if spared else []
    kept = [one for one in doomed if one not in removed]
    return Expiry(number, removed, kept, last, f"{why}: kept beyond its number")


def _chain(label: str, entries: Sequence[dict[str, Any]]) -> set[str]:
    """A backup with everything that it can't be restored without."""
    known = {entry["label"]: entry for entry in entries}
    chain: set[str] = set()
    while label in known and label not in chain:
        chain |= {label, *(known[label].get("reference") or [])}
        label = known[label].get("prior") or ""
    return chain


def _reaching(label: str, entries: Sequence[dict[str, Any]], number: int) -> list[str]:
    """Numbers that reach back to the full backup of `label`; differential ones count no more."""
    full = label.partition("_")[0]
    count = sum(1 for entry in entries if entry["type"] == "full" and entry["label"] >= full)
    words = [f"--repo{number}-retention-full-type=count", f"--repo{number}-retention-full={count}"]
    return [*words, f"--repo{number}-retention-diff={len(entries)}"]


def _run(program: Pgbackrest, number: int, *words: str) -> list[str]:
    """The labels that pgBackRest removes, or would remove."""
    steps = program.steps("expire", f"--repo={number}", *words)
    found = [label for step in steps if "expire" in step and " command " not in step for label in _LABEL.findall(step)]
    return sorted(dict.fromkeys(found))
