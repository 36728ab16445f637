# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks `sequences`, `settings` and `collations`."""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sha256_of
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import CONFIG
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sequence_state import SequenceState
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_objects import Inventory
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject, few


def report_sequences(subject: Subject, inventory: Inventory, report: Report) -> None:
    """No sequence hands out a number that its column holds already, and none went back by itself.

    One that was behind its column on the source already (rows inserted with numbers of their own) is named, no more.
    """
    bad: list[str] = []
    notes: list[str] = []
    total = 0
    recorded = {} if subject.manifest is None else subject.manifest["databases"]
    by_oid = {entry["oid"]: entry for entry in recorded.values()}
    for database, states in inventory.sequences.items():
        was = by_oid.get(subject.databases[database], {}).get("sequences", {})
        total += len(states)
        for state in states:
            _judge(subject, f"{database}.{state.label}", state, was.get(str(state.oid)), bad=bad, notes=notes)
    report.judge(
        "sequences", not bad, required=subject.manifest is not None or subject.lost,
        expected=f"{total} not behind", actual=f"{total - len(bad)} not behind",
        message="; ".join([few(bad)] if bad else [few(notes)] if notes else []),
    )  # fmt: skip


def _judge(
    subject: Subject, label: str, state: SequenceState, was: Any, *, bad: list[str], notes: list[str]
) -> None:
    if state.error:
        bad.append(f"{label} cannot be read: {state.error}")
        return
    if state.behind:
        # As before, or further than before by somebody's own numbers: the restore did not do that.
        was_behind = was and was["max"] is not None and was["last"] is not None and was["max"] > was["last"]
        line = f"{label} is at {state.last}, {state.column} has {state.max}"
        (notes if was_behind else bad).append(f"{line} (it was behind on the source already)" if was_behind else line)
        return
    if not was or was["last"] is None or state.last is None or was["cycle"]:
        return
    back = state.last < was["last"] if state.increment > 0 else state.last > was["last"]
    if back and subject.page_state(was["path"], state.path, 0) == "same":
        bad.append(f"{label} is at {state.last}, was at {was['last']}")


def report_settings(subject: Subject, report: Report) -> None:
    """The configuration from outside the data directory came back with the backup, byte for byte."""
    if subject.manifest is None:
        report.skip("settings", subject.no_manifest, required=subject.lost)
        return
    files = subject.manifest["config"]["files"]
    bad = []
    for file in files:
        path = subject.server.data_dir / CONFIG / file["stored"]
        if not path.is_file():
            bad.append(f"{file['stored']} is missing")
        elif sha256_of(path) != file["sha256"]:
            bad.append(f"{file['stored']} differs")
    message = f"in {CONFIG}: {few(bad)}" if bad else "" if files else "all configuration lies in the data directory"
    report.judge(
        "settings", not bad, expected=f"{len(files)} configuration files",
        actual=f"{len(files) - len(bad)} as backed up", message=message,
    )  # fmt: skip


def report_collations(subject: Subject, inventory: Inventory, report: Report) -> None:
    """This host's libraries sort text as those did that the indexes were built with."""
    bad: list[str] = []
    total = 0
    recorded = {} if subject.manifest is None else subject.manifest["databases"]
    by_oid = {entry["oid"]: entry for entry in recorded.values()}
    for database, now in inventory.collations.items():
        was = by_oid.get(subject.databases[database], {}).get("collations", {})
        for key, collation in now.items():
            total += 1
            source = was.get(key, {})
            expected = source.get("actual") or source.get("recorded") or collation["recorded"]
            if expected and collation["actual"] != expected:
                bad.append(f"{database}: {collation['name']} was {expected}, is {collation['actual'] or 'unknown'}")
    report.judge(
        "collations", not bad, required=subject.manifest is not None or subject.lost,
        expected=f"{total} collations of the versions of the source", actual=f"{total - len(bad)} of them",
        message=f"{few(bad, 3)}: REINDEX what sorts by them, or restore on a host with the source's libraries"
        if bad else "",
    )  # fmt: skip
