# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of ./repository drive a real pgBackRest, which a host of the lab has and the controller need not have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIG = Path(os.environ.get("BORINGDB_LAB_CACHE") or "/var/cache/boringdb/lab") / "run/ssh_config"
HOST = "repotest"
PACKAGES = "postgresql-15 pgbackrest python3-psycopg python3-pytest lz4 zstd"
INSTALL = f"""
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/none.conf
apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qqy install --no-install-recommends {PACKAGES}
"""
COLLECTION = ".collections/ansible_collections/boringdb/ops"


def lab(*words: str) -> None:
    """One verb of the lab."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def on_host(script: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a script on the host as root."""
    argv = ["ssh", "-F", str(CONFIG), HOST, script]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def host() -> Iterator[None]:
    """A host with the packages and our code."""
    lab("up", HOST)
    try:
        done = on_host(INSTALL)
        assert done.returncode == 0, done.stderr.decode()
        for base, names in ((ROOT / COLLECTION, ["plugins/module_utils"]), (ROOT, ["tests/lab/pgbackrest/repository"])):
            packed = subprocess.run(["tar", "-C", str(base), "-cf", "-", *names], capture_output=True, check=True)
            place = f"/opt/boringdb/{COLLECTION if base != ROOT else ''}"
            done = on_host(f"mkdir -p {place} && tar -C {place} -xf -", packed.stdout)
            assert done.returncode == 0, done.stderr.decode()
        yield
    finally:
        lab("down", HOST)


@pytest.mark.lab
def test_the_repository_on_a_host_that_has_it(host: None) -> None:
    done = on_host("cd /opt/boringdb && python3 -m pytest -q -p no:cacheprovider tests/lab/pgbackrest/repository")
    told = done.stdout.decode()
    assert done.returncode == 0, told + done.stderr.decode()
    assert " passed" in told
    assert "skipped" not in told, told
