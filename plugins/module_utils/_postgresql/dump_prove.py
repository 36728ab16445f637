# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove a logical dump: load all of it into a scratch server that nobody else reaches, and compare what came back."""

from __future__ import annotations

import getpass
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.checks import Check, failed, passed, skipped
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import is_empty
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import (
    dump_compare,
    dump_scratch,
    dump_store,
    time_to_live,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.dump_store import Dump
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import (
    Server,
    find_programs,
    require_psycopg,
)

#: What must be known for a dump to be proven, in the order in which it is asked.
CHECKS = (
    "files", "globals", "databases", "rows", "values", "large_objects", "sequences", "owners", "privileges", "roles",
    "properties",
)  # fmt: skip


def prove(params: Params, check_mode: bool) -> Outcome:
    """Load and compare. The checks say what was found; it fails where that can't be told."""
    dump = dump_store.find(Path(params["path"]), params["label"])
    manifest = dump.manifest
    server = Server.of({**params, "service": "process", "config_dir": None, "login_user": manifest["superuser"]})
    if not params["bin_dir"]:
        server = replace(server, bin_dir=find_programs(manifest["major"]) or find_programs() or "")
    major = _preflight(server, dump)
    facts: dict[str, Any] = {
        "label": dump.label, "manifest_sha256": dump.digest, "system_digest": manifest["system_digest"],
        "databases": sorted(manifest["databases"]), "server_version": manifest["server_version"], "checks": [],
    }  # fmt: skip
    if check_mode:
        return Outcome(False, facts)
    proof = _Proof(server, dump, major, params)
    begun = time.monotonic()
    error = ""
    try:
        proof.run()
    except (OpsError, OSError) as exc:
        error = as_line(exc)
    facts.update(proof.facts, checks=[check.to_dict() for check in proof.whole(error)])
    facts["seconds"] = round(time.monotonic() - begun, 3)
    if error:
        raise OpsError(error, **facts)
    return Outcome(False, facts)


def _preflight(server: Server, dump: Dump) -> int:
    """Refuse with every reason; returns the programs' major version."""
    require_psycopg()
    preflight = Preflight()
    preflight.require(os.geteuid() != 0, "PostgreSQL refuses to run as root", "set become_user to the servers' owner")
    major = 0
    try:
        major = server.program_major()
    except OpsError as exc:
        preflight.refuse(str(exc), "install the server package, or set bin_dir")
    wanted = dump.manifest["major"]
    preflight.require(
        not major or major >= wanted,
        f"the programs are of version {major}, dump {dump.label} of {wanted}",
        "install as new ones on the drill host, or set bin_dir",
    )
    place = server.data_dir
    while not place.exists():
        place = place.parent
    if place != server.data_dir:
        preflight.require(
            os.access(place, os.W_OK | os.X_OK),
            f"{place} is not writable for {getpass.getuser()}",
            "let this account write there, or choose another dump_prove_root",
        )
    preflight.require(
        is_empty(server.data_dir) or time_to_live.marker(server.data_dir) is not None,
        f"{server.data_dir} is not empty, and no run of ours put that there",
        "choose another dump_prove_root",
    )
    needed = sum(database["bytes"] for database in dump.manifest["databases"].values())
    free = shutil.disk_usage(place).free
    preflight.require(
        free > needed, f"{place} has {free >> 20} MB free, the databases take {needed >> 20} MB", "make room"
    )
    preflight.done()
    return major


class _Proof:
    """One scratch server, from its making to its end."""

    def __init__(self, server: Server, dump: Dump, major: int, params: Params) -> None:
        self.server, self.dump, self.params = server, dump, params
        self.alike = major == dump.manifest["major"]
        self.checks: list[Check] = []
        self.facts: dict[str, Any] = {}
        self.loaded: list[str] = []

    def run(self) -> None:
        """Everything; nothing is left at the end. Raises OpsError where it can't be told whether it is sound."""
        data_dir = self.server.data_dir
        with host_lock(str(data_dir), "dump proof", self.params["lock_timeout"]):
            if time_to_live.marker(data_dir) is not None:
                time_to_live.remove(self.server)
            # Before there is anything of production's: whatever becomes of this run, the host removes it.
            token = time_to_live.mark(data_dir, self.params["ttl_seconds"], "dump")
            time_to_live.arm(self.server, token)
            try:
                self._steps()
            finally:
                begun = time.monotonic()
                time_to_live.remove(self.server)
                self._removed(time.monotonic() - begun)

    def _steps(self) -> None:
        damage = self.dump.damage()
        self._add("files", damage, len(self.dump.manifest["files"]), "as written")
        if damage:
            return
        begun = time.monotonic()
        scratch = dump_scratch.Scratch(self.server, self.dump, self.params)
        scratch.start()
        try:
            scratch.load_globals()
        except OpsError as exc:
            self._add("globals", [str(exc)], 1, "loaded")
            return
        self._add("globals", [], 1, "loaded")
        names = sorted(self.dump.manifest["databases"])
        wrong = []
        for name in names:
            try:
                scratch.load_database(name)
                self.loaded.append(name)
            except OpsError as exc:
                wrong.append(f"{name}: {exc}")
        self._add("databases", wrong, len(names), "loaded")
        self.facts["load_seconds"] = round(time.monotonic() - begun, 3)
        if self.loaded:
            found = dump_compare.compare(self.server, self.dump, self.loaded, self.alike)
            self.checks += found.checks
            self.facts.update(found.facts)

    def _add(self, name: str, wrong: list[str], total: int, word: str) -> None:
        self.checks.append(dump_compare.judged(name, wrong, total, word))

    def _removed(self, seconds: float) -> None:
        left = [str(place) for place in (self.server.data_dir, time_to_live.tablespaces(self.server.data_dir))]
        there = [place for place in left if Path(place).exists()]
        make = failed if there else passed
        message = f"{', '.join(there)} is still there" if there else ""
        actual = "something left" if there else "nothing left"
        self.facts["teardown_seconds"] = round(seconds, 3)
        self.checks.append(make("teardown", expected="nothing left", actual=actual, seconds=seconds, message=message))

    def whole(self, error: str) -> list[Check]:
        """Every check; those that did not run are skipped, and say why."""
        has = {check.name: check for check in self.checks}
        failing = next((check.name for check in self.checks if check.status == "failed"), "")
        why = error or f"not asked, because {failing} failed"
        listed = [has.get(name) or skipped(name, message=why) for name in CHECKS]
        return [*listed, has.get("teardown") or skipped("teardown", message=why)]
