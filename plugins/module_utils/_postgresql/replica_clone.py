# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A replica's data: copied from its upstream or restored from the repository, set aside, or removed."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree, sync_directory, sync_tree
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import replica_tablespaces
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica_settings import (
    conninfo,
    passfile,
    write_settings,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica_upstream import drop_slot, fresh_slot
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import (
    Backup,
    Repository,
    choose,
    open_repository,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: Made by a source's own recovery or life, and never a replica's.
_NOT_OURS = ("recovery.signal", "postmaster.pid", "postmaster.opts")
#: In a source's postgresql.auto.conf; a replica that came of it would follow somebody else, or wait for itself.
_NOT_KEPT = (
    "recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn",
    "recovery_target_timeline", "recovery_target_action", "recovery_target_inclusive", "recovery_end_command",
    "restore_command", "recovery_min_apply_delay", "synchronous_standby_names",
)  # fmt: skip


Source = Optional[tuple[Repository, Backup]]


def clone(server: Server, params: Params, source: Source) -> None:
    """Clone beside the final place and rename: a killed clone never looks like a data directory."""
    beside = replica_tablespaces.beside(server.data_dir)
    remove_tree(_beside(server, "removing"))
    # A copy of the repository has its tablespaces beside the data directory, not at the primary's paths.
    replica_tablespaces.begin(server.data_dir, [] if source else params["tablespaces"], bool(source))
    # Before anything is copied: from here on the upstream keeps what the copy will ask for.
    fresh_slot(params)
    try:
        if source:
            _restore(server, *source, beside)
        else:
            _copy(server, params, beside)
    except OpsError:
        replica_tablespaces.clear(server.data_dir)
        with contextlib.suppress(OpsError):
            drop_slot(params)
        raise
    for name in _NOT_OURS:
        (beside / name).unlink(missing_ok=True)
    write_settings(replace(server, data_dir=beside), dict.fromkeys(_NOT_KEPT))
    (beside / "standby.signal").touch(0o600)
    if source:
        # pg_basebackup has done so; a plain copy has not.
        sync_tree(beside)
    replica_tablespaces.whole(server.data_dir)
    if server.data_dir.exists():
        server.data_dir.rmdir()
    beside.rename(server.data_dir)
    sync_directory(server.data_dir.parent)


def _copy(server: Server, params: Params, beside: Path) -> None:
    argv = [server.program("pg_basebackup"), "-D", str(beside), "--slot", params["slot"], "-X", "stream"]
    argv += ["--checkpoint=fast", "--no-password", "-d", conninfo(server, params)]
    done = run(argv, check=False, guarded=True)
    if done.returncode != 0:
        raise OpsError(f"cannot clone the primary: {failure(done)}")


def source_of(server: Server, params: Params, cluster: str) -> Source:
    """The newest sound backup of this cluster (a system identifier), None to copy the upstream. Raises Refused."""
    if params["source"] != "repository":
        return None
    repository = open_repository(params, server.program)
    backup = choose(repository.backups(), "latest", lambda sound: sound[-1])
    preflight = Preflight()
    preflight.require(
        backup.system_identifier == cluster,
        f"backup {backup.label} is of another cluster (system identifier {backup.system_identifier}, the primary's is "
        f"{cluster})",
        "correct the repository's place, or clone from the upstream",
    )
    major = server.program_major()
    preflight.require(
        backup.major == major,
        f"backup {backup.label} is of PostgreSQL {backup.major}, the programs in {server.bin_dir} are of {major}",
        "set bin_dir, or take a new backup",
    )
    preflight.done()
    return repository, backup


def _restore(server: Server, repository: Repository, backup: Backup, beside: Path) -> None:
    tablespaces = server.data_dir.with_name(f"{server.data_dir.name}.tablespaces")
    # What a killed restore left. Only a clone makes this directory, and only where there is no data directory yet.
    remove_tree(tablespaces)
    repository.lay_down(backup, beside, tablespaces)


def _beside(server: Server, what: str) -> Path:
    return server.data_dir.with_name(f"{server.data_dir.name}.{what}")


def set_aside(server: Server, why: str, keep: bool) -> str:
    """Take a stopped server's data directory away by one rename; returns where it is now, empty when it is removed."""
    own = _beside(server, "tablespaces")
    links = [link.resolve() for link in (server.data_dir / "pg_tblspc").iterdir() if link.is_symlink()]
    outside = [str(place) for place in links if place.parent != own]
    # A kept copy needs its tablespaces where they are, and so does the clone that follows.
    in_the_way = [str(place) for place in links] if keep and why == "replaced" else [] if keep else outside
    if in_the_way:
        preflight = Preflight()
        preflight.refuse(
            f"the tablespaces of {server.data_dir} can't go with it: {', '.join(in_the_way)}",
            "take the data away yourself" if outside else "set keep_data to false",
        )
        preflight.done()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    place = _beside(server, f"{why}-{stamp}" if keep else "removing")
    remove_tree(_beside(server, "removing"))
    if place.exists():
        raise OpsError(f"{place} is there already; run it again")
    server.data_dir.rename(place)
    sync_directory(server.data_dir.parent)
    if not keep:
        remove_tree(place)
        remove_tree(own)
    return str(place) if keep else ""


def remove(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Take a replica's data out of use: moved aside, or removed. Never a running server's, never a primary's."""
    leftovers = [_beside(server, "removing"), _beside(server, "cloning"), passfile(server)]
    found = [place for place in leftovers if place.exists()]
    conf = server.config_dir / "postgresql.conf"
    split = server.config_dir != server.data_dir and conf.exists()
    if server.exists():
        preflight = Preflight()
        preflight.require(
            check_mode or not server.running(),
            f"the server on {server.data_dir} runs",
            "stop it; the data of a running one stays",
        )
        preflight.require(
            (server.data_dir / "standby.signal").exists(),
            f"{server.data_dir} was last a primary",
            "only a replica's data is taken out of use here; move it away yourself if it is not wanted",
        )
        preflight.done()
    elif not found and not split:
        return Outcome(False, {"kept": None})
    kept = ""
    if not check_mode:
        with host_lock(str(server.data_dir), "replica"):
            if split:
                # Without it Debian's tools know no cluster here, and the next boot starts none.
                conf.replace(conf.with_name("postgresql.conf.decommissioned"))
            if server.exists():
                kept = set_aside(server, "decommissioned", params["keep_data"])
            for place in leftovers:
                remove_tree(place)
    after = "moved aside" if params["keep_data"] else "removed"
    return Outcome(True, {"kept": kept or None}, "data: there\n", f"data: {after}\n")
