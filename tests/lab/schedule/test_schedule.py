# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A control host runs playbooks by systemd: the timer fires, the journal tells, the budget ends a job."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.estate import ROOT, Estate, changed, lab_hosts

pytestmark = pytest.mark.lab

HOST = "bkpctl"
JOB = {
    "operation": "evidence_key",
    "cluster": "orders",
    "calendar": "*:*:0/5",
    "jitter_seconds": 0,
    "variables": {"evidence_key": "/home/ops/key.pem", "evidence_public_key": "/home/ops/key.pub.pem"},
}
HASTY = {**JOB, "name": "hasty", "calendar": "2099-01-01", "budget_seconds": 1}
UNIT = "boringdb-evidence_key-orders"


class Control:
    """The control host and the playbook that schedules on it."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate

    def schedule(self, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "schedule_account": "ops",
            "schedule_directory": "/srv/ops",
            "schedule_inventory": "localhost,",
            "schedule_playbooks": "playbooks/",
            "schedule_jobs": [JOB, HASTY],
            **variables,
        }
        return self.estate.attempt("schedule", "-e", json.dumps(given), *words)

    def changes(self, *words: str, **variables: Any) -> int:
        done = self.schedule(*words, **variables)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-500:]
        return changed(done.stdout)[HOST]

    def on(self, script: str, check: bool = True) -> str:
        return self.estate.on(HOST, script, check=check)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A host with Debian's ansible-core and this checkout."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    home = tmp_path_factory.mktemp("schedule")
    # Debian 13 is the first to have an Ansible that is new enough.
    Estate(home).lab("up", "--suite", "trixie", HOST)
    with lab_hosts(home, HOST) as estate:
        estate.on(HOST, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qqy install "
                        "--no-install-recommends ansible-core python3-cryptography")  # fmt: skip
        estate.on(HOST, "useradd --create-home ops && mkdir -p /srv/ops")
        names = ["ansible.cfg", "meta", "playbooks", "plugins", "roles", ".collections", "galaxy.yml"]
        packed = subprocess.run(["tar", "-C", str(ROOT), "-cf", "-", *names], capture_output=True, check=True)
        argv = ["ssh", "-F", estate.ssh_config, HOST, "tar -C /srv/ops -xf - --no-same-owner"]
        subprocess.run(argv, input=packed.stdout, check=True, timeout=60)
        at = {"ansible_host": estate.addresses[HOST]}
        estate.describe({"control_hosts": {"hosts": {HOST: at}}})
        yield Control(estate)


def _await(done: Callable[[], bool], seconds: float, why: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


def test_a_dry_run_on_a_fresh_host_changes_nothing(control: Control) -> None:
    assert control.changes("--check") > 0
    assert control.on("ls -d /etc/boringdb /etc/systemd/system/boringdb-* 2>/dev/null || true") == ""


def test_the_timer_fires_and_the_journal_tells(control: Control) -> None:
    assert control.changes() > 0
    try:
        _await(lambda: "PLAY RECAP" in control.on(f"journalctl -u {UNIT}.service"), 90, "the timer did not fire")
        assert control.on("stat -c '%U %a' /home/ops/key.pem").strip() == "ops 600"
        _await(lambda: "Finished" in control.on(f"journalctl -u {UNIT}.service"), 60, "the job did not end well")
    finally:
        control.on(f"systemctl stop {UNIT}.timer")


def test_the_units_are_clean_and_a_second_run_changes_nothing(control: Control) -> None:
    said = control.on("cd /etc/systemd/system && systemd-analyze verify ./boringdb-*.service ./boringdb-*.timer")
    assert "boringdb" not in said, said
    assert control.changes() == 1, "the timer that was stopped above is started"
    assert control.changes() == 0
    assert control.changes("--check", "--diff") == 0
    mode = control.on(f"stat -c '%a %U %G' /etc/boringdb/schedule/{UNIT}.json").strip()
    assert mode == "640 root ops"
    control.on(f"systemctl stop {UNIT}.timer")


def test_a_job_beyond_its_budget_is_ended_and_has_failed(control: Control) -> None:
    control.on(f"systemctl start {UNIT}-hasty.service", check=False)
    assert control.on(f"systemctl show -p Result {UNIT}-hasty.service").strip() == "Result=timeout"
    assert "hasty.json" not in control.on("ps -u ops -o args || true")


def test_what_is_no_longer_declared_goes_and_nothing_else(control: Control) -> None:
    control.on("cp /lib/systemd/system/apt-daily.timer /etc/systemd/system/boringdb-foreign.timer")
    assert control.changes("--check", schedule_jobs=[JOB]) > 0
    assert control.changes(schedule_jobs=[JOB]) > 0
    left = control.on("cd /etc/systemd/system && ls boringdb-* && ls /etc/boringdb/schedule").split()
    assert left == ["boringdb-evidence_key-orders.service", "boringdb-evidence_key-orders.timer",
                    "boringdb-foreign.timer", f"{UNIT}.json"]  # fmt: skip
    assert control.changes(schedule_jobs=[]) > 0
    assert control.on("systemctl list-timers --all 'boringdb-evidence*' --no-legend").strip() == ""


@pytest.mark.parametrize(("variables", "says"), [
    ({"schedule_account": "", "schedule_directory": "ops"},
     ["schedule_account is not set", "schedule_directory ops is relative"]),
    ({"schedule_jobs": [JOB, JOB]}, ["more than one job is boringdb-evidence_key-orders"]),
    ({"schedule_jobs": [{**JOB, "name": "a b", "budget_seconds": 0}]}, ["is no name of a unit", "has no time"]),
    ({"schedule_jobs": [{**JOB, "calendar": "whenever"}]}, ["whenever"]),
], ids=["account", "twice", "name", "calendar"])  # fmt: skip
def test_what_can_not_be_scheduled_is_refused(control: Control, variables: dict[str, Any], says: list[str]) -> None:
    done = control.schedule(**variables)
    assert done.returncode != 0
    told = " ".join((done.stdout + done.stderr).split())
    assert all(words in told for words in says), told[-2500:]
    assert control.on("ls /etc/systemd/system/boringdb-evidence* 2>/dev/null || true") == ""
