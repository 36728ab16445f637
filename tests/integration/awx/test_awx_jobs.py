# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each job by ansible-runner, as AWX runs it: by its path, with the answers of its survey, and what it hands on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from estate import REPO, Estate
from estate_runs import HANGS

from tests.modules import warm

RELEASE = "ansible-runner==2.4.3"
JOBS = yaml.safe_load((REPO / "roles/awx/vars/main/job_templates.yml").read_text())["__awx_job_templates"]
SURVEYS = {job["playbook"]: job["survey"] for job in JOBS}
#: What a person answers where there is nothing to click on.
TYPED = {
    "cluster": "orders", "confirm": "orders", "decommission_host": "db2", "rejoin_host": "db2",
    "switchover_candidate": "db2", "extract_database": "postgres", "extract_dest": "/nowhere/shop.dump",
    "fleet_operation": "config_drift",
}  # fmt: skip
#: Run for good, in this order: each hands on what the next may need. The others only dry.
REAL = ["access", "backup", "restore_drill", "verify_evidence", "report", "notification", "config_drift"]
#: Its own ground, with a pooler: tests/integration/embedded/test_pool_playbook.py.
ELSEWHERE = {"pool"}
#: What the cluster is makes it wrong.
REFUSES = {"failover": "refused: db1 is the primary, and it works (use switchover to have another one)"}
DRY = sorted(set(SURVEYS) - {*REAL, *ELSEWHERE})


@dataclass
class Job:
    """How a job ended, and its artifacts."""

    code: int
    output: str
    artifacts: dict[str, Any]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ansible-runner, kept below CACHE between runs."""
    cache = Path(os.environ.get("CACHE") or tmp_path_factory.mktemp("cache"))
    place = cache / RELEASE.replace("==", "-")
    if not (place / "ansible_runner").is_dir():
        beside = tmp_path_factory.mktemp("runner") / "site"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", beside, RELEASE]
        subprocess.run(command, check=True, timeout=300)
        if not place.exists():
            subprocess.run(["mv", beside, place], check=True)
    return place


@pytest.fixture(scope="module")
def launch(estate: Estate, runner: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Job]:
    """Launch a job with the answers that its survey offers."""

    def call(playbook: str, *words: str, **inventory: Any) -> Job:
        private = tmp_path_factory.mktemp(playbook)
        (private / "env").mkdir()
        (private / "env/extravars").write_text(json.dumps(answers(playbook)))
        # What an inventory of AWX would hold, and no survey asks.
        given = {"ansible_python_interpreter": str(warm().python), **inventory}
        (private / "inventory.json").write_text(json.dumps(given))
        environment = {**estate.environment(), "PYTHONPATH": str(runner), "AWX_HOST": "https://awx", "JOB_ID": "17"}
        command = [
            sys.executable, "-m", "ansible_runner", "run", private, "--project-dir", REPO,
            "--inventory", estate.inventory,
            "-p", f"playbooks/{playbook}.yml", "--ident", "job",
            "--cmdline", " ".join(["-e", f"@{private}/inventory.json", *words]),
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=private, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
        )
        artifacts: dict[str, Any] = {}
        for path in sorted((private / "artifacts/job/job_events").glob("*.json")):
            event = json.loads(path.read_text())
            if event["event"] == "playbook_on_stats":
                artifacts = event["event_data"].get("artifact_data") or {}
        return Job(done.returncode, done.stdout + done.stderr, artifacts)

    return call


def answers(playbook: str) -> dict[str, Any]:
    """As AWX passes them: what is clicked on is text, also where it means a boolean."""
    given = {}
    for one in SURVEYS[playbook]:
        value = TYPED[one["variable"]] if one.get("required") else one["default"]
        given[one["variable"]] = str(value).lower() if one["type"] == "bool" else value
    return given


def test_jobs_in_the_order_of_a_workflow(estate: Estate, launch: Callable[..., Job]) -> None:
    """The outcome that a drill hands on is that of the record in the ledger; a backup's is that of the backup."""
    handed: dict[str, Any] = {}
    for playbook in REAL:
        job = launch(playbook, **handed)
        assert job.code == 0, f"{playbook}: {job.output[-4000:]}"
        # AWX gives what a node hands out to the nodes after it.
        handed |= job.artifacts
    [backup] = handed["backup_outcome"]["backups"]
    assert (estate.backups / backup["label"]).is_dir() and handed["backup_outcome"]["cluster"] == "orders"
    outcome = handed["evidence_outcome"]
    assert (outcome["operation"], outcome["cluster"], outcome["verdict"]) == ("restore_drill", "orders", "verified")
    assert 0 < outcome["rto_seconds"] < 60 and outcome["rpo_seconds"] >= 0
    assert outcome["measurements"]["backup_label"] == backup["label"]
    [record] = estate.evidence.rglob(outcome["record"])
    assert outcome["digest"] == hashlib.sha256(record.read_bytes()).hexdigest() == handed["evidence_heads"]["orders"]
    text = (estate.evidence / "boringdb.prom").read_text()
    assert 'boringdb_drill_verified{cluster="orders"} 1\n' in text


@pytest.mark.parametrize("playbook", DRY)
def test_a_job_takes_its_answers(estate: Estate, launch: Callable[..., Job], playbook: str) -> None:
    """As the job type *check*: it ends well, or refuses in one line for what the cluster is."""
    inventory = {
        "dump": {"dump_path": str(estate.backups), "dump_prove_root": str(estate.home / "proof")},
        "extract": {"extract_root": str(estate.home / "extract")},
        "fleet": {"fleet_directory": f"{estate.logs}/fleet"},
    }
    job = launch(playbook, "--check", **inventory.get(playbook, {}))
    if playbook in REFUSES:
        assert job.code != 0 and REFUSES[playbook] in job.output and "Traceback" not in job.output, job.output[-4000:]
        return
    assert job.code == 0, job.output[-4000:]
