# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for the servers of tests: nobody else has them, and no outgoing connection gets one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ports

ROOT = Path(ports.__file__).parents[1]
OTHER = "import sys; from tests import ports; ports.FIRST, ports.BEHIND = map(int, sys.argv[1:]); ports.free_ports(4)"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Room for two rows of four."""
    first = ports.free_ports(9)
    for port in range(first, first + 9):
        ports._claims.pop(port).close()
    monkeypatch.setattr(ports, "FIRST", first)
    monkeypatch.setattr(ports, "BEHIND", first + 9)
    return first, first + 9


def elsewhere(few: tuple[int, int]) -> str:
    """What another process is told that wants a row."""
    command = [sys.executable, "-c", OTHER, *map(str, few)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False).stderr


def test_nobody_else_gets_what_one_has(few: tuple[int, int]) -> None:
    first = ports.free_ports(4)
    assert elsewhere(few) == ""
    assert {first, ports.free_ports(4)} == {few[0], few[0] + 4}
    assert f"no 4 free ports in a row between {few[0]} and {few[1]}" in elsewhere(few)


def test_what_something_listens_on_is_no_free_port(few: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", few[0] + 1))
        assert ports.free_ports(4) == few[0] + 4


def test_an_outgoing_connection_gets_another() -> None:
    kernel = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert int(kernel[0]) >= ports.BEHIND, "by net.ipv4.ip_local_port_range a test's server may find its port taken"
