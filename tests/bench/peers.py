"""How long writes stand still in a switchover on hosts: by our playbook, repmgr, Patroni, and our playbook under it.

Eight clients write straight to the servers, with every member in their connection string, which is what the peers'
own documentation has them do; where our playbook moves the primary, eight more come through pgbouncer. The pair of
ours and repmgr's archives with pgBackRest; Patroni's three members archive nothing.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import cluster
from tests.lab.cluster import ClusterGround
from tests.lab.estate import Estate, lab_hosts
from tests.lab.patroni import ground as patroni

PAIR, POOLER = ("pe1", "pe2"), "pep"
UNIT, DATA = cluster.MEMBERS["db_service"], cluster.MEMBERS["db_data_dir"]
_SECRET = "for the bench of the lab"
_POOL = {"pool_databases": {"postgres": {}}, "pool_auth_password": _SECRET, "pool_admin_password": _SECRET}
_REPMGR = """node_id={number}
node_name='{name}'
conninfo='host={address} user=repmgr dbname=repmgr connect_timeout=2'
data_directory='{data}'
config_directory='{config}'
pg_bindir='/usr/lib/postgresql/15/bin'
use_replication_slots=true
ssh_options='-q -o ConnectTimeout=10 -o StrictHostKeyChecking=no'
service_start_command='sudo systemctl start {unit}'
service_stop_command='sudo systemctl stop {unit}'
service_restart_command='sudo systemctl restart {unit}'
service_reload_command='sudo systemctl reload {unit}'
"""
#: Name, value, unit, floor, ratio.
Line = tuple[str, float, str, float | None, float | None]


@dataclass
class Seen:
    """What one kind of clients saw of one kind of switchover: milliseconds without an acknowledged row, and errors."""

    gaps: list[float] = field(default_factory=list)
    errors: int = 0

    def take(self, saw: dict[str, Any]) -> None:
        """One more."""
        self.gaps.append(float(saw["largest_gap_ms"]))
        self.errors += int(saw["errors"])


class Clients:
    """Eight clients of each kind, on the pooler's host."""

    def __init__(self, ground: ClusterGround, host: str, members: tuple[str, ...]) -> None:
        self.ground, self.host, self.round = ground, host, 0
        at = ground.estate.addresses
        self.kinds = {
            "direct": {"login_host": ",".join(at[name] for name in members), "login_port": "5432"},
            "pooled": {"login_host": at[host], "login_port": "6432"},
        }

    def probe(self, kind: str, state: str, **options: Any) -> dict[str, Any]:
        """The write probe."""
        place = f"/var/tmp/boringdb-probe-{kind}-{self.round}"
        return self.ground.module(self.host, "probe", state=state, directory=place, **options)

    @contextmanager
    def writing(self, seen: dict[str, Seen]) -> Iterator[None]:
        """Let them write around what is done; what they saw is added. Lost rows end the bench."""
        account = {"login_user": "probe", "login_password": _SECRET, "login_db": "postgres"}
        # A probe goes on with the run that it finds in its directory.
        self.round += 1
        for kind in seen:
            self.probe(kind, "started", clients=8, rate=50, timeout=30, **self.kinds[kind], **account)
        try:
            yield
            before = {kind: self.probe(kind, "measured")["acknowledged"] for kind in seen}
            for kind in seen:
                _until(lambda kind=kind: self.probe(kind, "measured")["acknowledged"] > before[kind] + 50, "writes")
        finally:
            saw = {kind: self.probe(kind, "stopped") for kind in seen}
        for kind, own in seen.items():
            found = self.probe(kind, "checked", **self.kinds["direct"], **account)
            if found["missing"]:
                raise SystemExit(f"bench: {found['missing']} rows were lost")
            own.take(saw[kind])


def _until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"bench: {what} did not come")
        time.sleep(0.3)


def _people(estate: Estate, host: str) -> None:
    """The accounts of the probe."""
    estate.sql(host, f"CREATE ROLE probe LOGIN PASSWORD '{_SECRET}'")
    estate.sql(host, "GRANT CREATE ON DATABASE postgres TO probe")


class Pair:
    """Two members that archive, which our playbook moves, and then repmgr."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.ground = ClusterGround(estate, estate.home, "goods")
        at = {name: {"ansible_host": estate.addresses[name]} for name in (*PAIR, POOLER)}
        rules = [{"type": "host", "database": name, "user": "repmgr", "address": "samenet", "method": "scram-sha-256"}
                 for name in ("all", "replication")]  # fmt: skip
        estate.describe({
            "goods": {"hosts": {name: at[name] for name in PAIR},
                      "vars": {**cluster.MEMBERS, "postgresql_hba": rules}},
            "pooler_hosts": {"hosts": {POOLER: at[POOLER]}, "vars": _POOL},
            "repository_hosts": {"hosts": {POOLER: at[POOLER]}},
        }, backup_repository_host=POOLER)  # fmt: skip
        for playbook in ("provision", "evidence_key"):
            estate.play(playbook, cluster="goods")
        _people(estate, PAIR[0])
        estate.play("pool", cluster="goods")
        self.clients = Clients(self.ground, POOLER, PAIR)

    def candidate(self) -> str:
        """The one that is not primary."""
        [found] = [name for name in PAIR if self.estate.sql(name, "SELECT pg_is_in_recovery()") == "t"]
        return found

    def settled(self) -> None:
        """The other one streams."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        _until(lambda: any(self.estate.sql(name, query) != "0" for name in PAIR), "the replica")

    def ours(self, seen: dict[str, Seen]) -> None:
        """The playbook."""
        self.settled()
        with self.clients.writing(seen):
            self.estate.play("switchover", "-e", f"switchover_candidate={self.candidate()}", cluster="goods")

    def repmgr(self, seen: dict[str, Seen]) -> None:
        """Its own command, on the candidate."""
        self.settled()
        with self.clients.writing(seen):
            self.as_owner(self.candidate(), "repmgr -f /etc/repmgr.conf standby switchover")

    def as_owner(self, host: str, words: str) -> str:
        """A command of the servers' owner."""
        return self.estate.on(host, f"su - postgres -s /bin/bash -c '{words}'")

    def begin_repmgr(self) -> None:
        """As its documentation has it: SSH between the hosts, sudo for the unit, slots, an account of its own."""
        primary = next(name for name in PAIR if name != self.candidate())
        on = self.estate.on
        keys = []
        for number, name in enumerate(PAIR, 1):
            on(name, "DEBIAN_FRONTEND=noninteractive apt-get install -qy postgresql-15-repmgr openssh-client")
            text = _REPMGR.format(number=number, name=name, address=self.estate.addresses[name], data=DATA,
                                  config=cluster.MEMBERS["db_config_dir"], unit=UNIT)  # fmt: skip
            on(name, f"cat > /etc/repmgr.conf <<'END'\n{text}END")
            verbs = ", ".join(f"/usr/bin/systemctl {verb} {UNIT}" for verb in ("start", "stop", "restart", "reload"))
            on(name, f"echo 'postgres ALL = NOPASSWD: {verbs}' > /etc/sudoers.d/repmgr")
            on(name, f"echo '*:*:*:repmgr:{_SECRET}' | install -o postgres -m 600 /dev/stdin ~postgres/.pgpass")
            self.as_owner(name, "mkdir -p -m 700 .ssh; ssh-keygen -q -t ed25519 -N \"\" -f .ssh/id_ed25519")
            keys.append(self.as_owner(name, "cat .ssh/id_ed25519.pub").strip())
        for name in PAIR:
            self.estate.on(name, "cat >> ~postgres/.ssh/authorized_keys <<'END'\n" + "\n".join(keys) + "\nEND\n"
                           "chown postgres: ~postgres/.ssh/authorized_keys")  # fmt: skip
        self.estate.sql(primary, f"CREATE ROLE repmgr SUPERUSER LOGIN PASSWORD '{_SECRET}'")
        self.estate.sql(primary, "CREATE DATABASE repmgr OWNER repmgr")
        self.as_owner(primary, "repmgr -f /etc/repmgr.conf primary register")
        self.as_owner(self.candidate(), "repmgr -f /etc/repmgr.conf standby register --force")


class Managed:
    """Three members that Patroni runs."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.ground = patroni.Ground(estate, estate.home, "goods")
        self.ground.tls = patroni.certificates(estate)
        patroni.describe(estate, self.ground.tls)
        for playbook in ("evidence_key", "patroni"):
            estate.play(playbook, cluster="goods")
        _people(estate, self.ground.leader())
        estate.play("pool", cluster="goods")
        self.clients = Clients(self.ground, patroni.POOLER, patroni.MEMBERS)

    def pair(self) -> tuple[str, str]:
        """Who leads, and who is to."""
        _until(self.ground.whole, "all members")
        leader = self.ground.leader()
        return leader, next(name for name in patroni.MEMBERS if name != leader)

    def ours(self, seen: dict[str, Seen]) -> None:
        """The playbook, which has Patroni switch over while pgbouncer holds its clients."""
        _leader, candidate = self.pair()
        with self.clients.writing(seen):
            self.estate.play("switchover", "-e", f"switchover_candidate={candidate}", cluster="goods")

    def patroni(self, seen: dict[str, Seen]) -> None:
        """Its own REST API, as patronictl uses it."""
        leader, candidate = self.pair()
        body = json.dumps({"leader": leader, "candidate": candidate})
        own = f"{self.estate.home}/{leader}"
        words = ["curl", "-s", "-m", "60", "--cacert", f"{self.estate.home}/ca.crt"]
        words += ["--cert", f"{own}.crt", "--key", f"{own}.key"]
        words += ["-u", f"patroni:{patroni.SECRETS['patroni_api_password']}", "-d", body]
        with self.clients.writing(seen):
            done = subprocess.run([*words, f"https://{self.estate.addresses[leader]}:8008/switchover"],
                                  capture_output=True, text=True, check=False)  # fmt: skip
            if "Successfully switched over" not in done.stdout:
                raise SystemExit(f"bench: Patroni: {done.stdout}{done.stderr}")


def figures(count: int) -> Iterator[Line]:
    """What the bench prints; the floor is the peer's."""
    with tempfile.TemporaryDirectory(prefix="bdb-peers-") as home, lab_hosts(Path(home), *PAIR, POOLER) as estate:
        pair = Pair(estate)
        ours = _rounds(pair.ours, count, "direct", "pooled")
        pair.begin_repmgr()
        repmgr = _rounds(pair.repmgr, count, "direct")
    yield from _lines("hosts_pooled", ours["pooled"])
    yield from _lines("hosts_direct_beside_repmgr", ours["direct"], repmgr["direct"])
    members = (*patroni.MEMBERS, patroni.POOLER)
    with tempfile.TemporaryDirectory(prefix="bdb-peers-") as home, lab_hosts(Path(home), *members) as estate:
        managed = Managed(estate)
        under = _rounds(managed.ours, count, "direct", "pooled")
        alone = _rounds(managed.patroni, count, "direct")
    yield from _lines("under_patroni_pooled_beside_patroni", under["pooled"], alone["direct"])
    yield from _lines("hosts_direct_beside_patroni", ours["direct"], alone["direct"])


def _rounds(act: Callable[[dict[str, Seen]], None], count: int, *kinds: str) -> dict[str, Seen]:
    """So many, after one that is not counted."""
    act({kind: Seen() for kind in kinds})
    seen = {kind: Seen() for kind in kinds}
    for _number in range(count):
        act(seen)
    return seen


def _lines(name: str, own: Seen, peer: Seen | None = None) -> Iterator[Line]:
    for word, of in (("p50", statistics.median), ("max", max)):
        value, floor = float(of(own.gaps)), float(of(peer.gaps)) if peer else None
        yield f"switchover_{name}_{word}", value, "ms", floor, round(value / floor, 3) if floor else None
    yield f"switchover_{name}_errors", own.errors, "errors", peer and float(peer.errors), None
