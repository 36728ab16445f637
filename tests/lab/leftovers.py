# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interrupted run leaves on a host of the lab: processes, held locks, copies."""

from __future__ import annotations

from collections.abc import Callable

_LOOK = r"""
echo $$
for lock in /tmp/pgbackrest/*.lock /run/lock/boringdb-*.lock; do
    [ ! -e "$lock" ] || flock -n "$lock" true || echo "held: $lock"
done
find /tmp/pgbackrest -name '*.stop' 2>/dev/null
find /var/lib/boringdb/drill/*/ -mindepth 1 ! -path '*/run' 2>/dev/null | head -5
ps -eo pid=,user:20=,args=
"""
#: What runs for postgres without any of our runs: connections that are shared for a minute, and what a login brings.
_USUAL = ("ssh: /var/spool/pgbackrest/", "sshd: ", "/lib/systemd/systemd --user", "(sd-pam)")
#: The server of the cluster itself, on its members.
SERVER = ("postgres: ", "/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main")


def left(on: Callable[[str, str], str], host: str, usual: tuple[str, ...] = ()) -> list[str]:
    """Everything of that kind on a host. `on` runs a script there; processes that begin with `usual` belong there."""
    own, *lines = on(host, _LOOK).splitlines()
    found = []
    for line in lines:
        pid, user, args = ([*line.split(None, 2), "", ""])[:3]
        if not pid.isdigit():
            found.append(line)
        elif pid != own and not args.startswith(_USUAL + usual):
            ours = user in ("postgres", "pgbackrest_reader") or "python3" in args or "pgbackrest" in args
            found += [f"process {line.strip()}"] if ours else []
    return [f"{host}: {what}" for what in found]
