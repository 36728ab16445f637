# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there: written beside, synced, renamed, and the directory synced too."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

_ZEROS = bytes(1 << 20)


def sync_directory(path: str | Path) -> None:
    """Make renames and creations in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: str | Path) -> None:
    """Make everything below a directory durable. Links are not followed out of it."""
    for folder, _folders, files in os.walk(path, topdown=False):
        for name in files:
            place = Path(folder, name)
            if not place.is_symlink():
                handle = os.open(place, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
        sync_directory(folder)


def write_atomic(path: str | Path, content: str, mode: int = 0o600) -> None:
    """Put `content` at `path` in one step; after a crash there is the old content or the new, never half."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def read_text(path: str | Path) -> str:
    """The text of a file, or an empty string where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_empty(path: str | Path) -> bool:
    """True where there is nothing: no such path, or a directory without entries."""
    place = Path(path)
    return not place.exists() or (place.is_dir() and not any(place.iterdir()))


def wipe(path: str | Path) -> int:
    """Overwrite the files of a tree with zeros, on the disk, and leave them there; returns how many bytes those are.

    A file that has another name elsewhere is left alone. Raises OSError at the end for what could not be overwritten.
    """
    place, written, first = Path(path), 0, None
    inside = (Path(folder, name) for folder, _folders, names in os.walk(place) for name in names)
    for file in [place] if place.is_file() else inside:
        try:
            seen = file.lstat()
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
                written += _zero(file, seen.st_size)
        except FileNotFoundError:
            continue
        except OSError as exc:
            first = first or exc
    if first is not None:
        raise first
    return written


def _zero(file: Path, size: int) -> int:
    with file.open("r+b", buffering=0) as stream:
        left = size
        while left > 0:
            left -= stream.write(_ZEROS[: min(left, len(_ZEROS))])
        os.fsync(stream.fileno())
    return size


def remove_tree(path: str | Path) -> bool:
    """Remove a directory and all in it; returns whether there was one."""
    place = Path(path)
    if place.is_symlink() or place.is_file():
        place.unlink()
        return True
    if not place.exists():
        return False
    shutil.rmtree(place)
    return True
