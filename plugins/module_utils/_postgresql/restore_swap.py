# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchange of an old data directory for a new one by renames, with its tablespaces and its configuration.

Nothing is deleted: what was there gets an ending. Each step looks at what is there, so that a killed run is finished by
doing all of it again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    is_empty,
    read_text,
    remove_tree,
    sync_directory,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import CONFIG, ELSEWHERE
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.recovery import KEPT, SET_ASIDE
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.restore_planner import existing
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: The ending of a tablespace's new files until they are exchanged.
NEW = ".restoring"
_CERTIFICATES = ("*.crt", "*.key", "*.pem", "*.crl")


def locations(data_dir: Path) -> dict[str, Path]:
    """Where the tablespaces of a data directory lie, by OID."""
    links = data_dir / "pg_tblspc"
    return {link.name: link.readlink() for link in links.iterdir() if link.is_symlink()} if links.is_dir() else {}


def movable(data_dir: Path, preflight: Preflight) -> None:
    """Note what stands in the way of moving a data directory and its tablespaces aside."""
    spaces = [("the tablespace", place) for place in locations(data_dir).values()]
    for what, place in [("the data directory", data_dir), *spaces]:
        preflight.require(
            not os.path.ismount(place),
            f"{what} {place} is a mount point and can't be moved aside",
            "let the data lie in a directory below it",
        )
        parent = existing(place.parent)
        preflight.require(
            os.access(parent, os.W_OK | os.X_OK),
            f"{parent} is not writable: {what} in it can't be moved aside",
            "let this account write there",
        )


def move_aside(data_dir: Path, aside: Path, ending: str) -> list[str]:
    """Rename a data directory and its tablespaces; the old one stays a whole one. Returns what was moved."""
    moved = []
    for location in set(locations(data_dir).values()):
        if not location.name.endswith(ending):
            moved.append(_tablespace_aside(location, ending))
            _point(data_dir, location, location.with_name(location.name + ending))
    if data_dir.exists() and not is_empty(data_dir):
        if aside.exists():
            raise OpsError(f"{aside} is there already; look at it, and move it away")
        data_dir.rename(aside)
        sync_directory(data_dir.parent)
        moved.append(str(aside))
    return moved


def move_back(data_dir: Path, aside: Path, ending: str, away: Path, away_ending: str) -> None:
    """Put what was moved aside back in its place, and what is there now away."""
    if not aside.exists():
        return
    homes = {one: one.with_name(one.name.removesuffix(ending)) for one in locations(aside).values()}
    if data_dir.exists():
        move_aside(data_dir, away, away_ending)
    for moved, home in homes.items():
        if moved.name.endswith(ending) and moved.exists():
            if home.exists():
                home.rename(home.with_name(home.name + away_ending))
            moved.rename(home)
            sync_directory(home.parent)
        _point(aside, moved, home)
    aside.rename(data_dir)
    sync_directory(data_dir.parent)


def later_aside(old: Path, later: list[Path], ending: str) -> None:
    """Move tablespaces aside that the backup does not know: recovery makes them anew, where they were.

    It would write into the old ones without asking.
    """
    for location in later:
        target = location.with_name(location.name + ending)
        _tablespace_aside(location, ending)
        _point(old, location, target)
        if target.exists():
            # What a killed recovery has put there; the old files are at the target.
            remove_tree(location)
            location.mkdir(mode=0o700)


def later_back(old: Path, later: list[Path], ending: str) -> None:
    """Put them back, for a restore that was given up before the exchange."""
    for location in later:
        moved = location.with_name(location.name + ending)
        if moved.exists():
            remove_tree(location)
            moved.rename(location)
            sync_directory(location.parent)
        _point(old, moved, location)


def exchange(new: Path, data_dir: Path, aside: Path, ending: str, homes: dict[str, Path]) -> None:
    """Put the new data directory in the old one's place, its tablespaces to `homes` by OID."""
    old = data_dir if new.exists() else aside
    if new.exists() and data_dir.exists():
        _old_tablespaces_aside(old, ending, set(homes.values()))
    for oid, home in homes.items():
        fresh = home.with_name(home.name + NEW)
        if fresh.exists():
            if home.exists():
                _tablespace_aside(home, ending)
            fresh.rename(home)
            sync_directory(home.parent)
        link = (new if new.exists() else data_dir) / "pg_tblspc" / oid
        if link.is_symlink() and link.readlink() != home:
            _link(link, home)
    if new.exists():
        if data_dir.exists() and is_empty(data_dir):
            data_dir.rmdir()
        if data_dir.exists():
            data_dir.rename(aside)
        new.rename(data_dir)
        sync_directory(data_dir.parent)


def _old_tablespaces_aside(old: Path, ending: str, wanted: set[Path]) -> None:
    for location in set(locations(old).values()):
        # One that the new data directory has no use for stays where it is.
        if location in wanted and not location.name.endswith(ending):
            if location.with_name(location.name + NEW).exists():
                _tablespace_aside(location, ending)
            _point(old, location, location.with_name(location.name + ending))


def _tablespace_aside(location: Path, ending: str) -> str:
    target = location.with_name(location.name + ending)
    if location.exists() and not target.exists():
        location.rename(target)
        sync_directory(location.parent)
    return str(target)


def _point(data_dir: Path, location: Path, target: Path) -> None:
    for oid, at in locations(data_dir).items():
        if at == location:
            _link(data_dir / "pg_tblspc" / oid, target)


def _link(link: Path, target: Path) -> None:
    """Re-point a link in one step."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
    sync_directory(link.parent)


# --- configuration ----------------------------------------------------------------------------------------------


def carry_configuration(new: Path, old: Path | None) -> None:
    """Give a new data directory the configuration of the old one, or where there is none the backup's own."""
    for name in SET_ASIDE:
        kept = new / f"{name}{KEPT}"
        source = old / name if old else kept
        if not source.exists():
            (new / name).unlink(missing_ok=True)
        else:
            _copy(source, new / name)
    if old:
        for pattern in _CERTIFICATES:
            for file in old.glob(pattern):
                _copy(file, new / file.name)
    if old and (old / "conf.d").is_dir():
        kept = new / f"conf.d{KEPT}"
        if (new / "conf.d").is_dir() and not kept.exists():
            (new / "conf.d").rename(kept)
        shutil.copytree(old / "conf.d", new / "conf.d", dirs_exist_ok=True)
    sync_directory(new)


def _copy(source: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.carried")
    shutil.copy2(source, beside)
    beside.replace(target)


def bring_back_outside(server: Server, new: Path) -> list[str]:
    """Where the configuration outside the data directory is gone, the backup's copy of it. Returns what came back."""
    if server.config_dir == server.data_dir or (server.config_dir / "postgresql.conf").exists():
        return []
    stored = new / CONFIG
    if not (stored / "postgresql.conf").exists():
        raise OpsError(
            f"{server.config_dir} holds no postgresql.conf, and the backup no copy of it; write it, then run again"
        )
    shutil.copytree(stored, server.config_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns(ELSEWHERE))
    return sorted(str(path.relative_to(stored)) for path in stored.rglob("*") if path.is_file())


def auto_setting(data_dir: Path, name: str, value: str | None) -> str | None:
    """Set a line of postgresql.auto.conf, or take it out; returns the line that was there."""
    file = data_dir / "postgresql.auto.conf"
    lines = read_text(file).splitlines()
    was = [line for line in lines if line.split("=")[0].strip() == name]
    kept = [line for line in lines if line not in was] + ([value] if value is not None else [])
    if kept != lines:
        beside = file.with_name(".auto.new")
        beside.write_text("\n".join([*kept, ""]))
        beside.chmod(0o600)
        beside.replace(file)
    return was[-1] if was else None
