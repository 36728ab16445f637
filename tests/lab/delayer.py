# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold every packet of a kernel queue for a while, where the kernel has no netem. Needs nothing but Python.

usage: delayer.py MILLISECONDS      in the network namespace whose rules fill the queue (NFQUEUE)
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

#: The queue's number, as the rule names it.
QUEUE = 77
_NETFILTER = 12
# From linux/netfilter/nfnetlink_queue.h: messages of the subsystem 3, and their attributes.
_PACKET, _CONFIG, _VERDICT_BATCH = (3 << 8 | number for number in (0, 2, 3))
_PACKET_HEADER, _VERDICT_HEADER = 1, 2
_COMMAND, _PARAMETERS, _LENGTH, _MASK, _FLAGS = 1, 2, 3, 4, 5
_BIND, _COPY_META, _ACCEPT, _LARGE = 1, 1, 1, 4
_REQUEST, _ACKNOWLEDGE = 1, 4


def message(kind: int, *attributes: tuple[int, bytes], flags: int = 1) -> bytes:
    """A netlink message to the queue."""
    body = struct.pack(">BBH", 0, 0, QUEUE)
    for number, value in attributes:
        attribute = struct.pack("=HH", len(value) + 4, number) + value
        body += attribute + b"\0" * (-len(attribute) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def packets(data: bytes) -> Iterator[int]:
    """The packets' numbers in what the kernel says."""
    while len(data) >= 20:
        size, kind = struct.unpack_from("=IH", data)
        place = 20
        while kind == _PACKET and place + 4 <= size:
            length, number = struct.unpack_from("=HH", data, place)
            if number == _PACKET_HEADER:
                yield struct.unpack_from(">I", data, place + 4)[0]
            place += max(4, (length + 3) & ~3)
        data = data[(size + 3) & ~3 :]


def hold(seconds: float) -> None:
    """Let each packet go that long after it came, in their order. Never returns."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**24)
    kernel.bind((0, 0))
    kernel.send(message(_CONFIG, (_COMMAND, struct.pack(">BBH", _BIND, 0, 0)), flags=_REQUEST | _ACKNOWLEDGE))
    # An error message: its number follows the header, 0 where there is none.
    (error,) = struct.unpack_from("=i", kernel.recv(2**16), 16)
    if error:
        raise SystemExit(f"queue {QUEUE}: {os.strerror(-error)}")
    kernel.send(message(_CONFIG, (_PARAMETERS, struct.pack(">IB", 0, _COPY_META))))
    kernel.send(message(_CONFIG, (_LENGTH, struct.pack(">I", 65536))))
    # As large as the stack made them: the card cuts them later.
    kernel.send(message(_CONFIG, (_MASK, struct.pack(">I", _LARGE)), (_FLAGS, struct.pack(">I", _LARGE))))
    print("ready", flush=True)
    held: collections.deque[tuple[float, int]] = collections.deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        if select.select([kernel], [], [], wait)[0]:
            # A full buffer loses packets, as a network does.
            with contextlib.suppress(OSError):
                held.extend((time.monotonic() + seconds, number) for number in packets(kernel.recv(2**16)))
        last = 0
        while held and held[0][0] <= time.monotonic():
            last = held.popleft()[1]
        if last:
            kernel.send(message(_VERDICT_BATCH, (_VERDICT_HEADER, struct.pack(">II", _ACCEPT, last))))


if __name__ == "__main__":
    hold(int(sys.argv[1]) / 1000)
