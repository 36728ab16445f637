"""How much memory modules take at their peak, with five thousand tables and with next to none.

A module's own process and the programs it starts, whichever is the largest; the server's processes are not in it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.bench import native
from tests.bench.ground import Source, remove
from tests.modules import command, environment, options, result_of

TABLES = 5000
_CREATE = """
DO $$ BEGIN FOR n IN {first}..{last} LOOP
EXECUTE format('CREATE TABLE many_%s AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 10) AS n', n);
EXECUTE format('CREATE UNIQUE INDEX ON many_%s (id)', n);
END LOOP; END $$
"""


def peak(word: str, **given: Any) -> float:
    """The most that one run held in memory, in MB."""
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as out:
        stdin.write(options(given))
        stdin.seek(0)
        running = subprocess.Popen(command(word), stdin=stdin, stdout=out, stderr=out, cwd="/", env=environment())
        _pid, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        result_of(word, out.read())
    return used.ru_maxrss / 1024


def _peaks(source: Source) -> dict[str, float]:
    place = native.place(source)
    found = {
        "instance_info": peak("instance_info", **source.server),
        "backup": peak("backup", **source.server, **source.repository),
        "restore": peak("restore", **source.repository, **place),
        "verify": peak("verify", backup_dir=str(native.newest(source)), page_checksums=True, **place),
    }
    peak("restore", state="absent", **source.repository, **place)
    return found


def figures() -> Iterator[tuple[str, float, float]]:
    """Each module's name, its peak with many tables, and with few."""
    try:
        source = Source(1)
        few = _peaks(source)
        # In parts: each table is locked until its part's end.
        for first in range(1, TABLES, 500):
            source.sql(_CREATE.format(first=first, last=first + 499))
        many = _peaks(source)
        source.stop()
        for name, megabytes in many.items():
            yield name, megabytes, few[name]
    finally:
        remove()
