# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogues held when the backup was taken must still be in them, unless it was changed afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.catalogue import (
    LOCAL,
    Objects,
    catalogue_paths,
    cluster_objects,
    objects_of,
    readable_acl,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import (
    TEXT_SETTINGS,
    session_options,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sequence_state import (
    SequenceState,
    collations_of,
    sequences_of,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject, few

#: The checks that compare objects, in the order of the report.
KINDS = ("databases", "roles", "schemas", "extensions", "functions", "grants")
_SETTINGS = {**TEXT_SETTINGS, "search_path": ""}


@dataclass
class Difference:
    """One kind of objects. Lists hold lines for a person.

    `lost`: different, and nothing can have changed it. `later`: changed after the backup. `open`: perhaps changed by a
    transaction that was under way when the manifest was taken. `untold`: it cannot be told.
    """

    total: int = 0
    lost: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)


@dataclass
class Inventory:
    """What is there now: everything that the checks of one connection per database need."""

    kinds: dict[str, Difference] = field(default_factory=lambda: {kind: Difference() for kind in KINDS})
    sequences: dict[str, list[SequenceState]] = field(default_factory=dict)
    collations: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def take_inventory(subject: Subject) -> Inventory:
    """One pass over the databases."""
    inventory = Inventory()
    manifest = subject.manifest
    roles: Objects = {}
    for number, (name, oid) in enumerate(subject.databases.items()):
        with subject.server.connect(name, options=session_options(_SETTINGS)) as connection:
            inventory.sequences[name] = sequences_of(connection)
            inventory.collations[name] = collations_of(connection, subject.major)
            if manifest is None:
                continue
            paths = catalogue_paths(connection)
            if number == 0:
                now = cluster_objects(connection)
                roles = manifest["cluster"]["roles"]
                comparison = _Comparison(subject, "", (manifest["cluster_paths"], paths), roles)
                for kind in ("databases", "roles", "grants"):
                    comparison.add(manifest["cluster"][kind], now[kind], inventory.kinds[kind])
            entry = next((item for item in manifest["databases"].values() if item["oid"] == oid), None)
            if entry is None:
                continue
            now = objects_of(connection, LOCAL)
            comparison = _Comparison(subject, f"{name}: ", (entry["paths"], paths), roles)
            for kind in ("schemas", "extensions", "functions", "grants"):
                comparison.add(entry["objects"][kind], now[kind], inventory.kinds[kind])
    return inventory


@dataclass
class _Comparison:
    """One place's objects then and now. `paths` are the catalogues' files, then and now."""

    subject: Subject
    prefix: str
    paths: tuple[Mapping[str, str], Mapping[str, str]]
    roles: Objects

    def add(self, was: Objects, now: Objects, found: Difference) -> None:
        """Sort what differs by whether it may."""
        found.total += len(was)
        manifest = self.subject.manifest or {}
        for key, (name, value, catalogue, block) in was.items():
            current = now.get(key)
            if current is not None and current[1] == value:
                continue
            line = f"{self.prefix}{name} {_how(value, current, self.roles)}"
            state = self.subject.page_state(self.paths[0].get(catalogue), self.paths[1].get(catalogue), block)
            if state == "changed":
                found.later.append(line)
            elif state == "same" and manifest["quiet"]:
                found.lost.append(line)
            elif state == "same" and manifest["exact"]:
                found.open.append(line)
            else:
                found.untold.append(line)


def _how(value: Any, current: Any, roles: Objects) -> str:
    if current is None:
        return "is missing"
    if isinstance(value, dict) and isinstance(current[1], dict):
        names = sorted(name for name in value if current[1].get(name) != value[name])
        return f"differs in {', '.join(names)}"
    if isinstance(value, str) and "=" in value:
        return f"is {readable_acl(current[1], roles)}, was {readable_acl(value, roles)}"
    return "differs"


def report_objects(subject: Subject, inventory: Inventory, report: Report) -> None:
    """The checks named in KINDS."""
    for kind in KINDS:
        if subject.manifest is None:
            report.skip(kind, subject.no_manifest, required=subject.lost)
            continue
        found = inventory.kinds[kind]
        expected = f"{found.total} as in the manifest"
        differences = len(found.lost) + len(found.later) + len(found.open) + len(found.untold)
        actual = f"{found.total - differences} as in the manifest"
        if found.later:
            actual += f", {len(found.later)} changed after the backup"
        notes = []
        if found.lost:
            notes.append(f"not as backed up: {few(found.lost)}")
        if found.untold:
            notes.append(f"different, and it cannot be told whether that is right: {few(found.untold)}")
        if found.open:
            notes.append(f"perhaps by a transaction that was open when the manifest was taken: {few(found.open)}")
        if found.later:
            notes.append(f"changed after the backup: {few(found.later)}")
        status = "failed" if found.lost else "skipped" if found.untold else "passed"
        report.add(status, kind, expected=expected, actual=actual, message="; ".join(notes))
