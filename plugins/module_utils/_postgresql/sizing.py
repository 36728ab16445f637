# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`sizing` for PostgreSQL: memory, WAL and kernel settings from what the host has, with the arithmetic of each number.

It suggests and changes nothing. How many huge pages the shared memory takes is not estimated: the server's own program
is asked, with the suggested settings, on a scratch directory that holds no more than the control file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

_KB, _MB, _GB = 1 << 10, 1 << 20, 1 << 30
#: From this version on the program tells how many huge pages it needs.
_TELLS_HUGE_PAGES = 15
_LEAST_MEMORY = 512 * _MB


@dataclass(frozen=True)
class Host:
    """What is counted on, in bytes: memory for this server, swap, the size of the file system that holds the WAL."""

    memory: int
    swap: int
    wal_space: int
    huge_page: int
    connections: int


@dataclass(frozen=True)
class Figure:
    """One suggestion: `formula` is the arithmetic that gives `value`, with the numbers put in."""

    name: str
    value: str
    formula: str

    def facts(self) -> dict[str, str]:
        """As a module returns it."""
        return {"name": self.name, "value": self.value, "formula": self.formula}


def _mb(amount: int) -> str:
    return f"{amount // _MB}MB"


def settings(host: Host) -> list[Figure]:
    """The server's settings."""
    buffers = max(128 * _MB, host.memory // 4)
    cache = host.memory * 3 // 4
    maintenance = max(64 * _MB, min(2 * _GB, host.memory // 16))
    rest = max(0, host.memory - buffers - 3 * maintenance)
    work = max(4 * _MB, rest // (2 * host.connections))
    wal = max(1 * _GB, min(64 * _GB, host.wal_space // 10))
    return [
        Figure("shared_buffers", _mb(buffers), f"max(128MB, memory {_mb(host.memory)} / 4)"),
        Figure("effective_cache_size", _mb(cache), f"memory {_mb(host.memory)} * 3 / 4"),
        Figure("maintenance_work_mem", _mb(maintenance), f"max(64MB, min(2048MB, memory {_mb(host.memory)} / 16))"),
        Figure(
            "work_mem",
            _mb(work),
            f"max(4MB, (memory {_mb(host.memory)} - shared_buffers {_mb(buffers)} - 3 autovacuum workers * "
            f"maintenance_work_mem {_mb(maintenance)}) / ({host.connections} connections * 2 nodes of a plan))",
        ),
        Figure("max_wal_size", _mb(wal), f"max(1024MB, min(65536MB, space for WAL {_mb(host.wal_space)} / 10))"),
    ]


def kernel(host: Host, huge_pages: int) -> list[Figure]:
    """The kernel's settings, as sysctl names them. `huge_pages` is what the server needs, 0 where it is not known."""
    pinned = huge_pages * host.huge_page
    background = max(64 * _MB, min(256 * _MB, host.memory // 100))
    found = []
    if huge_pages:
        told = f"shared_memory_size_in_huge_pages {huge_pages}, of {host.huge_page // _KB}kB each"
        found.append(Figure("vm.nr_hugepages", str(huge_pages), f"{told}, as the server's program says"))
    limit = host.swap + (host.memory - pinned) * 9 // 10
    told = f"swap {_mb(host.swap)} + (memory {_mb(host.memory)} - huge pages {_mb(pinned)}) * 90 / 100"
    return [
        *found,
        Figure(
            "vm.overcommit_memory", "2", "an allocation fails, rather than the kernel ending a process of the server"
        ),
        Figure("vm.overcommit_ratio", "90", f"{told} = {_mb(limit)} can be promised to all processes"),
        Figure("vm.swappiness", "1", "the page cache is given back before a process is swapped out"),
        Figure("vm.dirty_background_bytes", str(background), f"max(64MB, min(256MB, memory {_mb(host.memory)} / 100))"),
        Figure("vm.dirty_bytes", str(4 * background), f"vm.dirty_background_bytes {_mb(background)} * 4"),
    ]


def sizing(params: Params, check_mode: bool) -> Outcome:
    """Suggest; never changes anything."""
    del check_mode
    server = Server.of(params)
    told = _meminfo()
    memory = params["memory_mb"] * _MB if params["memory_mb"] else told.get("MemTotal", 0)
    preflight = Preflight()
    preflight.require(
        memory >= _LEAST_MEMORY, f"{_mb(memory)} of memory is less than {_mb(_LEAST_MEMORY)}", "give more in memory_mb"
    )
    preflight.require(params["connections"] > 0, f"connections is {params['connections']}", "give 1 or more")
    preflight.done()
    huge_page = told.get("Hugepagesize", 2 * _MB)
    host = Host(memory, told.get("SwapTotal", 0), _space(server.data_dir), huge_page, params["connections"])
    figures = settings(host)
    pages = _huge_pages(server, figures, host)
    warnings = [] if pages else ["how many huge pages the server needs is not known: " + _why_not(server)]
    facts = {
        "settings": {one.name: one.value for one in figures},
        "sysctl": {one.name: one.value for one in kernel(host, pages)},
        "figures": [one.facts() for one in [*figures, *kernel(host, pages)]],
        "now": {one.name: _now(one.name) for one in kernel(host, pages)},
    }
    return Outcome(False, facts, warnings=warnings)


def _meminfo() -> dict[str, int]:
    """The kernel's account of memory, in bytes."""
    found = {}
    for line in read_text("/proc/meminfo").splitlines():
        name, _colon, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * _KB
    return found


def _space(data_dir: Path) -> int:
    place = data_dir / "pg_wal"
    while not place.exists():
        place = place.parent
    stat = os.statvfs(place)
    return stat.f_blocks * stat.f_frsize


def _now(name: str) -> str:
    return read_text("/proc/sys/" + name.replace(".", "/")).strip()


def _why_not(server: Server) -> str:
    if not server.exists():
        return f"{server.data_dir} holds no PostgreSQL data"
    return (
        f"PostgreSQL {server.major} does not tell" if server.major < _TELLS_HUGE_PAGES else "its program did not tell"
    )


def _huge_pages(server: Server, figures: list[Figure], host: Host) -> int:
    """What the server's program says that it needs; 0 where it can't. A running server is not disturbed."""
    if not server.exists() or server.major < _TELLS_HUGE_PAGES:
        return 0
    with tempfile.TemporaryDirectory(prefix="boringdb-sizing-") as folder:
        scratch = Path(folder)
        (scratch / "global").mkdir()
        for name in ("PG_VERSION", "global/pg_control"):
            shutil.copyfile(server.data_dir / name, scratch / name)
        (scratch / "postgresql.conf").touch()
        scratch.chmod(0o700)
        argv = [server.program("postgres"), "-D", str(scratch), "-C", "shared_memory_size_in_huge_pages"]
        own = {"shared_buffers": figures[0].value, "max_connections": str(host.connections)}
        for name, value in {**_shared(server), **own}.items():
            argv += ["-c", f"{name}={value}"]
        done = run(argv, check=False)
    words = done.stdout.split()
    return int(words[-1]) if done.returncode == 0 and words and words[-1].isdigit() else 0


def _shared(server: Server) -> dict[str, Any]:
    """What else the running server was told about its shared memory; what it tunes itself it will tune anew."""
    if not server.running():
        return {}
    query = """SELECT name, setting FROM pg_settings WHERE name IN ('max_worker_processes', 'max_wal_senders',
               'max_prepared_transactions', 'max_locks_per_transaction', 'wal_buffers', 'huge_page_size')
               AND source NOT IN ('default', 'override')"""
    with server.connect() as connection:
        return dict(connection.execute(query).fetchall())
