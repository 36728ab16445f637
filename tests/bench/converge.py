"""What it costs to converge a cluster of three hosts that is converged already: tasks and seconds a host."""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.ground import HOME, REPO, remove
from tests.ports import free_ports

_RESULT = re.compile(r"^(?:ok|changed): \[(\w+)")


def _provision(port: str) -> tuple[str, float]:
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(REPO / "inventories/local")]
    env = {**os.environ, "BORINGDB_HOME": str(HOME), "BORINGDB_PORT": port, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")}
    begun = time.monotonic()
    playbook = str(REPO / "playbooks/provision.yml")
    done = subprocess.run(
        [*argv, playbook, "-e", "cluster=orders"], env=env, cwd=REPO, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: provision failed: {done.stdout[-2000:]}")
    return done.stdout, time.monotonic() - begun


def figures() -> Iterator[tuple[str, float, str]]:
    """Provision twice, and count what the second run does. Yields name, value and unit."""
    port = str(free_ports(54320))
    try:
        _provision(port)
        output, seconds = _provision(port)
        per_host = collections.Counter(found.group(1) for found in map(_RESULT.match, output.splitlines()) if found)
        if "changed: [" in output:
            raise SystemExit("bench: a converged cluster was changed")
        yield "converge_tasks_a_host", max(per_host.values()), "tasks"
        yield "converge_seconds_a_host", seconds / len(per_host), "s"
    finally:
        remove()
