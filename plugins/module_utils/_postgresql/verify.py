# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`verify` for PostgreSQL: proves what a backup brought back, on a restored, started copy.

A failed check is a result, not an error: the caller reads the verdict. Nothing of the users' is changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import noted, tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import hand_over, lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.catalogue import DATABASES
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import MANIFEST
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import LACKING, Server, has_psycopg
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_objects import (
    report_objects,
    take_inventory,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_programs import (
    report_backup_bytes,
    report_page_checksums,
    report_structure,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_queries import (
    own_names,
    report_canaries,
    report_expected_objects,
    report_heartbeat,
    report_invariants,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_relations import scan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_state import (
    report_collations,
    report_sequences,
    report_settings,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_tally import Tally, report_relations

_SCHEMA_VERSION = 1
_FACTS = """
SELECT pg_is_in_recovery(), current_setting('server_version_num')::int / 10000,
       current_setting('data_checksums') = 'on', (SELECT system_identifier::text FROM pg_control_system())
"""


def verify(params: Params, check_mode: bool) -> Outcome:
    """Run every check that the options and the copy allow."""
    begun = time.monotonic()
    server = Server.of(params)
    report = Report(params["required"] or [], params["optional"] or [])
    report.preflight(own_names(params))
    _options(params)
    if params["options_only"]:
        return Outcome()
    if not server.running():
        raise OpsError(f"no server runs on {server.data_dir}; start the restored copy first")
    # Another drill of this cluster would take the copy for a leftover and remove it.
    with host_lock(str(server.data_dir), "verify"):
        hand_over.take(server, params["claim"], check_mode)
        subject = _subject(server, {**params, "_check_mode": check_mode}, begun)
        return _verified(subject, report, begun)


def _verified(subject: Subject, report: Report, begun: float) -> Outcome:
    report_backup_bytes(subject, report)
    tally = Tally()
    with noted("relations", lambda: tree_bytes(subject.server.data_dir / "base"), lambda: tally.bytes_total):
        scan(subject, tally)
    report_relations(subject, tally, report)
    inventory = take_inventory(subject)
    report.begin()
    report_sequences(subject, inventory, report)
    report_objects(subject, inventory, report)
    report_settings(subject, report)
    report_collations(subject, inventory, report)
    report_expected_objects(subject, report)
    report_invariants(subject, report)
    report_canaries(subject, report)
    report_heartbeat(subject, report)
    installed = report_structure(subject, report)
    stopped = report_page_checksums(subject, report)
    facts = {
        "checks": [check.to_dict() for check in report.checks], "verdict": report.verdict,
        "rows_checked": tally.rows, "relations_checked": tally.read, "relations_exact": tally.exact,
        "relations_total": tally.total, "coverage": tally.coverage(), "manifest_taken_at": _taken_at(subject),
        "server_stopped": stopped, "seconds": round(time.monotonic() - begun, 3),
    }  # fmt: skip
    return Outcome(installed or stopped, facts)


def _options(params: Mapping[str, Any]) -> None:
    preflight = Preflight()
    preflight.require(0 <= params["min_coverage"] <= 1, "min_coverage is not from 0 to 1", "1.0 is everything")
    try:
        lsn.parse(params["reached_lsn"] or "0/0")
    except ValueError:
        preflight.refuse(f"reached_lsn: {params['reached_lsn']!r} is no log position", "write it as 0/3000060")
    if params["options_only"]:
        preflight.require(has_psycopg(), *LACKING)
    preflight.done()


def _taken_at(subject: Subject) -> str:
    return str(subject.manifest["taken_at"]) if subject.manifest else ""


def _subject(server: Server, params: Mapping[str, Any], begun: float) -> Subject:
    with server.connect() as connection:
        standby, major, checksums, system = connection.execute(_FACTS).fetchone()
        databases = {name: oid for oid, name in connection.execute(DATABASES).fetchall()}
        subject = Subject(
            server, params, major, standby, checksums, databases, begun + (params["time_budget"] or 86400 * 7)
        )
        _load(subject, system)
        if subject.manifest is not None and not standby and not params["_check_mode"]:
            # What recovery replayed may still lie in memory only; pages are judged by what the files say.
            connection.execute("CHECKPOINT")
            subject.settled = True
    return subject


def _load(subject: Subject, system: str) -> None:
    """Find the manifest that belongs to this copy. Raises OpsError for one that was named and cannot be used."""
    given = subject.params["manifest"]
    path = Path(given) if given else subject.server.data_dir / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            raise OpsError(f"{path}: no such manifest") from None
        subject.no_manifest = (
            f"the backup carries no {MANIFEST}; run the module boringdb.ops.backup_manifest before the next one"
        )
        return
    except ValueError:
        _unusable(subject, f"{path} is not what backup_manifest wrote: it is no JSON")
        return
    if not isinstance(manifest, dict) or manifest.get("schema_version") != _SCHEMA_VERSION:
        _unusable(subject, f"{path} is not of schema version {_SCHEMA_VERSION}")
    elif manifest["system_identifier"] != system:
        _unusable(subject, f"{path} is of another cluster ({manifest['system_identifier']}, here {system})")
    elif manifest["major"] != subject.major:
        _unusable(subject, f"{path} is of version {manifest['major']}, the server of {subject.major}")
    elif subject.params["reached_lsn"] and lsn.parse(subject.params["reached_lsn"]) < lsn.parse(manifest["lsn"]):
        _unusable(subject, f"{path} is of {manifest['lsn']}, and only {subject.params['reached_lsn']} was restored")
    else:
        subject.manifest = manifest


def _unusable(subject: Subject, why: str) -> None:
    """A manifest there is, but it does not fit: an option's fault is an error, a copy's fault a skipped check."""
    if subject.params["manifest"]:
        raise OpsError(why)
    subject.no_manifest, subject.lost = why, True
