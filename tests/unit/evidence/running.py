"""Runs Ansible from the tree and keeps what its tasks returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from samples import ROOT, Ground


def playbook(ground: Ground, path: str | Path, *extra: str, **values) -> subprocess.CompletedProcess[str]:
    """Runs ansible-playbook from the tree; the results of its tasks are left for `results`."""
    (ground.folder / "vars.json").write_text(json.dumps(values))
    inventory = ground.folder / "hosts"
    inventory.write_text("one ansible_connection=local\ntwo ansible_connection=local\n")
    kept = ground.folder / "results"
    kept.write_text("")
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "KEEP_RESULTS": str(kept),
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "keep_results", "ANSIBLE_SHOW_CUSTOM_STATS": "1",
    }
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, path,
         "-e", f"@{ground.folder / 'vars.json'}", *extra],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )


def results(ground: Ground, task: str) -> list[dict]:
    """What a task returned in the run before, one for each host it ran on."""
    kept = [json.loads(line) for line in (ground.folder / "results").read_text().splitlines()]
    return [item["result"] for item in kept if f" : {item['task']}".endswith(f" : {task}")]
