# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` for PostgreSQL: a backup and its WAL brought back to a target, as an isolated copy in an empty place.

Every refusal comes before anything is touched, all reasons at once, each as a named check, so that a drill can record
which proof failed. What is left by a killed run carries our marker and is cleaned up by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty, read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    hand_over,
    lsn,
    recovery,
    restore_apart,
    restore_options,
    restore_plan,
    restore_proof,
    time_to_live,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.instance_info import digest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import (
    Backup,
    Repository,
    choose,
    open_repository,
    stamp,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    await_condition,
    find_programs,
    require_psycopg,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.settings import render
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.wal import Archive


def restore(params: Params, check_mode: bool) -> Outcome:
    """Bring back, keep or remove a copy, as `state` asks."""
    restore_options.refuse_impossible(params)
    server = Server.of({**params, "service": "process", "config_dir": None})
    if params["state"] == "absent":
        return _remove(server, params, check_mode)
    if not check_mode:
        # Before the clock of this restore starts: it is no part of how long this one takes.
        hand_over.await_free(server, params["claim"])
    return _Restore(server, params).run(check_mode)


def _existing(place: Path) -> Path:
    """The path itself, or its nearest ancestor that exists."""
    while not place.exists():
        place = place.parent
    return place


def _own_marker(server: Server, params: Params) -> dict[str, Any] | None:
    """What the marker of a copy says that this run may remove; None where there is none, or another run's."""
    said = time_to_live.marker(server.data_dir)
    if said is None and not is_empty(server.data_dir):
        raise OpsError(f"{server.data_dir} was not put there by a restore; it is left alone")
    return None if said is None or params["claim"] not in (None, said.get("claim")) else said


def _remove(server: Server, params: Params, check_mode: bool) -> Outcome:
    begun = time.monotonic()
    said = _own_marker(server, params)
    if said is None:
        return Outcome(False, {"seconds": 0.0})
    if params["keep"]:
        if not check_mode:
            time_to_live.keep(server.data_dir)
        return Outcome(not said.get("kept"), {"kept_until": stamp(datetime.fromtimestamp(said["until"], timezone.utc))})
    if not check_mode:
        with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
            # While the lock was waited for, the copy may have become another run's.
            if _own_marker(server, params) is not None:
                time_to_live.remove(server)
    return Outcome(True, {"seconds": round(time.monotonic() - begun, 3)}, "copy: present\n", "copy: absent\n")


class _Restore:
    """One restore, from its preflight to the first query that the copy answers."""

    def __init__(self, server: Server, params: Params) -> None:
        self.server = server
        self.params = params
        self.checks: list[Check] = []
        self.seed = params["seed"] if params["seed"] is not None else random.SystemRandom().getrandbits(32)
        self.dice = random.Random(self.seed)  # noqa: S311 - a reproducible choice, not a secret
        self.begun = time.monotonic()
        self.started = datetime.now(timezone.utc)
        self.facts: dict[str, Any] = {"seed": self.seed, "started": stamp(self.started)}

    def run(self, check_mode: bool) -> Outcome:
        """Plan, refuse or restore, and return what was reached with its checks."""
        data_dir = self.server.data_dir
        if check_mode:
            return self._only_plan()
        with host_lock(str(data_dir), "restore", self.params["lock_timeout"]):
            if self._own_leftover() is not None:
                hand_over.refuse_offered(self.server, self.params["claim"])
                time_to_live.remove(self.server)
            try:
                self._place_is_free()
                # Before the plan, which fetches WAL to read it: that is production's data, too.
                with self._claimed():
                    plan = self._plan(time_to_live.scratch(data_dir))
                    self._settings_are_accepted()
                    self._refuse_unless_sound()
                self._lay_down(plan)
                self._recover(plan)
                self._prove(plan)
                hand_over.offer(data_dir, self.params["hand_over_seconds"])
            except (OpsError, OSError) as exc:
                raise self._told(exc) from exc
            finally:
                shutil.rmtree(time_to_live.scratch(data_dir), ignore_errors=True)
        return Outcome(True, self._result(plan), "copy: absent\n", f"copy: {plan.backup.label}\n")

    def _only_plan(self) -> Outcome:
        """Check mode: what reads the repository writes nothing but single segments, and those elsewhere."""
        try:
            # A copy of ours is no obstacle: it would be removed first.
            if self._own_leftover() is None:
                self._place_is_free()
            with tempfile.TemporaryDirectory(prefix="boringdb-") as scratch:
                plan = self._plan(Path(scratch))
            self._refuse_unless_sound()
        except (OpsError, OSError) as exc:
            raise self._told(exc) from exc
        return Outcome(True, self._result(plan), "copy: absent\n", f"copy: {plan.backup.label}\n")

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        """Claim the place, and have the host clean it after its time to live. A refusal leaves it as it was."""
        data_dir = self.server.data_dir
        made = [place for place in (data_dir.parent, *data_dir.parent.parents) if not place.exists()]
        token = time_to_live.mark(data_dir, self.params["ttl_seconds"], self.params["claim"] or "")
        time_to_live.arm(self.server, token)
        try:
            yield
        except BaseException:
            time_to_live.remove(self.server)
            with contextlib.suppress(OSError):
                for place in made:
                    place.rmdir()
            raise

    def _told(self, exc: Exception) -> OpsError:
        """The error with every check that was made; one without a check of its own fails `restore`."""
        text = str(exc) if isinstance(exc, OpsError) else f"{exc.strerror}: {exc.filename}"  # type: ignore[attr-defined]
        if not any(check.status == "failed" for check in self.checks):
            name = "disk_space" if os.strerror(errno.ENOSPC) in text else "restore"
            self.checks.append(failed(name, expected="restored", actual="not restored", message=text))
        return OpsError(text, **{**self.facts, "checks": [check.to_dict() for check in self.checks]})

    def _own_leftover(self) -> dict[str, Any] | None:
        """What the marker of a copy in the place says, None where none is. Raises OpsError for one that is kept."""
        said = time_to_live.marker(self.server.data_dir)
        if said and said.get("kept") and time.time() < said["until"]:
            until = stamp(datetime.fromtimestamp(said["until"], timezone.utc))
            raise OpsError(
                f"refused: {self.server.data_dir} holds a copy kept until {until}; remove it with state absent"
            )
        return said

    # --- plan -----------------------------------------------------------------------------------------------

    def _plan(self, scratch: Path) -> Plan:
        repository = self._open()
        backup = self._chosen(repository)
        self._fits(backup)
        try:
            archive = Archive(repository, self.server.program("pg_waldump"), scratch)
        except OpsError as exc:
            raise self._failing("repository", "reachable", str(exc)) from exc
        try:
            plan = restore_plan.make(archive, backup, self.params, self.dice)
        except OpsError as exc:
            name = "target_in_window" if "target" in str(exc) else "wal_continuity"
            raise self._failing(name, "reachable", str(exc)) from exc
        self.archive, self.repository = archive, repository
        self._wal_is_whole(archive, plan)
        self._is_the_cluster(backup)
        self._fits(backup, plan)
        return plan

    def _failing(self, name: str, expected: str, message: str) -> OpsError:
        self.checks.append(failed(name, expected=expected, actual="not so", message=message))
        return OpsError(message)

    def _place_is_free(self) -> None:
        require_psycopg()
        data_dir, port = self.server.data_dir, self.server.port
        if not is_empty(data_dir):
            raise self._failing("empty_place", "empty", f"{data_dir} is not empty; a restore never overwrites anything")
        place = _existing(data_dir.parent)
        if not os.access(place, os.W_OK | os.X_OK):
            message = f"{place} is not writable for {getpass.getuser()}; let this account write there, or go elsewhere"
            raise self._failing("place_writable", "writable", message)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise self._failing(
                    "port_free", f"port {port} free", f"port {port} is taken on this host; choose another"
                ) from exc
        lock = Path(self.server.socket_dir) / f".s.PGSQL.{port}.lock"
        if read_text(lock).split("\n", 1)[0].isdigit() and Path(f"/proc/{read_text(lock).split()[0]}").exists():
            raise self._failing("port_free", f"port {port} free", f"another server uses port {port} in {lock.parent}")

    def _open(self) -> Repository:
        if not self.server.bin_dir and not find_programs():
            raise OpsError("no PostgreSQL programs found on this host; install the server package or set bin_dir")
        return open_repository(self.params, self.server.program)

    def _chosen(self, repository: Repository) -> Backup:
        try:
            backups = repository.backups()
        except OpsError as exc:
            raise self._failing("repository", "reachable", str(exc)) from exc
        try:
            backup = repository.examined(choose(backups, self.params["backup"], self.dice.choice))
            if backup.problem:
                raise OpsError(f"backup {backup.label} can't be restored: {backup.problem}")
        except OpsError as exc:
            raise self._failing("backup_complete", "a complete backup", str(exc)) from exc
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
            self.server = Server.of(
                {**self.params, "service": "process", "config_dir": None, "bin_dir": find_programs(backup.major)}
            )
        self._programs_fit(backup)
        return backup

    def _programs_fit(self, backup: Backup) -> None:
        major = self.server.program_major()
        if major != backup.major:
            message = (
                f"the backup is of PostgreSQL {backup.major}, the programs in {self.server.bin_dir} are of {major}"
            )
            raise self._failing("version", str(backup.major), message)

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
        place = _existing(self.server.data_dir.parent)
        free = shutil.disk_usage(place).free
        # The data, and the WAL that recovery keeps at a time.
        needed = backup.bytes + (min(len(plan.segments), 64) * self.archive.size if plan else 0)
        if free < needed:
            message = f"{place} has {free >> 20} MB free, the restore needs {needed >> 20} MB"
            self.checks.append(failed("disk_space", expected=needed, actual=free, message=message))
            if not plan:
                raise OpsError(message)

    def _settings_are_accepted(self) -> None:
        settings = self.params["settings"]
        if not settings:
            return
        scratch = time_to_live.scratch(self.server.data_dir)
        scratch.mkdir(mode=0o700, exist_ok=True)
        file = scratch / "postgresql.conf"
        file.write_text(render(settings, "A candidate."))
        refusal = self.server.refusal_of(file, scratch)
        file.unlink()
        if refusal:
            message = f"the server refuses these settings: {refusal}"
            self.checks.append(failed("settings", expected="accepted", actual="refused", message=message))

    def _refuse_unless_sound(self) -> None:
        reasons = [check.message for check in self.checks if check.required and check.status == "failed"]
        if reasons:
            raise OpsError("refused: " + "; ".join(reasons))

    # --- act ------------------------------------------------------------------------------------------------

    def _lay_down(self, plan: Plan) -> None:
        begun = time.monotonic()
        self.repository.lay_down(plan.backup, self.server.data_dir, time_to_live.tablespaces(self.server.data_dir))
        restore_apart.require_apart(self.server.data_dir)
        self.facts["restore_seconds"] = round(time.monotonic() - begun, 3)

    def _recover(self, plan: Plan) -> None:
        begun = time.monotonic()
        control = self.server.control()
        self._memory_suffices(control)
        own = self.params["settings"]
        command = self.repository.restore_command(self.server.data_dir)
        recovery.configure(self.server, plan.target, command, recovery.required_sizes(control), own)
        try:
            self.server.start(self.params["timeout"])
            self._await_promotion()
        except OpsError as exc:
            message = (
                f"recovery did not reach its target, {' '.join([plan.target.type, plan.target.value]).strip()}: {exc}"
            )
            raise self._failing("target_reached", plan.target.value or plan.target.type, message) from exc
        self.facts["rto_seconds"] = round(time.monotonic() - self.begun, 3)
        self.facts["recovery_seconds"] = round(time.monotonic() - begun, 3)

    def _memory_suffices(self, control: dict[str, str]) -> None:
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
            raise self._failing("capacity", f"{needed >> 20} MB", message)

    def _await_promotion(self) -> None:
        with self.server.connect() as connection:
            query = "SELECT pg_is_in_recovery()"
            done = await_condition(lambda: not connection.execute(query).fetchone()[0], self.params["timeout"])
        if not done:
            raise OpsError(f"still in recovery after {self.params['timeout']} s")

    # --- prove ----------------------------------------------------------------------------------------------

    def _prove(self, plan: Plan) -> None:
        with self.server.connect() as connection:
            reached = restore_proof.reached(connection)
            self.facts.update(reached=reached)
            self.checks += restore_proof.target_checks(connection, plan, reached, self.server.last_words)
            self.checks.append(restore_proof.isolation_check(connection, recovery.ISOLATED))
        self.checks += restore_proof.objective_checks(
            self.params, plan, self.facts["rto_seconds"], self.started, self.archive
        )
        self.facts["rpo_seconds"] = restore_proof.rpo_seconds(plan, self.started)
        if self.params["verify_repository"] and isinstance(self.repository, PgbackrestRepository):
            self.checks.append(restore_proof.repository_check(self.repository, plan.backup))
        self.facts["wal_changes"] = self._wal_changes(plan, reached["lsn"])

    def _wal_changes(self, plan: Plan, reached_lsn: str) -> dict[str, dict[str, int]] | None:
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

    def _result(self, plan: Plan) -> dict[str, Any]:
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
