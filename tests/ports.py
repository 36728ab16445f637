# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port numbers that nothing listens on just now."""

from __future__ import annotations

import contextlib
import socket


def free_port() -> int:
    """One, as the kernel gives it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(first: int, count: int = 10) -> int:
    """The first of `count` in a row, from `first` or up to 580 above it; each ground has its own `first`.

    Raises RuntimeError when there is no such row.
    """
    for base in range(first, first + 580, 20):
        with contextlib.ExitStack() as stack:
            try:
                for number in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            return base
    raise RuntimeError(f"no {count} free ports in a row between {first} and {first + 580}")
