# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three members of a real etcd: started alone, killed, emptied; and what the next run makes of what they say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import as_user, free_port
from estate_runs import await_
from patroni_ground import TREE

from tests.modules import OWNER, ROOT, environment, module

NAMES = ("one", "two", "three")


class Etcds:
    """The members, in one folder; what the role does with modules and a unit, done with modules and processes."""

    def __init__(self) -> None:
        if not (TREE / "usr/bin/etcd").exists():
            pytest.skip("etcd is not unpacked: tests/packages does so")
        self.home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
        self.home.chmod(0o755)
        if ROOT:
            shutil.chown(self.home, OWNER)
        self.client = {name: f"http://127.0.0.1:{free_port()}" for name in NAMES}
        self.peer = {name: f"http://127.0.0.1:{free_port()}" for name in NAMES}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def data(self, name: str) -> Path:
        """Where a member's data lies."""
        return self.home / name

    def ask(self, name: str, **options: Any) -> dict[str, Any]:
        """The module on a member's host."""
        others = [url for other, url in self.client.items() if other != name]
        given = {"name": name, "peer_url": self.peer[name], "data_dir": str(self.data(name)), "timeout": 30}
        return module("etcd", endpoints=[self.client[name], *others], **{**given, **options})

    def seen(self, wait: bool = False) -> dict[str, Any]:
        """What each says."""
        return {name: self.ask(name, wait=wait)["etcd"] for name in NAMES}

    def planned(self, name: str, fails: bool = False) -> dict[str, Any]:
        """How a member comes in."""
        told = self.ask(name, state="planned", members=self.seen(wait=True), fails=fails)
        return {"refused": told["msg"]} if fails else dict(told["entry"])

    def start(self, name: str, state: str = "existing", initial: str = "") -> None:
        """A member, as its unit starts it."""
        declared = ",".join(f"{one}={url}" for one, url in self.peer.items())
        words = {
            "name": name, "data-dir": self.data(name), "listen-client-urls": self.client[name],
            "advertise-client-urls": self.client[name], "listen-peer-urls": self.peer[name],
            "initial-advertise-peer-urls": self.peer[name], "initial-cluster": initial or declared,
            "initial-cluster-state": state,
        }  # fmt: skip
        argv = [str(TREE / "usr/bin/etcd"), *(f"--{word}={value}" for word, value in words.items())]
        log = (self.home / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [*as_user(OWNER), *argv], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
        )
        # A unit is started when its program says so, and has its data by then.
        await_((self.data(name) / "member/wal").exists, f"the data of {name}")

    def lose(self, name: str) -> None:
        """A member's disk is gone."""
        self.kill(name)
        shutil.rmtree(self.data(name))

    def kill(self, name: str) -> None:
        """The power."""
        os.kill(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait(30)

    def down(self) -> None:
        """Nothing is left."""
        for process in self.processes.values():
            process.kill()
            process.wait(30)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def etcds() -> Iterator[Etcds]:
    """Three places without anything."""
    made = Etcds()
    try:
        yield made
    finally:
        made.down()


def test_a_bootstrap_that_was_interrupted_is_finished(etcds: Etcds) -> None:
    assert {etcds.planned(name)["state"] for name in NAMES} == {"new"}
    etcds.start("one", "new")
    # It has no quorum yet, and answers members alone.
    first = etcds.ask("one", wait=True)["etcd"]
    assert (first["has_data"], first["answers"], first["healthy"]) == (True, True, False)
    assert etcds.planned("one")["state"] == "keep"
    assert {etcds.planned(name)["state"] for name in NAMES[1:]} == {"new"}
    for name in NAMES[1:]:
        etcds.start(name, "new")
    for name in NAMES:
        assert len(etcds.ask(name, state="healthy")["members"]) == 3
    assert {etcds.planned(name)["state"] for name in NAMES} == {"keep"}


def test_what_stands_at_a_key(etcds: Etcds) -> None:
    assert etcds.ask("one", state="read", key="/service/orders/initialize")["value"] is None


def test_a_member_that_lost_its_data_comes_in_as_a_new_one(etcds: Etcds) -> None:
    before = {row["name"]: row["id"] for row in etcds.seen()["one"]["members"]}
    etcds.lose("three")
    entry = etcds.planned("three")
    assert entry == {"state": "existing", "remove": before["three"], "add": True}
    assert etcds.ask("three", state="joined", check=True)["changed"]
    joined = etcds.ask("three", state="joined")
    assert joined["changed"] and len(joined["initial_cluster"].split(",")) == 3
    # Killed here, the next run finds itself let in.
    assert etcds.planned("three") == {"state": "existing", "remove": "", "add": False}
    again = etcds.ask("three", state="joined")
    assert not again["changed"] and again["initial_cluster"] == joined["initial_cluster"]
    etcds.start("three", "existing", joined["initial_cluster"])
    etcds.ask("three", state="healthy")
    after = {row["name"]: row["id"] for row in etcds.seen()["one"]["members"]}
    assert after["three"] != before["three"] and after["one"] == before["one"]


def test_without_a_quorum_a_person_decides(etcds: Etcds) -> None:
    etcds.lose("two")
    etcds.lose("three")
    told = etcds.planned("two", fails=True)["refused"]
    assert "two has no data, and those that have it are no quorum any more" in told
    told = etcds.ask("two", state="joined", fails=True)["msg"]
    assert "no member of etcd is well" in told
    told = etcds.ask("one", state="healthy", timeout=1, fails=True)["msg"]
    assert "is not well after 1 s: it has no quorum" in told
