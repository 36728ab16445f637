# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clone's tablespaces: they lie outside the data directory, so a killed clone leaves them behind at their places.

A note beside the data directory lists the places that were empty when a clone began. It goes when the clone is whole,
whose own links then tell the places until it is renamed: at no moment is anything taken for a clone's that is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    is_empty,
    read_text,
    remove_tree,
    write_atomic,
)

#: What PostgreSQL keeps a tablespace's files in, e.g. PG_15_202209061.
_CONTENT = re.compile(r"^PG_\d+_\d+$")


def beside(data_dir: Path) -> Path:
    """Where a clone grows."""
    return data_dir.with_name(f"{data_dir.name}.cloning")


def _note(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}.cloning-tablespaces")


def _left_behind(data_dir: Path) -> set[Path]:
    """The places that a killed clone may have written to."""
    noted = read_text(_note(data_dir))
    if noted:
        # Until it is whole its links may lead to where it was copied from.
        return {Path(place) for place in json.loads(noted)}
    links = beside(data_dir) / "pg_tblspc"
    return {link.readlink() for link in links.iterdir() if link.is_symlink()} if links.is_dir() else set()


def require_free(data_dir: Path, places: Iterable[str], preflight: Preflight) -> None:
    """Note every place that holds something that no killed clone of ours left there."""
    ours = _left_behind(data_dir)
    for place in map(Path, places):
        if place in ours or not place.is_dir():
            continue
        preflight.require(is_empty(place), f"{place}, where a tablespace of the primary goes, is not empty", "empty it")


def begin(data_dir: Path, places: Iterable[str], copied: bool = False) -> None:
    """Clear what a killed clone left, and note where this one is going to write. `copied`: out of a repository."""
    clear(data_dir)
    places = sorted(places)
    if places or copied:
        write_atomic(_note(data_dir), json.dumps(places))


def clear(data_dir: Path) -> None:
    """Remove a clone that is not whole, its tablespaces first: it tells where they are."""
    for place in _left_behind(data_dir):
        for entry in place.iterdir() if place.is_dir() else ():
            if _CONTENT.match(entry.name):
                remove_tree(entry)
    remove_tree(beside(data_dir))
    _note(data_dir).unlink(missing_ok=True)


def whole(data_dir: Path) -> None:
    """The clone is complete: from here on its links tell where its tablespaces are."""
    _note(data_dir).unlink(missing_ok=True)
