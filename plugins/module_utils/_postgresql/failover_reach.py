# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server answers on a port, asked by hand: nothing but Python is needed on the host that asks.

What pg_isready does: a start-up packet, and whatever a living server has to say to it. A process that hangs says
nothing, though the kernel takes the connection for it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

#: Nobody has this name; a server that refuses it lives.
_ACCOUNT = "boringdb_failover"
_PROTOCOL = 3 << 16
#: cannot_connect_now: it starts, recovers, or ends.
_NOT_NOW = "57P03"
#: works: it lets clients in, or would. starts: it lives and lets nobody in. silent: nothing.
ANSWERS = ("works", "starts", "silent")


def ask(host: str, port: int, seconds: float) -> dict[str, str]:
    """What a server answers, with the reason where that is nothing."""
    words = b"".join(word.encode() + b"\0" for word in ("user", _ACCOUNT, "database", "postgres")) + b"\0"
    packet = struct.pack("!ii", len(words) + 8, _PROTOCOL) + words
    try:
        with socket.create_connection((host, port), timeout=seconds) as line:
            line.settimeout(seconds)
            line.sendall(packet)
            answer = line.recv(4096)
    except socket.timeout:
        return {"answer": "silent", "why": f"no answer within {seconds:g} s"}
    except OSError as exc:
        return {"answer": "silent", "why": exc.strerror or str(exc)}
    if answer[:1] == b"E":
        state = _sqlstate(answer)
        return {"answer": "starts" if state == _NOT_NOW else "works", "why": f"it says {state}"}
    if answer[:1] == b"R":
        return {"answer": "works", "why": "it asks for a password or lets in"}
    return {"answer": "silent", "why": "it hung up" if not answer else "what answers is no PostgreSQL"}


def _sqlstate(answer: bytes) -> str:
    for field in answer[5:].split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode(errors="replace")
    return "nothing"


def ask_all(places: Mapping[str, Mapping[str, Any]], seconds: float) -> dict[str, dict[str, str]]:
    """Ask every place at once; by the names of the places."""
    found: dict[str, dict[str, str]] = {}

    def one(name: str) -> None:
        found[name] = ask(str(places[name]["host"]), int(places[name]["port"]), seconds)

    asking = [threading.Thread(target=one, args=(name,), daemon=True) for name in places]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return {name: found[name] for name in places if name in found}
