# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of wrong options, generated: each is refused in one line that names it, and nothing is touched."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wrong_options import MODULES, Case, wrong_shapes

from tests.modules import OWNER, ROOT, programs, said


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Where everything would be put, if anything were."""
    place = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    place.chmod(0o755)
    (place / "keep").mkdir()
    if ROOT:
        shutil.chown(place, OWNER)
    yield place
    shutil.rmtree(place)


def right(word: str, home: Path) -> dict[str, Any]:
    """Options that a module would take, on a host with nothing on it."""
    server = {"data_dir": f"{home}/data", "bin_dir": str(programs()), "socket_dir": f"{home}/run", "port": 5999}
    store = {"bucket": "none", "endpoint": "127.0.0.1", "port": 1, "region": "nowhere", "days": 1}
    store |= {"key": "no key that is", "key_secret": "nor a secret"}
    repository = {"tool": "native", "backup_path": f"{home}/backup", "wal_path": f"{home}/wal"}
    primary = {"primary_address": "127.0.0.1", "primary_port": 1, "slot": "a", "replication_password": "wrong-password"}
    return {
        "backup": {**server, **repository},
        "backup_info": repository,
        "backup_manifest": server,
        "boot_guard": {**server, "peers": {"db2": {"host": "127.0.0.1", "port": 1}},
                       "replication_password": "wrong-password"},
        "config": {**server, "settings": {"work_mem": "4MB"}},
        "extract": {**server, "database": "shop", "dest": f"{home}/shop.dump"},
        "evidence": {"state": "verified", "ledger": f"{home}/ledger", "public_key": [f"{home}/key.pub.pem"]},
        "failover_drill": {**server, "state": "killed"},
        "instance": {**server, "state": "started"},
        "instance_info": server,
        "object_lock": store,
        "pool": {"state": "started", "config_file": f"{home}/pgbouncer.ini"},
        "pool_balancer": {"cluster": "shop", "config_file": f"{home}/haproxy.cfg", "check_password": "wrong-password",
                          "members": [{"name": "db1", "host": "127.0.0.1"}]},
        "pool_info": {"config_file": f"{home}/pgbouncer.ini"},
        "pool_server": {**server, "databases": ["shop"], "auth_password": "wrong-password"},
        "probe": {**server, "directory": f"{home}/probe"},
        "replica": {**server, **primary},
        "report": {"ledger": f"{home}/ledger", "public_key": [f"{home}/key.pub.pem"], "dest": f"{home}/report.html"},
        "rejoin": {**server, **{name: primary[name] for name in primary if name != "slot"}, "name": "db1"},
        "restart": server,
        "restore_in_place": {**server, **repository, "state": "planned"},
        "restore": {**server, **repository},
        "switchover": {**server, "candidate_host": "127.0.0.1"},
        "tls": {**server, "certificate_file": f"{home}/server.crt", "key_file": f"{home}/server.key"},
        "verify": server,
    }.get(word, server)


def check(cases: list[Case], home: Path, *dry_runs: bool) -> None:
    """Every case fails, in one line that holds its pieces, and leaves nothing; the kinds of run take turns."""
    before = sorted(str(path) for path in home.rglob("*"))
    wrong = []
    for number, case in enumerate(cases):
        dry = dry_runs[number % len(dry_runs)]
        fault = _fault(case, said(case.word, case.options, dry))
        if fault:
            wrong.append(f"{case.word}: {case.name}{' (check)' if dry else ''}: {fault}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(cases)} cases", *wrong[:60]])
    assert sorted(str(path) for path in home.rglob("*")) == before


def _fault(case: Case, said: str) -> str:
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    try:
        result = json.loads(said)
    except ValueError:
        return f"no result: {said[:300]}"
    message = str(result.get("msg", ""))
    missing = [piece for piece in case.pieces if piece not in message]
    if not result.get("failed"):
        return f"was taken: {said[:200]}"
    if "\n" in message.strip():
        return f"more than one line: {message[:300]}"
    return f"{missing} not named: {message[:300]}" if missing else ""


#: What means nothing in the state that is tried.
IDLE = {"evidence": ("private_key", "cluster", "passphrase", "lock_timeout", "witnesses", "follow_up",
                     "second_person", "operator", "witness", "store"),
        "patroni": ("bin_dir", "config_dir", "socket_dir"), "report": ("dest", "ledger")}  # fmt: skip
SETTINGS: list[Any] = [
    {name: "1"} for name in ("", " ", "work mem", "work_mem;", "a=b", "1a", "a.b.c", "work_mem\n", "\u00e4", "-c",
                             "a'b", "include", "include_dir", "include_if_exists", "config_file", "data_directory",
                             "#a")
] + [{"work_mem": value} for value in (None, [], [1], {"a": 1}, "a\nb", "a\u0000b", "\u001b[31m", "a\rb")]  # fmt: skip
RULE = {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "scram-sha-256"}
RULES = [
    {"type": "tls"}, {"type": ""}, {"type": "local"}, {"type": None},
    {"database": "a b"}, {"database": "a\nb"}, {"database": ""}, {"database": "#a"}, {"database": None},
    {"user": "a b"}, {"user": ""}, {"user": "a\tb"}, {"user": "all\nlocal all all trust"}, {"user": None},
    {"address": ""}, {"address": None}, {"address": "10.0.0.1"}, {"address": "10.0.0.0/33"}, {"address": "::1/129"},
    {"address": "10.0.0.0/8 trust"}, {"address": "a b"}, {"address": "-"}, {"address": "10.0.0.0/x"}, {"address": "#"},
    {"address": "all\nhost all all all trust"}, {"address": "300.0.0.0/8"}, {"address": "fe80::%eth0/64x"},
    {"method": "password"}, {"method": ""}, {"method": "peer"}, {"method": "cert"}, {"method": None},
    {"type": "local", "address": None, "method": "gss"}, {"type": "hostnossl", "method": "cert"},
]  # fmt: skip
FILES = ["", ".", "..", "a/b", "A", "a.conf", "a\n", "\u00e4", " a", "../../x"]
SLOTS = ["", "A", "a-b", "a b", "\u00e4", "a" * 64, "a;b", "../a", "a\n", "a'b", "$a"]
LSNS = ["", "0", "x/y", "0/G", "/", "0/", "1/2/3", "-1/0", "0/123456789", "0/1 ", "0\\1", "latest"]
TIMES = ["", "today", "12:00", "2026-11-21", "2026-13-01 00:00:00+00", "2026-02-30 00:00:00+00", "2026-11-21 25:00:00Z",
         "2026-11-21 10:00:00", "2026-11-21 10:00:00 Europe/Nowhere", "1763712000", "2026-11-21 10:00:00+99",
         "'; DROP TABLE x; --"]  # fmt: skip
NAMES = ["", "a\nb", "a" * 64]
POOLED: list[Any] = [
    {"*": {"host": "a"}}, {"pgbouncer": {"host": "a"}}, {"": {"host": "a"}}, {"a\nb": {"host": "a"}}, {"a": {}},
    {"a": {"host": ""}}, {"a": {"host": "a\nb"}}, {"a": {"host": "a", "port": 0}}, {"a": {"host": "a", "port": "x"}},
    {"a": {"host": "a", "password": "x"}}, {"a": {"host": "a", "no such": 1}}, {"a": "host=a"}, {"a": ["host"]},
]  # fmt: skip
TIMELINES = ["", "x", "-1", "1.5", "latest ", "0", "2\n", "newest"]


def meant(word: str, home: Path) -> list[Case]:
    """Options of the right type that mean nothing."""
    base = right(word, home)
    found: list[dict[str, Any]] = []
    if word == "config":
        found += [{"settings": settings} for settings in SETTINGS]
        found += [{"hba": [RULE, {**RULE, **wrong}]} for wrong in RULES]
        found += [{"file": file} for file in FILES]
    if word == "replica":
        found += [{"slot": slot} for slot in SLOTS]
        found += [{"primary_port": port} for port in (0, -1, 65536)] + [{"timeout": 0}, {"primary_address": ""}]
        found += [{"replication_user": user} for user in ("", "a\nb")]
    if word == "restore":
        found += [{"target_type": "lsn", "target": lsn} for lsn in LSNS]
        found += [{"target_type": "time", "target": moment} for moment in TIMES]
        found += [{"target_type": "name", "target": name} for name in NAMES]
        found += [{"target_timeline": timeline} for timeline in TIMELINES]
        found += [{"settings": settings} for settings in SETTINGS]
        found += [{"ttl_seconds": 0}, {"timeout": 0}, {"target": "0/1"}]
    if word == "pool":
        present = {"state": "present", "databases": {"shop": {"host": "127.0.0.1"}}}
        found += [{**present, "databases": databases} for databases in POOLED]
        found += [{**present, "settings": settings} for settings in ({"": 1}, {"a b": 1}, {"pool_mode": "a\nb"})]
        found += [{**present, "kept_free": -1}, {**present, "hosts": 0}, {**present, "processes": 0}, {"timeout": 0}]
        found += [{"consoles": [{"host": host, "port": port}]} for host, port in (("", 1), ("a", 0), ("a", 65536))]
        routed = {"state": "routed", "database": ["shop"]}
        found += [{**routed, "server_host": ""}, {**routed, "server_host": "a", "server_port": 0}]
        found += [{"state": "armed", "candidates": []}]
    if word == "switchover":
        found += [{name: 0} for name in ("pause_timeout", "replay_timeout", "timeout", "candidate_port")]
        found += [{name: -1} for name in ("max_lag_bytes", "max_archive_backlog", "transaction_seconds")]
        found += [{"consoles": [{"host": host, "port": port}]} for host, port in (("", 1), ("a", 0), ("a", 65536))]
        found += [{"candidate_host": ""}]
        moved = {"state": "moved", "name": "db1", "candidate": "db2"}
        found += [{**moved, "candidate_host": None}, {"state": "planned", "members": {}, "candidate": "db2"}]
    if word == "failover":
        found += [{name: 0} for name in ("reach_seconds", "silence_seconds", "timeout")]
        found += [{"places": {"db1": place}} for place in ({}, {"host": "a", "port": 0}, {"host": "", "port": 1})]
        found += [{"accept_loss": "much"}, {"state": "left", "data_dir": None}]
    if word == "rejoin":
        found += [{"primary_port": port} for port in (0, 65536)]
        found += [{"primary_address": address} for address in ("", "a b", "a'")]
    if word == "pool_server":
        found += [{"databases": databases} for databases in ([""], ["a\nb"], ["a" * 64])]
        found += [{"auth_user": user} for user in NAMES] + [{"auth_password": secret} for secret in ("", "a\nb")]
    if "port" in base:
        found += [{"port": port} for port in (0, -1, 65536, 2**31)]
        found += [{"socket_dir": f"/tmp/{'s' * 100}"}, {"data_dir": ""}]
        found += [{"service": service} for service in ("a b", "-x", "a;b", "a\nb", "../a", "postgresql@15-main\n")]
        found += [{"login_user": user} for user in ("a\nb", "a\u0000b")]
    return [Case(word, f"{wrong!r:.60}", {**base, **wrong}, ()) for wrong in found]


@pytest.mark.parametrize("word", [word for word in MODULES if word not in ("evidence", "report", "backup_info")])
def test_options_that_mean_nothing_are_refused(word: str, home: Path) -> None:
    """Also in a dry run, which reads no more than the options where nothing is there yet."""
    check(meant(word, home), home, False, True)


@pytest.mark.parametrize("word", MODULES)
def test_wrong_shapes_are_refused(word: str, home: Path) -> None:
    cases = [case for case in wrong_shapes(word, right(word, home)) if case.name.split()[0] not in IDLE.get(word, ())]
    assert len(cases) > 15
    # These are refused by Ansible before the module knows whether the run is a dry one.
    check(cases, home, False)
