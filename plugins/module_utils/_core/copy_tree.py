# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a directory: by one program where it is small, several files at a time where that is faster."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run

#: Below so many bytes one program is as fast.
SMALL = 256 << 20
#: Files from this size on are copied each by a program of its own, the largest first.
_LARGE = 32 << 20
#: More at once gain nothing on a disk, and take the host's processors from everything else.
_MOST = 4
_COPY = ["cp", "-a", "--reflink=auto"]


def copy_tree(source: Path, target: Path, small: int = SMALL) -> None:
    """Copy a directory with its modes, times and links; blocks are shared where the filesystem can.

    `target` is the copy itself; it may be there, and what is in it is added to. Raises OpsError where a file can't be
    copied; what was copied until then stays.
    """
    sizes: dict[str, int] = {}
    folders = []
    for place, names, files in os.walk(source, onerror=_unreadable):
        below = Path(place).relative_to(source)
        folders.append(below)
        for name in [*files, *(one for one in names if Path(place, one).is_symlink())]:
            sizes[str(below / name)] = Path(place, name).lstat().st_size
    if sum(sizes.values()) < small:
        run([*_COPY, f"{source}/.", str(target)], guarded=True)
        return
    for folder in folders:
        (target / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        (target / folder).chmod(stat.S_IMODE((source / folder).stat().st_mode))
    ordered = sorted(sizes, key=lambda name: -sizes[name])
    _at_once([name for name in ordered if sizes[name] >= _LARGE], 1, source, target)
    _at_once([name for name in ordered if sizes[name] < _LARGE], 200, source, target)


def _unreadable(error: OSError) -> None:
    """A folder that can't be listed is not one without files."""
    raise OpsError(f"{error.filename} can't be copied: {error.strerror}") from error


def _at_once(names: list[str], each: int, source: Path, target: Path) -> None:
    """Copy files, `each` of them by one program, and as many programs at once as there are processors."""
    if not names:
        return
    most = str(min(len(os.sched_getaffinity(0)), _MOST))
    argv = ["xargs", "-0", "-n", str(each), "-P", most, *_COPY, "--parents", "-t", str(target), "--"]
    run(argv, stdin="\0".join(names), cwd=str(source), guarded=True)
