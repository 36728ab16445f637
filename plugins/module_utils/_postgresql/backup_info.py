# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`backup_info` for PostgreSQL: the backups in a repository, and the window of targets each of them allows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import restore_plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import (
    Backup,
    Repository,
    open_repository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import find_programs
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive


def backup_info(params: Params, check_mode: bool) -> Outcome:
    """List the backups; with `window`, read the archive's last WAL for the newest sound one too."""
    del check_mode
    bin_dir = params["bin_dir"] or find_programs() or ""
    repository = open_repository(params, lambda name: str(Path(bin_dir) / name) if bin_dir else name)
    backups = repository.backups()
    facts: dict[str, Any] = {"backups": [backup.facts() for backup in backups], "window": None}
    facts["repositories"] = repository.health()
    sound = [backup for backup in backups if not backup.problem]
    if params["window"] and sound:
        facts["window"] = _window(repository, sound[-1], bin_dir)
    return Outcome(False, facts)


def _window(repository: Repository, backup: Backup, bin_dir: str) -> dict[str, Any]:
    waldump = str(Path(bin_dir) / "pg_waldump") if bin_dir else "pg_waldump"
    with tempfile.TemporaryDirectory(prefix="boringdb-") as scratch:
        archive = Archive(repository, waldump, Path(scratch))
        segments, missing = archive.path(archive.lineage(backup.timeline, "latest", backup.stop_lsn), backup.start_lsn)
        if missing:
            raise OpsError(f"the archive has gaps: {', '.join(missing[:5])}")
        return {**restore_plan.window_of(archive, backup, segments).facts(), "label": backup.label}
