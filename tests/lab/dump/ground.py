# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair, a host that proves, and a file server whose one directory they mount, with locks that reach across it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.estate_runs import Running
from tests.lab.cluster import MEMBERS
from tests.lab.estate import Estate
from tests.lab.interruption.runs import begin

PRIMARY, REPLICA, PROOF, STORE = HOSTS = ("dmp1", "dmp2", "dmpproof", "dmpstore")
MOUNT = "/mnt/dumps"
#: The directory of the one cluster.
DUMPS = f"{MOUNT}/wares"
SPACE = "/srv/fast"
SCRATCH = "/var/lib/boringdb/dump/wares"
PASSWORD = "a password of the clerk"

_INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qqy install --no-install-recommends"
# A client that vanished is given up after seconds, not after most of a minute.
_PATIENCE = {"network.ping-timeout": 5, "server.tcp-user-timeout": 5, "server.keepalive-time": 2,
             "server.keepalive-interval": 1, "server.keepalive-count": 3}  # fmt: skip
_SERVE = f"""set -e
apt-get -qq update && {_INSTALL} glusterfs-server >/dev/null
systemctl enable --now --quiet glusterd
mkdir -p /srv/brick
gluster --mode=script volume create dumps {STORE}:/srv/brick force
{"".join(f"gluster --mode=script volume set dumps {name} {value}; " for name, value in _PATIENCE.items())}
gluster volume start dumps
"""
# A container's /dev has no fuse; the line makes it at every boot.
_MOUNT = f"""set -e
echo 'c! /dev/fuse 0666 root root - 10:229' > /etc/tmpfiles.d/fuse.conf
systemd-tmpfiles --create --boot /etc/tmpfiles.d/fuse.conf
apt-get -qq update && {_INSTALL} glusterfs-client >/dev/null
echo '{STORE}:/dumps {MOUNT} glusterfs defaults,_netdev 0 0' >> /etc/fstab
mkdir -p {MOUNT} && systemctl daemon-reload && mount {MOUNT}
"""

#: What is dumped: an ICU database, a tablespace, types of extensions, roles, privileges of every kind.
ROLES = f"""
CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE reader;
GRANT reader TO clerk WITH ADMIN OPTION;
ALTER ROLE clerk SET work_mem = '5MB';
CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'
  LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' OWNER clerk;
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO reader;
GRANT CREATE ON TABLESPACE fast TO clerk;
ALTER ROLE clerk IN DATABASE shop SET search_path = ledger, public;
\\connect shop
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE goods (id serial PRIMARY KEY, name citext, tags hstore, moods mood[], price numeric(10,2), paid jsonb,
                    during tstzrange, at inet, raw bytea, words tsvector) TABLESPACE fast;
INSERT INTO goods (name, tags, moods, price, paid, during, at, raw, words)
SELECT 'Ware ' || n, hstore('n', n::text), ARRAY['sad', 'glad']::mood[], n / 7.0,
       jsonb_build_object('n', n, 'no', NULL),
       tstzrange(to_timestamp(n), NULL), '10.0.0.1'::inet + n, int4send(n), to_tsvector('simple', 'ware ' || n)
  FROM generate_series(1, 3000) n;
ALTER TABLE goods OWNER TO clerk;
GRANT SELECT ON goods TO PUBLIC;
GRANT UPDATE (price) ON goods TO reader WITH GRANT OPTION;
CREATE SCHEMA ledger AUTHORIZATION clerk;
ALTER DEFAULT PRIVILEGES FOR ROLE clerk IN SCHEMA ledger GRANT SELECT ON TABLES TO reader;
SET ROLE clerk;
CREATE TABLE ledger.entry (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE ledger.line (entry int REFERENCES ledger.entry, what text);
RESET ROLE;
INSERT INTO ledger.entry SELECT generate_series(1, 40);
INSERT INTO ledger.line SELECT n, 'line ' || n FROM generate_series(1, 40) n;
ALTER TABLE ledger.entry ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ledger.entry TO reader USING (id < 10);
SELECT lo_from_bytea(0, 'a large object');
"""
#: 50 MB that do not compress, so that writing and loading take a moment.
BULK = """\\connect shop
CREATE TABLE bulk AS SELECT n AS id, string_agg(md5((n * 40 + m)::text), '') AS what
FROM generate_series(1, 40000) n, generate_series(1, 40) m GROUP BY n
"""
#: All rows of the above, in tables that a dump has.
ROWS = 3000 + 40 + 40 + 40000


class Ground(Estate):
    """The cluster `wares`, what holds its dumps, and the means to stop and kill."""

    def __init__(self, hosts: Estate) -> None:
        super().__init__(hosts.home)
        self.addresses, self.ssh_config = hosts.addresses, hosts.ssh_config
        # A host without power is noticed after six seconds instead of a minute and more.
        at = {name: {"ansible_host": self.addresses[name], "ansible_ssh_extra_args": "-o ServerAliveInterval=2"}
              for name in HOSTS}  # fmt: skip
        members = {name: value for name, value in MEMBERS.items() if name != "db_backup_tool"}
        members |= {"dump_path": DUMPS, "postgresql_tablespaces": [{"name": "fast", "location": SPACE}]}
        groups: dict[str, Any] = {
            "wares": {"hosts": {name: at[name] for name in (PRIMARY, REPLICA)}, "vars": members},
            "drill_hosts": {"hosts": {PROOF: at[PROOF]}},
        }
        self.describe(groups)

    def build(self) -> None:
        """The cluster by our playbook; the rest by hand, as somebody has done it before us."""
        with ThreadPoolExecutor() as pool:
            serving = pool.submit(self.on, STORE, _SERVE)
            proving = pool.submit(self.on, PROOF, self._proof_host())
            self.play("provision", cluster="wares")
            serving.result()
            proving.result()
            list(pool.map(lambda host: self.on(host, _MOUNT), (PRIMARY, REPLICA, PROOF)))
        numbers = {self.on(host, "id -u postgres") for host in (PRIMARY, REPLICA, PROOF)}
        assert len(numbers) == 1, f"postgres has not one number on all hosts: {numbers}"
        self.on(PRIMARY, f"install -d -o postgres -m 700 {DUMPS}")
        self.sql(PRIMARY, ROLES)
        self.sql(PRIMARY, BULK)

    @staticmethod
    def _proof_host() -> str:
        common = "/etc/postgresql-common"
        alone = f"mkdir -p {common} && echo 'create_main_cluster = false' > {common}/createcluster.conf"
        return f"apt-get -qq update && {alone} && {_INSTALL} postgresql-15 python3-psycopg >/dev/null"

    def begin(self, playbook: str, **given: Any) -> Running:
        """Start a playbook."""
        extra = json.dumps({"cluster": "wares", **given})
        return begin(self, "ansible-playbook", f"playbooks/{playbook}.yml", "-e", extra)

    def dump(self, *words: str, **given: Any) -> str:
        """The playbook, which has to succeed; what it told, warnings included, in one line."""
        done = self.attempt("dump", "-e", json.dumps({"cluster": "wares", **given}), *words)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
        return " ".join((done.stdout + done.stderr).split())

    def labels(self, ending: str = "") -> list[str]:
        """What is in the directory, of whole dumps or of those with an ending."""
        found = [name for name in self.on(PRIMARY, f"ls {DUMPS}").split() if "." not in name or ending]
        return sorted(name for name in found if name.endswith(ending))

    def shop(self, text: str, host: str = PRIMARY) -> str:
        """SQL in the database that is dumped."""
        return self.sql(host, f"\\connect shop\n{text}")

    # --- stopping -------------------------------------------------------------------------------------------

    def stop_in_dump(self, host: str) -> int:
        """Wait until pg_dump writes the large table there, and stop it; returns its leader."""
        writing = f"pgrep -x pg_dump >/dev/null && ls {DUMPS}/*.partial/databases/*shop/*.dat* >/dev/null 2>&1"
        return self._stop(host, writing, "pg_dump")

    def stop_in_load(self) -> int:
        """Wait until pg_restore loads rows on the host that proves, and stop it; returns its leader."""
        loading = "SELECT 1 / count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%'"
        psql = f"su postgres -c 'psql -XAtq -h {SCRATCH}/run -p 5497 -d shop -v ON_ERROR_STOP=1 -f -' >/dev/null 2>&1"
        return self._stop(PROOF, f"echo \"{loading}\" | {psql}", "pg_restore")

    def _stop(self, host: str, condition: str, program: str) -> int:
        wait = f"i=0; until {condition}; do sleep 0.02; i=$((i+1)); [ $i -lt 3000 ]; done"
        said = self.on(host, f"set -e; {wait}; pkill -STOP -x {program}; pgrep -o -x {program}")
        return int(said.split()[-1])

    def worker(self, host: str, pid: int) -> int:
        """The module that has started a program."""
        return int(self.on(host, f"ps -o ppid= -p {pid}"))

    def left(self, host: str) -> str:
        """Programs of a dump, and sessions of a dump, that are still there."""
        programs = self.on(host, "for p in pg_dump pg_dumpall pg_restore; do pgrep -l -x $p; done || true").strip()
        if host not in (PRIMARY, REPLICA):
            return programs
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('pg_dump', 'boringdb.ops')"
        sessions = self.sql(host, query)
        return programs + ("" if sessions == "0" else f" {sessions} sessions")
