# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_rewind, done so that a server half rewound can't be started: beside the data directory, and renamed at its end.

What only this member has, the WAL after the fork, is copied away before anything is changed. The files of its
configuration stay its own: pg_rewind would bring the primary's.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Reason, Refused
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    remove_tree,
    sync_directory,
    sync_tree,
    write_atomic,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn, rejoin_plan
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.rejoin_account import ACCOUNT
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import open_repository
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import CLEAN_STATES, Server

#: Files in the data directory that are the engine's; all others there are somebody's configuration.
_ENGINES = {
    "PG_VERSION", "backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest",
    "postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "current_logfiles",
}  # fmt: skip
#: Directories of configuration.
_FOLDERS = ("conf.d",)
_SIGNALS = ("standby.signal", "recovery.signal", "postmaster.pid")
#: pg_rewind takes a configuration file from this version on.
_CONFIG_FILE = 15


def rewound(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Rewind a server that is stopped, or go on where an earlier run was killed."""
    beside = rejoin_plan.beside(server)
    if check_mode:
        return Outcome(True, {}, "timeline: its own\n", "timeline: the primary's\n")
    with host_lock(str(server.data_dir), "rejoin"):
        if server.running():
            raise OpsError(f"the server on {server.data_dir} runs; stop it")
        again = beside.exists()
        if again and server.exists():
            raise OpsError(f"{beside} and {server.data_dir} are both there; decide which one is right")
        kept = "" if again else _set_beside(server, params, beside)
        here = replace(server, data_dir=beside, config_dir=_config_dir(server, beside))
        for name in _SIGNALS:
            (beside / name).unlink(missing_ok=True)
        if not (again and _whole(here)):
            try:
                _recover(here)
                _rewind(server, here, params, "--dry-run")
            except OpsError as exc:
                raise _given_up(server, beside, str(exc), again) from exc
            _rewind(server, here, params)
        _put_back(server, beside)
    facts = {"kept": kept or None, "goes_on": again}
    return Outcome(True, facts, "timeline: its own\n", "timeline: the primary's\n")


def _whole(here: Server) -> bool:
    """Whether pg_rewind came to its end: it writes the control file last, after the label that recovery begins at."""
    label = (here.data_dir / "backup_label").exists()
    return label and here.control().get("Database cluster state") not in CLEAN_STATES


def _own(server: Server) -> Path:
    """Where its configuration is meanwhile."""
    return server.data_dir.with_name(f"{server.data_dir.name}.rewinding-own")


def _config_dir(server: Server, beside: Path) -> Path:
    return beside if server.config_dir == server.data_dir else server.config_dir


def _set_beside(server: Server, params: Params, beside: Path) -> str:
    """Copy away what is only here, then move the data; returns where the WAL is that only this member has."""
    own, made = _own(server), _own(server).with_name(f"{_own(server).name}.partial")
    remove_tree(made)
    remove_tree(own)
    made.mkdir(mode=0o700)
    for place in server.data_dir.iterdir():
        if place.is_file() and not place.is_symlink() and place.name not in _ENGINES:
            shutil.copy2(place, made / place.name)
        elif place.is_dir() and place.name in _FOLDERS:
            shutil.copytree(place, made / place.name, symlinks=True)
    sync_tree(made)
    made.rename(own)
    kept = _salvaged(server, params)
    server.data_dir.rename(beside)
    sync_directory(beside.parent)
    return kept


def _salvaged(server: Server, params: Params) -> str:
    """Copy the WAL from the fork on; returns where it is."""
    lost = params["lost"]
    if not lost:
        return ""
    timeline, fork = int(lost["timeline"]), int(lost["start"])
    place = rejoin_plan.diverged_place(server, timeline, fork)
    if place.exists():
        return str(place)
    made = place.with_name(f"{place.name}.partial")
    remove_tree(made)
    made.mkdir(mode=0o700)
    for file in sorted((server.data_dir / "pg_wal").iterdir()):
        if lsn.SEGMENT.match(file.name) and _after(file, timeline, fork, int(lost["end"])):
            shutil.copy2(file, made / file.name)
    write_atomic(made / "diverged.json", json.dumps(lost, indent=1, sort_keys=True) + "\n")
    sync_tree(made)
    made.rename(place)
    sync_directory(place.parent)
    return str(place)


def _after(file: Path, timeline: int, fork: int, end: int) -> bool:
    """Whether a segment is of the timeline and reaches into what was lost."""
    size = file.stat().st_size
    if lsn.segment_timeline(file.name) != timeline or not size:
        return False
    start = lsn.segment_start(file.name, size)
    return start <= end and start + size > fork


def _recover(here: Server) -> None:
    """End what a crash has left, as pg_rewind would, and with the data directory where it is now."""
    if here.control().get("Database cluster state") in CLEAN_STATES:
        return
    settings = {
        "config_file": here.config_dir / "postgresql.conf", "data_directory": here.data_dir, "archive_mode": "off",
        "synchronous_standby_names": "", "logging_collector": "off", "log_destination": "stderr",
    }  # fmt: skip
    argv = [here.program("postgres"), "--single", "-F", "-D", str(here.data_dir)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    done = run([*argv, "template1"], check=False, guarded=True)
    state = here.control().get("Database cluster state")
    if done.returncode != 0 or state not in CLEAN_STATES:
        raise OpsError(f"its own recovery failed: {failure(done)}")


def _rewind(server: Server, here: Server, params: Params, *words: str) -> None:
    source = {
        "host": params["primary_address"], "port": str(params["primary_port"]), "user": ACCOUNT,
        "dbname": server.login_db, "connect_timeout": "10", "application_name": "boringdb.ops",
    }  # fmt: skip
    given = " ".join(f"{name}='{value}'" for name, value in source.items())
    argv = [here.program("pg_rewind"), "-D", str(here.data_dir), f"--source-server={given}", "--no-ensure-shutdown"]
    if params["tool"] and here.major >= _CONFIG_FILE:
        place = _own(server).with_name(f"{_own(server).name}.conf")
        command = open_repository(params, server.program).restore_command(here.data_dir)
        write_atomic(place, "restore_command = '" + command.replace("'", "''") + "'\n")
        argv += ["--restore-target-wal", f"--config-file={place}"]
    done = run([*argv, *words], check=False, guarded=True, env={"PGPASSWORD": params["rewind_password"] or ""})
    if done.returncode != 0:
        raise OpsError(failure(done))


def _given_up(server: Server, beside: Path, why: str, again: bool) -> OpsError:
    """Nothing of it was changed but its own recovery, unless an earlier run did: put it back, as a replica."""
    if not again:
        (beside / "standby.signal").touch(0o600)
        beside.rename(server.data_dir)
        sync_directory(server.data_dir.parent)
        _clear(server)
    refused = Refused(
        [Reason(f"it can't be rewound: {why}", "rejoin_reclone=true sets its data aside and clones it anew")]
    )
    refused.facts = {"must_reclone": True}
    return refused


def _put_back(server: Server, beside: Path) -> None:
    """Its own configuration, and the name that it is started by; from here on it is a replica.

    The copy goes before the name is given back: a run killed in between finds none, and has only the name to give.
    """
    own = _own(server)
    for place in own.iterdir() if own.exists() else ():
        target = beside / place.name
        if place.is_dir():
            remove_tree(target)
            shutil.copytree(place, target, symlinks=True)
        else:
            shutil.copy2(place, target)
    (beside / "standby.signal").touch(0o600)
    sync_tree(beside)
    _clear(server)
    if server.data_dir.exists():
        server.data_dir.rmdir()
    beside.rename(server.data_dir)
    sync_directory(server.data_dir.parent)


def _left(server: Server) -> list[Path]:
    """What there is of the copy of its configuration."""
    own = _own(server)
    places = (own, own.with_name(f"{own.name}.partial"), own.with_name(f"{own.name}.conf"))
    return [place for place in places if place.exists()]


def _clear(server: Server) -> None:
    own = _own(server)
    if own.exists():
        # At once: half of it would be taken for all.
        gone = own.with_name(f"{own.name}.partial")
        remove_tree(gone)
        own.rename(gone)
        sync_directory(own.parent)
    remove_tree(own.with_name(f"{own.name}.partial"))
    own.with_name(f"{own.name}.conf").unlink(missing_ok=True)


def set_aside(server: Server, params: Params, check_mode: bool) -> Outcome:
    """For a clone: what can't be rewound is moved out of the way, also where an earlier run was killed over it."""
    del params
    beside = rejoin_plan.beside(server)
    if not beside.exists():
        return Outcome(False, {"kept": None})
    number = os.getpid()
    place = beside.with_name(f"{server.data_dir.name}.replaced-rewinding-{number}")
    if not check_mode:
        with host_lock(str(server.data_dir), "rejoin"):
            beside.rename(place)
            sync_directory(place.parent)
            _clear(server)
    return Outcome(True, {"kept": str(place)}, f"{beside.name}: there\n", f"{place.name}: there\n")


def finished(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Take away what a run has left that was killed after it gave up. What an unfinished rewind goes on with stays."""
    del params
    before = "".join(f"{place.name}: there\n" for place in _left(server))
    if rejoin_plan.beside(server).exists() or not before:
        return Outcome(False)
    if not check_mode:
        with host_lock(str(server.data_dir), "rejoin"):
            if rejoin_plan.beside(server).exists():
                raise OpsError(f"a rewind of {server.data_dir} has begun meanwhile; run it again")
            _clear(server)
    return Outcome(True, {}, before, "")
