# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every restore begins with: the repository's answers, every refusal as a named check, and then a plan.

A copy on a drill host and a cluster in its own place share this, and how the result is proven.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    lsn,
    recovery,
    restore_plan,
    restore_proof,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import digest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import (
    Backup,
    Repository,
    choose,
    open_repository,
    stamp,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    await_condition,
    find_programs,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive

#: How the server says that the account to look with is not in the data, or may not come in.
_NOBODY = re.compile(r'role "[^"]*" (does not exist|is not permitted to log in)')


class NobodyIn(OpsError):
    """The copy is there, and has no account to look at it with."""


def existing(place: Path) -> Path:
    """The path itself, or its nearest ancestor that exists."""
    while not place.exists():
        place = place.parent
    return place


class Planner:
    """One restore: its checks, what it found out, and the parts that every kind of restore has.

    `server` is where the data is laid down and recovered. `overlay` may add WAL that is not in the repository.
    """

    def __init__(
        self, server: Server, params: Params, overlay: Callable[[Repository], Repository] | None = None
    ) -> None:
        self.server = server
        self.params = params
        self.overlay = overlay
        #: For how many more segments than the plan has there must be room.
        self.spare_segments = 0
        self.checks: list[Check] = []
        self.seed = params["seed"] if params["seed"] is not None else random.SystemRandom().getrandbits(32)
        self.dice = random.Random(self.seed)  # noqa: S311 - a reproducible choice, not a secret
        self.begun = time.monotonic()
        self.started = datetime.now(timezone.utc)
        self.facts: dict[str, Any] = {"seed": self.seed, "started": stamp(self.started)}

    def plan(self, scratch: Path) -> Plan:
        """Find the way to the target, noting checks. Raises OpsError where there is none.

        WAL is fetched to `scratch` to be read.
        """
        repository = self._open()
        backup = self._chosen(repository)
        self._fits(backup)
        try:
            archive = Archive(repository, self.server.program("pg_waldump"), scratch)
        except OpsError as exc:
            name = "wal_continuity" if isinstance(exc, Damaged) else "repository"
            raise self.failing(name, "reachable", str(exc)) from exc
        try:
            plan = restore_plan.make(archive, backup, self.params, self.dice)
        except OpsError as exc:
            name = "target_in_window" if "target" in str(exc) else "wal_continuity"
            hint = "" if archive.names else repository.strangers()
            raise self.failing(name, "reachable", str(exc) + hint) from exc
        self.archive, self.repository = archive, repository
        self._wal_is_whole(archive, plan)
        self._is_the_cluster(backup)
        self._fits(backup, plan)
        return plan

    def open(self) -> None:
        """Reach the repository without a plan."""
        self.repository = self._open()

    def failing(self, name: str, expected: str, message: str) -> OpsError:
        """Note a failed check; returns the error to raise."""
        self.checks.append(failed(name, expected=expected, actual="not so", message=message))
        return OpsError(message)

    def _open(self) -> Repository:
        if not self.server.bin_dir and not find_programs():
            raise OpsError("no PostgreSQL programs found on this host; install the server package or set bin_dir")
        repository = open_repository(self.params, self.server.program)
        return self.overlay(repository) if self.overlay else repository

    def _chosen(self, repository: Repository) -> Backup:
        try:
            backups = repository.backups()
        except OpsError as exc:
            raise self.failing("repository", "reachable", str(exc)) from exc
        try:
            backup = repository.examined(choose(backups, self.params["backup"], self.dice.choice))
            if backup.problem:
                raise OpsError(f"backup {backup.label} can't be restored: {backup.problem}")
        except OpsError as exc:
            raise self.failing("backup_complete", "a complete backup", str(exc)) from exc
        self.checks.append(passed("backup_complete", expected="complete", actual=backup.label))
        unfinished = [f"{one.label}: {one.problem}" for one in backups if one.problem]
        if unfinished:
            self.checks.append(
                failed(
                    "backups_complete",
                    required=False,
                    expected="all",
                    actual=len(unfinished),
                    message="; ".join(unfinished),
                )
            )
        if not self.params["bin_dir"]:
            self.server = replace(self.server, bin_dir=find_programs(backup.major) or "")
        self._programs_fit(backup)
        return backup

    def _programs_fit(self, backup: Backup) -> None:
        wanted, where = backup.major, self.server.bin_dir
        try:
            major = self.server.program_major()
        except OpsError:
            if where:
                raise
            # Not even in the PATH.
            major = 0
        if major != wanted:
            seen = f" (those in {where or 'the PATH'} are of {major})" if major else ""
            message = (
                f"the backup is of PostgreSQL {wanted}, and no programs of {wanted} are here{seen}: install "
                f"postgresql-{wanted}, or set bin_dir (in a drill restore_drill_bin_dir)"
            )
            raise self.failing("version", str(wanted), message)

    def _wal_is_whole(self, archive: Archive, plan: Plan) -> None:
        problems = [f"{name} is missing" for name in plan.missing]
        problems += archive.faulty(plan.segments, plan.backup.system_identifier)
        expected = f"every segment from {plan.backup.start_lsn} to {plan.window.end_lsn}"
        if problems:
            message = "the WAL archive is not whole: " + "; ".join(problems[:5])
            self.checks.append(
                failed("wal_continuity", expected=expected, actual=f"{len(problems)} problems", message=message)
            )
        else:
            self.checks.append(passed("wal_continuity", expected=expected, actual=f"{len(plan.segments)} segments"))

    def _is_the_cluster(self, backup: Backup) -> None:
        wanted, found = self.params["expected_system_digest"], digest(backup.system_identifier)
        if not wanted:
            return
        if wanted == found:
            self.checks.append(passed("cluster_identity", expected=wanted[:12], actual=found[:12]))
            return
        message = f"backup {backup.label} is of another cluster (identity {found[:12]}, expected {wanted[:12]})"
        self.checks.append(failed("cluster_identity", expected=wanted[:12], actual=found[:12], message=message))

    def _fits(self, backup: Backup, plan: Plan | None = None) -> None:
        """Note what is missing. Before there is a plan, which needs room to read the WAL in, it raises OpsError."""
        place = existing(self.server.data_dir.parent)
        free = shutil.disk_usage(place).free
        # The data, and the WAL that recovery keeps at a time.
        needed = max(0, backup.bytes - self._there())
        if plan:
            needed += (min(len(plan.segments), 64) + self.spare_segments) * self.archive.size
        if free < needed:
            message = f"{place} has {free >> 20} MB free, the restore needs {needed >> 20} MB"
            self.checks.append(failed("disk_space", expected=needed, actual=free, message=message))
            if not plan:
                raise OpsError(message)

    def _there(self) -> int:
        """Bytes of the backup that a killed run has fetched already."""
        return 0

    def refuse_unless_sound(self) -> None:
        """Raise OpsError with every reason against the restore, if there is one."""
        reasons = [check.message for check in self.checks if check.required and check.status == "failed"]
        if reasons:
            raise OpsError("refused: " + "; ".join(reasons))

    # --- act and prove --------------------------------------------------------------------------------------------

    def memory_suffices(self, control: dict[str, str]) -> None:
        """Raise OpsError where the host has less memory than recovery needs."""
        buffers = str(self.params["settings"].get("shared_buffers", "128MB"))
        pages = meaning(buffers, Kind("shared_buffers", "integer", "8kB"))[1]
        needed = recovery.memory_needed(control, pages * 8192 if isinstance(pages, int) else 128 << 20)
        available = restore_proof.memory_available()
        if available and needed > available:
            sizes = recovery.required_sizes(control)
            message = (
                f"this host is too small for the source's max_connections={sizes.get('max_connections')}: recovery "
                f"needs about {needed >> 20} MB of memory, {available >> 20} MB are available"
            )
            raise self.failing("capacity", f"{needed >> 20} MB", message)

    def await_promotion(self) -> None:
        """Wait until recovery has ended. Raises OpsError where it takes too long, or the server ends instead."""
        query = "SELECT pg_is_in_recovery()"
        try:
            with self.server.connect() as connection:
                done = await_condition(lambda: not connection.execute(query).fetchone()[0], self.params["timeout"])
        except OpsError as exc:
            # The connection was cut off; why, only its log tells.
            if _NOBODY.search(str(exc)) and self.server.running():
                raise NobodyIn(
                    f"recovery runs, but the copy lets nobody in as {self.server.login_user}: {exc}; set login_user "
                    "(in a drill restore_drill_login_user)"
                ) from exc
            if await_condition(lambda: not self.server.running(), 10):
                raise OpsError(f"the server on port {self.server.port} ended: {self.server.last_words()}") from exc
            raise
        if not done:
            raise OpsError(f"still in recovery after {self.params['timeout']} s")

    def wal_changes(self, plan: Plan, reached_lsn: str) -> dict[str, dict[str, int]] | None:
        """What the replayed WAL did to each relation, while there is little enough of it to read twice."""
        since = restore_proof.manifest_lsn(self.server.data_dir)
        if not since:
            return None
        first, last = lsn.parse(since), lsn.parse(reached_lsn)
        size = self.archive.size
        names = [name for name in self.archive.names if first - size < lsn.segment_start(name, size) <= last]
        if len(names) > self.params["wal_changes_segments"]:
            self.checks.append(
                skipped("wal_changes", required=False, message=f"{len(names)} segments are too many to read")
            )
            return None
        try:
            return self.archive.changes(names, since, reached_lsn)
        except OpsError as exc:
            self.checks.append(skipped("wal_changes", required=False, message=str(exc)))
            return None

    def result(self, plan: Plan) -> dict[str, Any]:
        """What a module returns of a restore."""
        target = {"type": plan.target.type, "value": plan.target.value, "timeline": plan.target.timeline}
        return {
            **self.facts,
            "backup": plan.backup.facts(),
            "tool_version": self.repository.tool_version(),
            "backup_directory": self.repository.backup_directory(plan.backup),
            "window": plan.window.facts(),
            "target": target,
            "system_digest": digest(plan.backup.system_identifier),
            "checks": [check.to_dict() for check in self.checks],
        }

    def told(self, exc: Exception) -> OpsError:
        """The error with every check that was made; one without a check of its own fails `restore`."""
        text = str(exc) if isinstance(exc, OpsError) else f"{exc.strerror}: {exc.filename}"  # type: ignore[attr-defined]
        if not any(check.status == "failed" for check in self.checks):
            name = "disk_space" if os.strerror(errno.ENOSPC) in text else "restore"
            name = "backup_bytes" if isinstance(exc, Damaged) else name
            self.checks.append(failed(name, expected="restored", actual="not restored", message=text))
        return OpsError(text, **{**self.facts, "checks": [check.to_dict() for check in self.checks]})
