# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported what modules import, and forks for each run of one.

A module starts in a third of a second, nearly all of it importing; a fork takes a hundredth. This serves a socket
until its standard input ends, so that it never outlives who started it. Who connects hands over its standard streams
and says, marshalled, what is to run and with what `environment`, `directory` and `umask`: a Python `program`, or else
the program that comes by the standard input, which is how Ansible's pipelining starts modules. It runs as the account
that asks, or as the `account` that root names. One byte comes back at its end, the exit status; none when killed.

What runs so has the command line and the first environment of this process. Tests that know processes by those start
theirs for themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import marshal
import os
import pkgutil
import pwd
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

_MODULES = "ansible_collections.boringdb.ops.plugins.modules"
#: The interpreter of a host that asks this process; with arguments it is the real one.
CLIENT = """#!{python} -ISE
import _socket, marshal, os, sys
if len(sys.argv) > 1:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
umask = os.umask(0)
try:
    directory = os.getcwd()
except OSError:
    directory = "/"
asked = marshal.dumps({{"environment": dict(os.environ), "directory": directory, "umask": umask}})
it = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
it.connect({path!r})
streams = b"".join(one.to_bytes(4, sys.byteorder) for one in (0, 1, 2))
it.sendmsg([len(asked).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
it.sendall(asked)
os._exit((it.recv(1) or b"\\x89")[0])
"""


def serve(path: str, collections: str) -> None:
    """Answer until the standard input ends."""
    _load(collections)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        Path(path).chmod(0o777)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready = select.select([listener, sys.stdin], [], [])[0]
            if sys.stdin in ready:
                return
            connection = listener.accept()[0]
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()


def _load(collections: str) -> None:
    """Import what modules import. Modules themselves run as `__main__`, which must not be there before."""
    sys.path.insert(0, collections)
    from ansible.module_utils import basic
    from ansible.module_utils._internal._ansiballz import _loader  # noqa: F401

    # ansible-core 2.19 wants a profile named before a module reads its options.
    basic._ANSIBLE_PROFILE = "legacy"  # type: ignore[attr-defined]
    for one in pkgutil.iter_modules(importlib.import_module(_MODULES).__path__):
        importlib.import_module(f"{_MODULES}.{one.name}")
        del sys.modules[f"{_MODULES}.{one.name}"]
        delattr(sys.modules[_MODULES], one.name)


def _answer(connection: socket.socket) -> None:
    """Be what is asked for. Never returns."""
    code = 1
    try:
        head, streams, _flags, _address = socket.recv_fds(connection, 4, 3)
        asked = marshal.loads(_received(connection, int.from_bytes(head, "big")))
        for source, target in zip(streams, (0, 1, 2)):
            os.dup2(source, target)
            os.close(source)
        _be(connection, asked)
        code = _run(asked.get("program"))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        # Nobody may wait for it any more.
        with contextlib.suppress(OSError):
            connection.send(bytes([code & 255]))
        os._exit(code)


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError("who asked is gone")
        data += piece
    return data


def _be(connection: socket.socket, asked: dict[str, Any]) -> None:
    """Have the account, the environment and the place of who asks."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == 0 and asked.get("account"):
        account = pwd.getpwnam(asked["account"])
        uid, gid = account.pw_uid, account.pw_gid
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    os.umask(asked["umask"])
    os.chdir(asked["directory"])


def _run(program: str | None) -> int:
    """Run it as Python runs a program; returns the exit status."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [""]
    program = program or sys.stdin.read()
    if "ansible_collections." in program and "ansible_collections.boringdb." not in program:
        # Another collection's module comes with all it needs, and would find ours in its place.
        for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
            del sys.modules[name]
    try:
        exec(compile(program, "<stdin>", "exec"), main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
