# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy beside its own source: recovery must not write into a tablespace that the running source uses.

The tablespaces of a backup are put elsewhere. One that was created after the backup is not in it: recovery makes it
at the place that the log names, without asking whether somebody uses it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError


def require_apart(data_dir: Path) -> None:
    """Raise OpsError where a running server of the same cluster on this host has a tablespace that the copy lacks."""
    own = _tablespaces(data_dir)
    for source in _running():
        if source == data_dir or _identity(source) != _identity(data_dir):
            continue
        for number, place in _tablespaces(source).items():
            if number not in own:
                raise OpsError(
                    f"tablespace {place} of the running server in {source} was created after this backup; recovery "
                    "would write into it on this host (take a new backup, or restore on another host)"
                )


def _running() -> Iterator[Path]:
    """The data directories of the servers that run on this host, as far as this account may see them."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            place = (process / "cwd").readlink()
            if place not in seen and (process / "comm").read_text().startswith("postgres"):
                seen.add(place)
                yield place


def _tablespaces(data_dir: Path) -> dict[str, str]:
    """The places of a data directory's tablespaces by their number."""
    with contextlib.suppress(OSError):
        return {link.name: str(link.readlink()) for link in (data_dir / "pg_tblspc").iterdir() if link.is_symlink()}
    return {}


def _identity(data_dir: Path) -> bytes:
    """The system identifier, with which pg_control begins; empty where it can't be read."""
    with contextlib.suppress(OSError), (data_dir / "global/pg_control").open("rb") as stream:
        return stream.read(8)
    return b""
