# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration outside the data directory: no physical backup carries it, so it is copied to where one does."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import remove_tree, sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, one_line

try:
    import psycopg
except ImportError:
    psycopg = None

#: Below the data directory; everything of ours lies here.
FOLDER = "boringdb"
MANIFEST = f"{FOLDER}/manifest.json"
CONFIG = f"{FOLDER}/config"
#: Below CONFIG: files from outside the configuration directory, by their whole path.
ELSEWHERE = "elsewhere"

_NAMES = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "start.conf", "environment", "pg_ctl.conf")
_NAMED = """
SELECT setting FROM pg_catalog.pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file')
UNION SELECT sourcefile FROM pg_catalog.pg_settings WHERE sourcefile IS NOT NULL
"""
# What included files hold may be overridden, so that no setting names them. These views are a superuser's.
_INCLUDED = "SELECT DISTINCT sourcefile FROM pg_catalog.pg_file_settings WHERE sourcefile IS NOT NULL"
_HBA_INCLUDED = "SELECT DISTINCT file_name FROM pg_catalog.pg_hba_file_rules WHERE file_name IS NOT NULL"
_IDENT_INCLUDED = "SELECT DISTINCT file_name FROM pg_catalog.pg_ident_file_mappings WHERE file_name IS NOT NULL"


@dataclass(frozen=True)
class Copy:
    """One file that travels with the backup: where it comes from, its place below CONFIG, and what it holds."""

    source: str
    stored: str
    content: bytes


def outside(server: Server, connection: Any, major: int) -> tuple[list[Path], list[str]]:
    """The configuration files outside the data directory, and what could not be asked."""
    warnings = []
    named = {Path(row[0]) for row in connection.execute(_NAMED).fetchall() if row[0]}
    for query, since in ((_INCLUDED, 13), (_HBA_INCLUDED, 16), (_IDENT_INCLUDED, 16)):
        if major >= since:
            try:
                named |= {Path(row[0]) for row in connection.execute(query).fetchall()}
            except psycopg.Error as exc:
                warnings.append(f"some included configuration files may be missing from the backup: {one_line(exc)}")
    if server.config_dir != server.data_dir:
        named |= {server.config_dir / name for name in _NAMES}
        named |= set((server.config_dir / "conf.d").glob("*"))
    data = server.data_dir.resolve()
    found = [path for path in named if path.is_file() and data not in path.resolve().parents]
    return sorted(found), warnings


def stored_as(server: Server, path: Path) -> str:
    """Where below CONFIG a file goes: as in the configuration directory, or by its whole path."""
    if server.config_dir in path.parents:
        return str(path.relative_to(server.config_dir))
    return str(Path(ELSEWHERE, *path.parts[1:]))


def copies_of(server: Server, files: list[Path]) -> list[Copy]:
    """Configuration files with their content. Raises OSError naming one that cannot be read."""
    return [Copy(str(path), stored_as(server, path), path.read_bytes()) for path in files]


def copy_in(server: Server, copies: list[Copy]) -> list[dict[str, Any]]:
    """Write the copies below the data directory, replacing the earlier ones; returns what was stored."""
    folder = server.data_dir / FOLDER
    fresh = folder / "config.new"
    remove_tree(fresh)
    fresh.mkdir(mode=0o700)
    stored = []
    for copy in copies:
        target = fresh / copy.stored
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(copy.content)
            stream.flush()
            os.fsync(stream.fileno())
        digest = hashlib.sha256(copy.content).hexdigest()
        stored.append({"source": copy.source, "stored": copy.stored, "sha256": digest, "bytes": len(copy.content)})
    # A run that dies between these two lines leaves no copies; the next one makes them, before the backup.
    remove_tree(server.data_dir / CONFIG)
    fresh.rename(server.data_dir / CONFIG)
    sync_directory(folder)
    return stored
