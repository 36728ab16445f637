# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` for PostgreSQL: a backup and its WAL brought back to a target, as an isolated copy in an empty place.

Every refusal comes before anything is touched, all reasons at once, each as a named check, so that a drill can record
which proof failed. What is left by a killed run carries our marker and is cleaned up by the next one.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import failed, passed
from ansible_collections.boringdb.ops.plugins.module_utils._core.device import protection
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty, read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.progress import noted, tree_bytes
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    hand_over,
    recovery,
    restore_apart,
    restore_options,
    restore_proof,
    time_to_live,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import stamp
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_pgbackrest import (
    PgbackrestRepository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_mask import mask
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_plan import Plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_planner import (
    NobodyIn,
    Planner,
    existing,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, require_psycopg
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.settings import render


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
        return _keep(server, params, said, check_mode)
    if not check_mode:
        with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
            # While the lock was waited for, the copy may have become another run's.
            if _own_marker(server, params) is not None:
                time_to_live.remove(server)
    return Outcome(True, {"seconds": round(time.monotonic() - begun, 3)}, "copy: present\n", "copy: absent\n")


def _keep(server: Server, params: Params, said: dict[str, Any], check_mode: bool) -> Outcome:
    """Leave the copy until its time is over, masked where that is asked for. One that can't be masked is removed."""
    facts: dict[str, Any] = {"kept_until": stamp(datetime.fromtimestamp(said["until"], timezone.utc))}
    if said.get("kept"):
        return Outcome(False, facts)
    if check_mode:
        return Outcome(True, facts)
    if params["masking"]:
        begun = time.monotonic()
        with host_lock(str(server.data_dir), "restore", params["lock_timeout"]):
            try:
                facts["masked"] = mask(server, params["masking"], params["timeout"])
            except (OpsError, OSError) as exc:
                time_to_live.remove(server)
                words = f"the copy was removed instead of kept, because it could not be masked: {exc}"
                gone = {"seconds": round(time.monotonic() - begun, 3), "not_kept": words}
                return Outcome(True, gone, "copy: present\n", "copy: absent\n", warnings=[words])
    time_to_live.keep(server.data_dir)
    return Outcome(True, facts)


class _Restore(Planner):
    """One restore, from its preflight to the first query that the copy answers."""

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
                    plan = self.plan(time_to_live.scratch(data_dir))
                    self._settings_are_accepted()
                    self.refuse_unless_sound()
                self._lay_down(plan)
                self._recover(plan)
                self._prove(plan)
                hand_over.offer(data_dir, self.params["hand_over_seconds"])
            except (OpsError, OSError) as exc:
                raise self.told(exc) from exc
            finally:
                with contextlib.suppress(OpsError, OSError):
                    time_to_live.discard(data_dir, time_to_live.scratch(data_dir))
        return Outcome(True, self.result(plan), "copy: absent\n", f"copy: {plan.backup.label}\n")

    def _only_plan(self) -> Outcome:
        """Check mode: what reads the repository writes nothing but single segments, and those elsewhere."""
        try:
            # A copy of ours is no obstacle: it would be removed first.
            if self._own_leftover() is None:
                self._place_is_free()
            with tempfile.TemporaryDirectory(prefix="boringdb-") as scratch:
                plan = self.plan(Path(scratch))
            self.refuse_unless_sound()
        except (OpsError, OSError) as exc:
            raise self.told(exc) from exc
        return Outcome(True, self.result(plan), "copy: absent\n", f"copy: {plan.backup.label}\n")

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        """Claim the place, and have the host clean it after its time to live. A refusal leaves it as it was."""
        data_dir = self.server.data_dir
        made = [place for place in (data_dir.parent, *data_dir.parent.parents) if not place.exists()]
        wiped = self.params["wipe"]
        token = time_to_live.mark(
            data_dir, self.params["ttl_seconds"], self.params["claim"] or "", wiped, self.params["replicas_dir"] or ""
        )
        time_to_live.arm(self.server, token)
        try:
            yield
        except BaseException:
            time_to_live.remove(self.server)
            with contextlib.suppress(OSError):
                for place in made:
                    place.rmdir()
            raise

    def _own_leftover(self) -> dict[str, Any] | None:
        """What the marker of a copy in the place says, None where none is. Raises OpsError for one that is kept."""
        said = time_to_live.marker(self.server.data_dir)
        if said and said.get("kept") and time.time() < said["until"]:
            until = stamp(datetime.fromtimestamp(said["until"], timezone.utc))
            raise OpsError(
                f"refused: {self.server.data_dir} holds a copy kept until {until}; remove it with the module "
                "boringdb.ops.restore and state=absent (the page restore_drill has the command)"
            )
        return said

    def _place_is_free(self) -> None:
        require_psycopg()
        data_dir, port = self.server.data_dir, self.server.port
        if not is_empty(data_dir):
            raise self.failing("empty_place", "empty", f"{data_dir} is not empty; a restore never overwrites anything")
        made = self.params["replicas_dir"]
        foreign = [one.name for one in data_dir.parent.glob(f"{data_dir.name}.*")] if made else []
        if made and (foreign or not is_empty(Path(made))):
            what = f"{', '.join(sorted(foreign))} in {data_dir.parent}" if foreign else f"{made} is not empty, and"
            raise self.failing("empty_place", "empty", f"{what} would be removed with the copy; choose another place")
        place = existing(data_dir.parent)
        if not os.access(place, os.W_OK | os.X_OK):
            message = f"{place} is not writable for {getpass.getuser()}; let this account write there, or go elsewhere"
            raise self.failing("place_writable", "writable", message)
        if self.params["require_encrypted"]:
            protected, words = protection(data_dir.parent)
            if not protected:
                message = f"{data_dir.parent} is on {words} (put the copy on a dm-crypt device, or in memory)"
                raise self.failing("place_encrypted", "encrypted, or in memory", message)
            self.checks.append(passed("place_encrypted", expected="encrypted, or in memory", actual=words))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise self.failing(
                    "port_free", f"port {port} free", f"port {port} is taken on this host; choose another"
                ) from exc
        lock = Path(self.server.socket_dir) / f".s.PGSQL.{port}.lock"
        if read_text(lock).split("\n", 1)[0].isdigit() and Path(f"/proc/{read_text(lock).split()[0]}").exists():
            raise self.failing("port_free", f"port {port} free", f"another server uses port {port} in {lock.parent}")

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

    # --- act and prove --------------------------------------------------------------------------------------------

    def _lay_down(self, plan: Plan) -> None:
        begun = time.monotonic()
        data_dir, tablespaces = self.server.data_dir, time_to_live.tablespaces(self.server.data_dir)
        with noted("data", plan.backup.bytes, lambda: tree_bytes(data_dir, tablespaces)):
            self.repository.lay_down(plan.backup, data_dir, tablespaces)
        restore_apart.require_apart(self.server.data_dir)
        self.facts["restore_seconds"] = round(time.monotonic() - begun, 3)

    def _recover(self, plan: Plan) -> None:
        begun = time.monotonic()
        control = self.server.control()
        self.memory_suffices(control)
        own = self.params["settings"]
        command = self.repository.restore_command(self.server.data_dir)
        recovery.configure(self.server, plan.target, command, recovery.required_sizes(control), own)
        try:
            with noted("recovery"):
                self.server.start(self.params["timeout"])
                self.await_promotion()
        except NobodyIn:
            raise
        except OpsError as exc:
            message = (
                f"recovery did not reach its target, {' '.join([plan.target.type, plan.target.value]).strip()}: {exc}"
            )
            raise self.failing("target_reached", plan.target.value or plan.target.type, message) from exc
        self.facts["rto_seconds"] = round(time.monotonic() - self.begun, 3)
        self.facts["recovery_seconds"] = round(time.monotonic() - begun, 3)

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
        self.facts["wal_changes"] = self.wal_changes(plan, reached["lsn"])
