"""What it costs to converge a cluster of three hosts that is converged already: module tasks and seconds a host.

A module task is one that starts a module on a host (or for it, where it is delegated), however often its loop runs it;
`converge_module_runs_a_host` counts the loops out. What the controller does alone is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.counting import counting
from tests.bench.ground import HOME, REPO, remove
from tests.ports import free_ports


def _provision(port: str) -> tuple[str, float, dict[str, Any]]:
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(REPO / "inventories/local")]
    env = {**os.environ, "BORINGDB_HOME": str(HOME), "BORINGDB_PORT": port, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")}
    begun = time.monotonic()
    playbook = str(REPO / "playbooks/provision.yml")
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts.json")
        done = subprocess.run(
            [*argv, playbook, "-e", "cluster=orders"], env={**env, **counting(counts)}, cwd=REPO, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: provision failed: {done.stdout[-2000:]}")
        return done.stdout, time.monotonic() - begun, json.loads(counts.read_text())


def figures() -> Iterator[tuple[str, float, str]]:
    """Provision twice, and count what the second run does. Yields name, value and unit."""
    port = str(free_ports())
    try:
        _provision(port)
        output, seconds, counts = _provision(port)
        if "changed: [" in output:
            raise SystemExit("bench: a converged cluster was changed")
        yield "converge_tasks_a_host", max(host["tasks"] for host in counts.values()), "tasks"
        yield "converge_module_runs_a_host", max(host["runs"] for host in counts.values()), "runs"
        yield "converge_seconds_a_host", seconds / len(counts), "s"
    finally:
        remove()
