# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restored copy's time to live, kept by the drill host itself: production data must not outlive its purpose.

A marker beside the data directory says that the copy is ours and until when. A detached process removes the copy at
that time, whatever has become of the controller. After a reboot of the host the marker lets the next run clean up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import (
    read_text,
    remove_tree,
    wipe,
    write_atomic,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import alive, born, detach
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_LOOK_EVERY_SECONDS = 2.0


def _beside(data_dir: Path, ending: str) -> Path:
    return data_dir.with_name(f"{data_dir.name}.{ending}")


def tablespaces(data_dir: Path) -> Path:
    """Where a copy's tablespaces go."""
    return _beside(data_dir, "tablespaces")


def scratch(data_dir: Path) -> Path:
    """Where single WAL segments are fetched to be read."""
    return _beside(data_dir, "scratch")


def marker(data_dir: Path) -> dict[str, Any] | None:
    """What the marker says, or None where the data directory is not a copy of ours."""
    try:
        said: dict[str, Any] = json.loads(read_text(_beside(data_dir, "restore.json")) or "null")
        return said
    except ValueError:
        return None


def mark(data_dir: Path, seconds: float, claim: str, wiped: bool = False, replicas_dir: str = "") -> str:
    """Take the place for a copy of the run `claim`, and return the token that the watching process goes by.

    :param wiped: whoever removes it overwrites its files first
    :param replicas_dir: where servers are made from the copy, which go with it
    """
    token = os.urandom(8).hex()
    worker = {"pid": os.getpid(), "born": born(os.getpid())}
    said = {"token": token, "claim": claim, **worker, "until": time.time() + seconds, "wiped": wiped}
    said["replicas_dir"] = replicas_dir
    data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(_beside(data_dir, "restore.json"), json.dumps(said))
    return token


def note(data_dir: Path, **more: Any) -> None:
    """Add to what the marker says, where there is one."""
    said = marker(data_dir)
    if said:
        write_atomic(_beside(data_dir, "restore.json"), json.dumps({**said, **more}))


def keep(data_dir: Path) -> None:
    """Note that the copy is kept on request until its time is over."""
    note(data_dir, kept=True)


def discard(data_dir: Path, place: Path) -> bool:
    """Remove something of a copy, overwritten before where its marker says so; returns whether there was anything.

    Raises OpsError, after the removal, where it could not be overwritten.
    """
    said, cause = marker(data_dir), None
    if said and said.get("wiped"):
        try:
            wipe(place)
        except OSError as exc:
            cause = exc
    there = remove_tree(place)
    if cause is not None:
        raise OpsError(f"{place} was removed, but not all of it could be overwritten: {cause}")
    return there


def remove(server: Server) -> bool:
    """Stop a copy and remove all of it; returns whether there was anything. Raises OpsError as `discard` does."""
    pid = server.pid()
    if pid:
        # Nothing of a copy is worth a clean shutdown.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
        if not await_condition(lambda: not server.running(), 30):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await_condition(lambda: not server.running(), 10)
    data_dir = server.data_dir
    places = [data_dir, tablespaces(data_dir), scratch(data_dir), server.log_file]
    made = (marker(data_dir) or {}).get("replicas_dir")
    if made:
        # Before the copy itself, which they follow; and what was noted beside that while it was one of several.
        ours = _beside(data_dir, "restore.json")
        places = [Path(made), *places, *(one for one in data_dir.parent.glob(f"{data_dir.name}.*") if one != ours)]
        _end_processes_in(Path(made))
    _end_processes_in(data_dir)
    found, told = [], []
    for place in places:
        try:
            found.append(discard(data_dir, place))
        except OpsError as exc:
            told.append(str(exc))
    socket = Path(server.socket_dir) / f".s.PGSQL.{server.port}"
    for leftover in (socket, socket.with_name(socket.name + ".lock")):
        leftover.unlink(missing_ok=True)
    # Last, so that a removal that is interrupted is known as ours and finished by the next run.
    found.append(remove_tree(_beside(data_dir, "restore.json")))
    if told:
        raise OpsError("; ".join(told))
    return any(found)


def _end_processes_in(place: Path) -> None:
    """Kill what still works in a copy: busy children of a postmaster that was killed, or one that is just starting."""
    place = place.resolve()

    def inside() -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                works_in = (process / "cwd").readlink()
                if place in {works_in, *works_in.parents}:
                    found.append(int(process.name))
        return [pid for pid in found if alive(pid)]

    def gone() -> bool:
        for pid in inside():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return not inside()

    await_condition(gone, 10)


def arm(server: Server, token: str) -> None:
    """Start the detached process that removes the copy when its time is over."""
    detach(lambda: _watch(server, token))


def _watch(server: Server, token: str) -> None:
    while True:
        said = marker(server.data_dir)
        if not said or said.get("token") != token:
            return
        if time.time() >= said["until"]:
            # What stands in the way now, a full process table or a busy disk, may be gone the next time.
            with contextlib.suppress(OpsError, OSError):
                _expire(server, said)
        time.sleep(_LOOK_EVERY_SECONDS)


def _expire(server: Server, said: dict[str, Any]) -> None:
    """Remove the copy, under the lock, so that no new one is hit. A worker that is still at it is ended first."""
    worker = said["pid"]
    if alive(worker) and born(worker) == said.get("born"):
        os.kill(worker, signal.SIGKILL)
    with host_lock(str(server.data_dir), "time to live", 30):
        now = marker(server.data_dir)
        if now and now.get("token") == said["token"]:
            remove(server)
