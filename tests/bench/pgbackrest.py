"""pgBackRest on the lab's hosts: our backup and restore against the same commands by hand, over the same SSH.

By hand means what a careful operator types: `pgbackrest check`, `pgbackrest backup`, and `pgbackrest expire`, which the
configuration leaves to whoever takes a backup; and `pgbackrest restore`, a start, and waiting until the server takes
writes. Which repository that is, the hosts' configuration says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from tests.bench.ground import in_turn
from tests.bench.hosts import DATA, DRILL, PROGRAMS, module, on, timed

COPY = "/var/lib/postgresql/bench"
#: Waits for the end of recovery on the host itself, so that no SSH round trip is timed.
_BY_HAND = f"""
set -e
pgbackrest --stanza=orders --pg1-path={COPY}/data --type=default --tablespace-map-all={COPY}/ts restore \
  --log-level-console=warn
cat > {COPY}/data/postgresql.conf <<CONF
port = 5498
unix_socket_directories = '{COPY}'
listen_addresses = ''
archive_mode = off
CONF
echo 'local all all trust' > {COPY}/data/pg_hba.conf
{PROGRAMS}/pg_ctl start -s -w -D {COPY}/data -l {COPY}/log -o '-c config_file={COPY}/data/postgresql.conf'
until [ "$({PROGRAMS}/psql -XAtq -h {COPY} -p 5498 -U postgres -c 'SELECT pg_is_in_recovery()')" = f ]; do
  sleep 0.05
done
"""


def _backup(host: str) -> float:
    os.sync()
    begun = time.monotonic()
    module(host, "backup", tool="pgbackrest", stanza="orders", data_dir=DATA, bin_dir=PROGRAMS)
    return time.monotonic() - begun


def _backup_by_hand(host: str) -> float:
    commands = ("check", "backup --type=full --start-fast", "expire")
    return timed(host, " && ".join(f"pgbackrest --stanza=orders {words}" for words in commands))


def _restore() -> float:
    place = {"data_dir": f"{COPY}/data", "socket_dir": f"{COPY}/run", "tool": "pgbackrest", "stanza": "orders"}
    os.sync()
    begun = time.monotonic()
    module(DRILL, "restore", **place)
    seconds = time.monotonic() - begun
    module(DRILL, "restore", state="absent", **place)
    return seconds


def _restore_by_hand() -> float:
    on(DRILL, f"rm -rf {COPY}; mkdir -p -m 700 {COPY}/data {COPY}/ts; chmod 700 {COPY}/data")
    seconds = timed(DRILL, _BY_HAND)
    on(DRILL, f"{PROGRAMS}/pg_ctl stop -s -m immediate -D {COPY}/data; rm -rf {COPY}")
    return seconds


def _read(host: str) -> None:
    """Have the repository's files in the host's memory, where they are files: who reads them first pays for both."""
    place = "/var/lib/pgbackrest/backup"
    on(host, f"! test -d {place} || find {place} -type f -exec cat {{}} + > /dev/null", user="root")


def rounds(repository: str, host: str, count: int) -> Iterator[tuple[str, float, float]]:
    """Yield a name with our seconds and the floor's, `count` + 1 times each. Backups are taken on `host`."""
    for number in range(count + 1):
        yield f"backup_{repository}", *in_turn(number, lambda: _backup(host), lambda: _backup_by_hand(host))
        _read(host)
        yield f"restore_{repository}", *in_turn(number, _restore, _restore_by_hand)
