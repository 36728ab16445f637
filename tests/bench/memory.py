"""How much memory modules take at their peak: with five thousand tables, with one huge one, and with next to none.

A module's own process and the programs it starts, whichever is the largest; the server's processes are not in it.
The huge table is a sparse file, of which a backup and a copy are none: all three are there, so two fit on the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.bench import native
from tests.bench.ground import HOME, Source, remove, run
from tests.modules import command, environment, options, result_of

TABLES = 5000
GIGABYTE = 2**30
#: A huge table is so large, or as large as the disk allows when as much stays free.
HUGE_GB, SPARE_GB = 100, 15
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


def _grow(source: Source) -> int:
    """Make one table as large as the disk allows, of pages that were never written to; returns its gigabytes."""
    gigabytes = min(HUGE_GB, (shutil.disk_usage(HOME).free // GIGABYTE - SPARE_GB) // 2)
    if gigabytes < 1:
        raise SystemExit(f"bench: {HOME} needs {SPARE_GB + 2} GB free for a huge table")
    # An autovacuum would cut the empty pages off again.
    source.sql("CREATE TABLE huge (id bigint, note text) WITH (autovacuum_enabled = false)")
    source.sql("INSERT INTO huge SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n")
    path = source.data / source.sql("SELECT pg_relation_filepath('huge')")
    source.sql("CHECKPOINT")
    source.stop("fast")
    for number in range(gigabytes):
        run("truncate", "-s", str(GIGABYTE), f"{path}.{number}" if number else str(path))
    source.start()
    return gigabytes


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


def _clear_backups(source: Source) -> None:
    for backup in source.backups.iterdir():
        shutil.rmtree(backup)


def figures() -> Iterator[tuple[str, float, float]]:
    """Each module's name with what it worked on, its peak with that, and with next to none."""
    try:
        source = Source(1)
        few = _peaks(source)
        gigabytes = _grow(source)
        _clear_backups(source)
        for name, megabytes in _peaks(source).items():
            yield f"{gigabytes}_gb_{name}", megabytes, few[name]
        source.sql("DROP TABLE huge")
        _clear_backups(source)
        # In parts: each table is locked until its part's end.
        for first in range(1, TABLES, 500):
            source.sql(_CREATE.format(first=first, last=first + 499))
        many = _peaks(source)
        source.stop()
        for name, megabytes in many.items():
            yield f"{TABLES}_tables_{name}", megabytes, few[name]
    finally:
        remove()
