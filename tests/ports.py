# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port numbers that nothing uses, and nothing will before the one who asked: other tests, or an outgoing connection.

The kernel gives outgoing connections ports of a range of its own. A server whose port lies in it may find it taken when
it starts again, and PostgreSQL then goes on without that address.
"""

from __future__ import annotations

import random
import socket

#: Below what Linux gives outgoing connections unless told otherwise (net.ipv4.ip_local_port_range: 32768 to 60999).
FIRST, BEHIND = 20000, 32000

#: What this process was given, until it ends.
_claims: dict[int, socket.socket] = {}


def _claim(port: int) -> bool:
    """Have a port, unless another process has it or something listens on it."""
    if port in _claims:
        return False
    # An abstract socket is no file, and ends with its process.
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0boringdb.ops port {port}")
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError:
        mark.close()
        return False
    _claims[port] = mark
    return True


def free_port() -> int:
    """One; see free_ports."""
    return free_ports(1)


def free_ports(count: int = 10) -> int:
    """The first of `count` in a row, this process's own until it ends.

    Raises RuntimeError when there is no such row.
    """
    bases = range(FIRST, BEHIND - count, count)
    # What has just been given back may still be asked by somebody who knew it.
    for base in random.sample(bases, len(bases)):
        taken = [port for port in range(base, base + count) if _claim(port)]
        if len(taken) == count:
            return base
        for port in taken:
            _claims.pop(port).close()
    raise RuntimeError(f"no {count} free ports in a row between {FIRST} and {BEHIND}")
