# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three that Patroni runs with one etcd, set up by hand: our modules know of it what they find out.

Debian's packages are unpacked, not installed (tests/packages); Patroni runs with this Python and its psycopg 3.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import Server, as_user, await_, bin_dir, free_port
from estate_runs import HANGS
from pool_ground import APP
from verify_ground import module

from tests.modules import OWNER, REPO, ROOT, environment, warm
from tests.packed import packed

TREE = Path(os.environ.get("CACHE") or "/var/cache/boringdb") / "patroni"
SUPERUSER = {"username": "postgres", "password": APP}
NAMES = ("one", "two", "three")
API = {"username": "patroni", "password": "for the orders of this test"}
TRUST = [
    "local  all  all  trust",
    "host  all  all  127.0.0.1/32  trust",
    "local  replication  all  trust",
    "host  replication  all  127.0.0.1/32  trust",
]


class Trio:
    """The three members, in one folder."""

    def __init__(self) -> None:
        if not (TREE / "usr/bin/patroni").exists():
            pytest.skip("Patroni is not unpacked: tests/packages does so")
        self.home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
        self.home.chmod(0o755)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.api = {name: free_port() for name in NAMES}
        self.etcd, self.peer = free_port(), free_port()
        self.servers: dict[str, Server] = {}
        for name in NAMES:
            place = self._folder(name)
            self.servers[name] = Server(free_port(), place, place / "data", bin_dir(16), OWNER)
        self._folder("etcd")

    def _folder(self, name: str) -> Path:
        place = self.home / name
        place.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(place, OWNER)
        return place

    def up(self) -> None:
        """The first one is initialised by Patroni, the others are cloned."""
        at, peer = f"http://127.0.0.1:{self.etcd}", f"http://127.0.0.1:{self.peer}"
        words = {
            "name": "e", "data-dir": self.home / "etcd/data", "listen-client-urls": at, "advertise-client-urls": at,
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"e={peer}",
        }  # fmt: skip
        self._begin("etcd", [str(TREE / "usr/bin/etcd"), *(f"--{name}={value}" for name, value in words.items())])
        self.start("one")
        await_(lambda: self.leader() == "one", 90, "the first leader")
        for name in NAMES[1:]:
            self.start(name)
        await_(self.whole, 90, "the replicas")

    def start(self, name: str) -> None:
        """Patroni of a member."""
        place = self.home / name / "patroni.yml"
        # JSON is YAML as well.
        place.write_text(json.dumps(self._configuration(name)))
        self._begin(name, [sys.executable, str(TREE / "usr/bin/patroni"), str(place)])

    def _configuration(self, name: str) -> dict[str, Any]:
        server = self.servers[name]
        settings = {"fsync": "off", "max_connections": 60, "shared_buffers": "16MB"}
        return {
            "scope": "orders",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.api[name]}", "connect_address": f"127.0.0.1:{self.api[name]}",
                        "authentication": API},
            "etcd3": {"hosts": [f"127.0.0.1:{self.etcd}"]},
            "bootstrap": {
                "dcs": {"ttl": 20, "loop_wait": 2, "retry_timeout": 3,
                        "postgresql": {"use_pg_rewind": False, "parameters": settings, "pg_hba": TRUST}},
                "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{server.port}", "connect_address": f"127.0.0.1:{server.port}",
                "data_dir": str(server.data_dir), "bin_dir": str(server.bin_dir),
                "pgpass": str(server.socket_dir / "pgpass"), "use_unix_socket": True,
                "authentication": {"superuser": SUPERUSER, "replication": SUPERUSER},
                "parameters": {"unix_socket_directories": str(server.socket_dir)},
            },
        }  # fmt: skip

    def _begin(self, name: str, words: list[str]) -> None:
        log = (self.home / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [*as_user(OWNER), *words], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment(PYTHONPATH=str(TREE / "usr/lib/python3/dist-packages"), PYTHONUNBUFFERED="1"),
        )  # fmt: skip

    def down(self) -> None:
        """Nothing is left of it."""
        for name in NAMES:
            if name in self.processes:
                self.processes[name].kill()
        for server in self.servers.values():
            if server.pid:
                stop = [str(server.bin_dir / "pg_ctl"), "stop", "-m", "immediate", "-D", str(server.data_dir)]
                subprocess.run([*as_user(OWNER), *stop], check=False, capture_output=True, cwd="/")
        for process in self.processes.values():
            process.kill()
            process.wait(30)
        if os.environ.get("BORINGDB_KEEP"):
            return
        shutil.rmtree(self.home, ignore_errors=True)

    def get(self, path: str, name: str = "one") -> dict[str, Any]:
        """What a node answers; nothing while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api[name]}{path}", timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            return {}

    def members(self) -> dict[str, dict[str, Any]]:
        """The members as the first that answers knows them."""
        rows = next((found for found in (self.get("/cluster", name) for name in NAMES) if found), {})
        return {row["name"]: row for row in rows.get("members", [])}

    def leader(self) -> str:
        """Who leads."""
        return next((name for name, row in self.members().items() if row["role"] == "leader"), "")

    def whole(self) -> bool:
        """Whether there is a leader whom all others follow."""
        rows = self.members().values()
        leader = [row.get("timeline") for row in rows if row["role"] == "leader" and row["state"] == "running"]
        return len(rows) == 3 and len(leader) == 1 and None not in leader and all(
            row["state"] in ("running", "streaming") and row.get("timeline") == leader[0] for row in rows
        )

    def ask(self, name: str, word: str, /, **options: Any) -> dict[str, Any]:
        """A module on a member."""
        return module(self.servers[name], word, **options)

    def play(self, playbook: str, **variables: Any) -> str:
        """A playbook over the three, which has to end well; returns its output in one line."""
        given = {"cluster": "orders", **variables}
        words = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self._inventory())]
        words += [str(REPO / "playbooks" / f"{playbook}.yml"), "-e", json.dumps(given)]
        inherited = {name: value for name, value in environment().items() if not name.startswith("ANSIBLE_")}
        env = {**inherited, **packed(), "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(words, cwd=REPO, env=env, capture_output=True, text=True, timeout=HANGS, check=False,
                              stdin=subprocess.DEVNULL)  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
        return " ".join(done.stdout.split())

    def _inventory(self) -> Path:
        """The three as hosts of this machine; the controller's own files beside them."""
        keys = {"ledger": "ledger", "key": "key.pem", "public_key": "key.pub.pem"}
        common = {
            "ansible_connection": "local", "ansible_python_interpreter": str(warm().python), "ansible_become": ROOT,
            "ansible_become_method": "ansible.builtin.sudo", "ansible_become_flags": "",
            "ansible_become_exe": str(REPO / "inventories/local/hosts"),
            "ansible_become_user": OWNER, "ansible_remote_tmp": f"{self.home}/one/.ansible", "db_owner": OWNER,
            "db_address": "127.0.0.1", "db_version": 16, "db_bin_dir": str(bin_dir(16)),
            **{f"evidence_{name}": f"{self.home}/evidence/{place}" for name, place in keys.items()},
        }  # fmt: skip
        hosts = {
            name: {"db_port": one.port, "db_data_dir": str(one.data_dir), "db_socket_dir": str(one.socket_dir)}
            for name, one in self.servers.items()
        }
        found = self.home / "inventory.json"
        evidence = {"vars": {name: value for name, value in common.items() if name.startswith("evidence_")}}
        found.write_text(json.dumps({"all": {**evidence, "children": {"orders": {"hosts": hosts, "vars": common}}}}))
        return found

    def record(self) -> dict[str, Any]:
        """The newest record."""
        newest = max((self.home / "evidence/ledger/orders").glob("*.dsse.json"))
        found: dict[str, Any] = json.loads(base64.b64decode(json.loads(newest.read_text())["payload"]))["predicate"]
        return found

    def seen(self) -> dict[str, Any]:
        """What each member says before a switchover."""
        return {name: self.ask(name, "switchover")["member"] for name in NAMES}

    def config(self, **options: Any) -> dict[str, Any]:
        """Settings, declared on the leader."""
        return self.ask(self.leader(), "config", **options)

    def shown(self, setting: str) -> set[str]:
        """What a setting is on all members."""
        return {server.psql(f"SHOW {setting}") for server in self.servers.values()}

    def await_shown(self, setting: str, value: str) -> None:
        """Wait until all members have it: a replica's Patroni reads what is declared in its next round."""
        await_(lambda: self.shown(setting) == {value}, 30, f"{setting} = {value} everywhere, not {self.shown(setting)}")
