# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported what our modules import, and forks for each run of one.

A module starts in a third of a second, nearly all of it importing; a fork takes a hundredth. It serves a socket
until its standard input ends, so that it never outlives who started it. A request is one JSON object, closed by the
end of what is sent: `word` (the module), `options` (what it reads from its standard input) and `environment`.
The answer is what the module said: `stdout` and `stderr`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from typing import Any


def serve(path: str, collections: str) -> None:
    """Answer until the standard input ends."""
    sys.path.insert(0, collections)
    from ansible.module_utils import basic

    # ansible-core 2.19 wants a profile named before a module reads its options.
    basic._ANSIBLE_PROFILE = "legacy"  # type: ignore[attr-defined]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready = select.select([listener, sys.stdin], [], [])[0]
            if sys.stdin in ready:
                return
            connection = listener.accept()[0]
            with connection:
                request = json.loads(received(connection))
                # Before the fork, so that it is imported once; what fails here is told by the run itself.
                with contextlib.suppress(Exception):
                    module(request["word"])
                if os.fork() == 0:
                    listener.close()
                    answer(connection, request)
                    os._exit(0)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side has said all."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def module(word: str) -> Any:
    """The module's code."""
    return importlib.import_module(f"ansible_collections.boringdb.ops.plugins.modules.{word}")


def answer(connection: socket.socket, request: dict[str, Any]) -> None:
    """Run it in a process of its own, and tell what it said."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            connection.close()
            run(request, out.fileno(), err.fileno())
        os.waitpid(child, 0)
        said = {}
        for name, stream in (("stdout", out), ("stderr", err)):
            stream.seek(0)
            said[name] = stream.read().decode(errors="replace")
    # Nobody may wait for it any more.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(said).encode())


def run(request: dict[str, Any], out: int, err: int) -> None:
    """Be the module. Never returns."""
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    code = 0
    try:
        from ansible.module_utils import basic

        basic._ANSIBLE_ARGS = request["options"].encode()  # type: ignore[attr-defined]
        module(request["word"]).main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
