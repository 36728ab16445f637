# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old primary, closed so that it can't take another row, and opened again where the switchover goes back.

Settings that make a server read-only are no fence: a session sets them back. The fence is `pg_controldata` saying
"shut down", with a standby.signal that was on the disk before: whoever starts the server then starts a replica.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import boot_guard_places
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

#: What pg_controldata says of a primary that was stopped in good order. A replica is "shut down in recovery".
CLOSED = "shut down"
_STATE_AT = 16
_SHUT_DOWN = 1
_EVERY_SECONDS = 0.001
#: How long what still archives is waited for before it is cut off, when clients wait for the way back.
_ARCHIVER_SECONDS = 5


def signal_file(server: Server) -> Path:
    """The file that makes a server start as a replica."""
    return server.data_dir / "standby.signal"


def mark(server: Server) -> None:
    """Have the signal on the disk, owned as the data is. A server that runs takes no notice of it."""
    place = signal_file(server)
    owner = server.data_dir.stat()
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchown(handle, owner.st_uid, owner.st_gid)
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_directory(server.data_dir)


def unmark(server: Server) -> bool:
    """Take the signal away; returns whether it was there."""
    try:
        signal_file(server).unlink()
    except FileNotFoundError:
        return False
    sync_directory(server.data_dir)
    return True


def close(server: Server, seconds: float) -> str:
    """Shut the server down fast, and wait for the fence alone; returns the position of its last checkpoint.

    The process may live on: it still archives, which nobody has to wait for.
    """
    pid = server.pid()
    if not pid:
        raise OpsError(f"the server on {server.data_dir} has ended by itself: {server.last_words()}")
    # What pg_ctl sends; a unit of systemd's takes an end in good order as one.
    os.kill(pid, signal.SIGINT)
    in_time = await_condition(lambda: _shut_down(server) or not server.running(), seconds, every=_EVERY_SECONDS)
    control = server.control()
    if control.get("Database cluster state") == CLOSED:
        return control["Latest checkpoint location"]
    state = control.get("Database cluster state", "unknown")
    how = "ended" if in_time else f"was not shut down within {seconds:g} s"
    raise OpsError(f"the server on {server.data_dir} {how}, and pg_controldata says {state!r}: {server.last_words()}")


def closed_at(server: Server) -> str:
    """The position of the last checkpoint of a primary that is closed, empty where it is not."""
    control = server.control()
    closed = control.get("Database cluster state") == CLOSED and not server.running()
    return control["Latest checkpoint location"] if closed else ""


def _shut_down(server: Server) -> bool:
    """Whether the control file's state says so. It is read every millisecond; pg_controldata has the last word."""
    try:
        with (server.data_dir / "global/pg_control").open("rb") as control:
            start = control.read(_STATE_AT + 4)
    except OSError:
        return False
    return len(start) == _STATE_AT + 4 and struct.unpack_from("=i", start, _STATE_AT)[0] == _SHUT_DOWN


def closing(server: Server) -> bool:
    """Whether a server that is closed still lives, because it archives."""
    return server.running() and server.control().get("Database cluster state") == CLOSED


def end(server: Server, seconds: float, patience: float = _ARCHIVER_SECONDS) -> None:
    """Wait until the process is gone. Once the fence holds, nothing but archiving is cut off, and done again later."""
    pid = server.pid()
    if not pid or await_condition(lambda: not server.running(), patience, every=0.01):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    if not await_condition(lambda: not server.running(), seconds, every=0.01):
        raise OpsError(f"the server on {server.data_dir} (pid {pid}) does not end after {seconds:g} s; end it yourself")


def reopen(server: Server, seconds: float) -> None:
    """Start the old primary as a primary again. Only for where nobody was told to promote."""
    unmark(server)
    # Whoever watches over the service may have started it: with the signal it came up as a replica.
    if server.running() and _in_recovery(server):
        server.stop(seconds)
    if not server.running():
        boot_guard_places.pass_once(server.service, server.data_dir)
        server.start(seconds)
    if _in_recovery(server):
        raise OpsError(f"the server on {server.data_dir} came back as a replica; look at its log")


def _in_recovery(server: Server) -> bool:
    server.await_ready(30)
    with server.connect() as connection:
        return bool(connection.execute("SELECT pg_is_in_recovery()").fetchone()[0])
