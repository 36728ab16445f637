# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts of the lab with etcd (TLS), Patroni and PostgreSQL 15, and one with a pooler."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.lab.cluster import ClusterGround
from tests.lab.estate import Estate

MEMBERS, POOLER = ("pt1", "pt2", "pt3"), "ptpool"
SECRETS = {
    "postgresql_replication_password": "for the lab only, 32 characters!",
    "patroni_api_password": "for orders in the lab",
    "patroni_rewind_password": "for rewinding in the lab",
}
PROBE, ADMIN = "for the probe of the lab", "for the console of the lab"
CLUSTER: dict[str, Any] = {
    "db_version": 15,
    "db_service": "patroni",
    "db_data_dir": "/var/lib/postgresql/15/main",
    "db_address": "{{ ansible_host }}",
    **SECRETS,
}
PLACE = "/var/tmp/boringdb-probe"


def openssl(*words: str) -> None:
    """Run openssl."""
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


def certificates(estate: Estate) -> dict[str, str]:
    """A CA, and a certificate for servers and clients of each member; returns the role's variables."""
    at = estate.home
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", f"{at}/ca.key", "-subj", "/CN=ca", "-days", "9", "-out", f"{at}/ca.crt")
    for name in MEMBERS:
        (at / "names").write_text(
            f"subjectAltName=IP:{estate.addresses[name]},DNS:{name}\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        openssl("req", *curve, "-keyout", f"{at}/{name}.key", "-subj", f"/CN={name}", "-out", f"{at}/request")
        openssl("x509", "-req", "-in", f"{at}/request", "-CA", f"{at}/ca.crt", "-CAkey", f"{at}/ca.key",
                "-CAcreateserial", "-extfile", f"{at}/names", "-days", "5", "-out", f"{at}/{name}.crt")  # fmt: skip
    own = {"certificate": f"{at}/{{{{ inventory_hostname }}}}.crt", "key": f"{at}/{{{{ inventory_hostname }}}}.key",
           "ca": f"{at}/ca.crt"}  # fmt: skip
    return {f"{role}_tls_{name}": place for role in ("etcd", "patroni") for name, place in own.items()}


def describe(estate: Estate, tls: dict[str, str], **more: Any) -> None:
    """Say which members, members of etcd and poolers there are."""
    at = {name: {"ansible_host": estate.addresses[name]} for name in (*MEMBERS, POOLER)}
    pool = {"pool_databases": {"postgres": {}}, "pool_auth_password": "for pgbouncer of the lab",
            "pool_admin_password": ADMIN, "db_address": "{{ ansible_host }}"}  # fmt: skip
    estate.describe({
        "goods": {"hosts": {name: at[name] for name in MEMBERS}, "vars": {**CLUSTER, **tls, **more}},
        "etcd_hosts": {"hosts": {name: {} for name in MEMBERS}},
        "pooler_hosts": {"hosts": {POOLER: at[POOLER]}, "vars": pool},
    })  # fmt: skip


class Ground(ClusterGround):
    """The cluster, and what its tests ask of it."""

    tls: dict[str, str]

    def members(self, *, of: tuple[str, ...] = MEMBERS) -> dict[str, dict[str, Any]]:
        """The members as the first node that answers knows them."""
        for host in of:
            ca = f"--cacert {self.estate.home}/ca.crt"
            words = f"curl -s -m 5 {ca} https://{self.estate.addresses[host]}:8008/cluster"
            done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return {row["name"]: row for row in json.loads(done.stdout)["members"]}
        return {}

    def leader(self, *, of: tuple[str, ...] = MEMBERS) -> str:
        """Who leads."""
        return next((name for name, row in self.members(of=of).items() if row["role"] == "leader"), "")

    def whole(self) -> bool:
        """Whether all members are there, and follow."""
        rows = self.members().values()
        leader = [row.get("timeline") for row in rows if row["role"] == "leader" and row["state"] == "running"]
        return len(rows) == 3 and len(leader) == 1 and all(
            row["state"] in ("running", "streaming") and row.get("timeline") == leader[0] for row in rows
        )

    def probe(self, state: str, **options: Any) -> dict[str, Any]:
        """The write probe, on the pooler's host."""
        return self.module(POOLER, "probe", state=state, directory=PLACE, **options)

    def begin(self, run: str) -> None:
        """Write through the pooler."""
        self.probe("started", run=run, clients=2, rate=100, login_host=self.estate.addresses[POOLER], login_port="6432",
                   login_user="probe", login_password=PROBE, login_db="postgres")  # fmt: skip

    def lost(self, run: str, host: str) -> int:
        """How many acknowledged rows a member lacks."""
        found = self.probe("checked", run=run, login_host=self.estate.addresses[host], login_user="probe",
                           login_password=PROBE, login_db="postgres")  # fmt: skip
        return int(found["missing"])
