# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source server, its backups, and started copies of them: the ground for `backup_manifest` and `verify`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from embedded_servers import Server, as_user, free_port

from tests.modules import module as run_module


def module(server: Server, word: str, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
    """Run a module on `server` as its owner; returns its result."""
    given = {
        "data_dir": str(server.data_dir),
        "bin_dir": str(server.bin_dir),
        "socket_dir": str(server.socket_dir),
        "port": server.port,
        **options,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return run_module(word, check=check, fails=fails, owner=server.owner, **given)


def backup(server: Server, name: str = "backup", *options: str) -> Path:
    """A plain native backup beside the server's data directory."""
    folder = server.socket_dir / name
    server.run(
        "pg_basebackup", "-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", "-D", folder,
        "--checkpoint=fast", *options,
    )  # fmt: skip
    return folder


def copy_of(server: Server, folder: Path, name: str = "copy", start: bool = True) -> Server:
    """A server on a copy of the backup `folder`; the backup itself stays as it is."""
    data = server.socket_dir / name
    words = [*as_user(server.owner), "cp", "-a", str(folder), str(data)]
    subprocess.run(words, check=True, cwd="/", capture_output=True, timeout=120)
    copy = Server(free_port(), server.socket_dir, data, server.bin_dir, server.owner)
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"port = {copy.port}\nautovacuum = off\nfsync = off\n")
    if start:
        copy.start()
    return copy


def verify(copy: Server, **options: Any) -> dict[str, dict[str, Any]]:
    """The checks by name; `_` is the module's whole result."""
    result = module(copy, "verify", **options)
    return {"_": result, **{check["name"]: check for check in result["checks"]}}


def failed(checks: dict[str, dict[str, Any]]) -> set[str]:
    """The names of the checks that failed."""
    return {name for name, check in checks.items() if name != "_" and check["status"] == "failed"}


def path_of(server: Server, relation: str, dbname: str = "postgres") -> str:
    """A relation's file below the data directory."""
    return server.psql(f"SELECT pg_relation_filepath('{relation}')", dbname=dbname)


def put_back(saved: Path, target: Path, owner: str) -> None:
    """Replace a file by an older copy of it, as a backup would that missed what came after."""
    shutil.copyfile(saved, target)
    if os.geteuid() == 0:
        shutil.chown(target, owner)
