# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A locked bucket as the second repository: pgBackRest fills it, what it wrote is read back, and stays."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.lab.estate import ROOT, TOOLS
from tests.lab.plan import CONTROLLER_ADDRESS
from tests.lab.s3 import start
from tests.lab.s3.conftest import CLUSTER, CONFIGURE, DRILL, PRIMARY, REPOSITORY, Ground, client
from tests.lab.s3.store import ENDPOINT

LOCKED = "locked-backups"

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def locked(ground: Ground) -> Iterator[str]:
    """The extra variable that puts the second repository into a bucket that keeps what is written to it."""
    start.make_bucket(client(), LOCKED, lock=True)
    start.keep(client(), LOCKED, "COMPLIANCE", Days=35)
    yield ground.with_store(bucket=LOCKED, object_lock={"days": 35})
    ground.play(CONFIGURE)


def _named(ground: Ground, tmp_path: Path, playbook: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook on a controller that knows the store by its name, as the hosts do."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n{CONTROLLER_ADDRESS} {ENDPOINT}\n")
    own = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    argv = [str(TOOLS / "ansible-playbook"), "-i", str(ground.estate.inventory), f"playbooks/{playbook}.yml"]
    return subprocess.run(
        [*own, *argv, "-e", f"cluster={CLUSTER}", *words], cwd=ROOT, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip


def test_a_backup_in_a_locked_bucket_is_read_back_and_stays(ground: Ground, locked: str, tmp_path: Path) -> None:
    done = _named(ground, tmp_path, CONFIGURE, "-e", locked)
    assert done.returncode == 0, done.stdout[-5000:]
    done = _named(ground, tmp_path, "backup", "-v", "-e", locked, "-e", '{"backup_to": [2]}')
    assert done.returncode == 0, done.stdout[-5000:]
    taken = re.search(r"backup: (\S+) full of bkp in repository 2", " ".join(done.stdout.split()))
    assert taken, done.stdout[-3000:]
    read = " ".join(done.stdout.partition("Read back that buckets keep what was written")[2].split())
    assert re.search(rf"ok: \[{PRIMARY} -> localhost\].*backup: {taken[1]}.*kept_until: ", read), read[:3000]

    written = client().list_object_versions(Bucket=LOCKED, Prefix=f"bkp/backup/bkp/{taken[1]}/")["Versions"]
    assert {"backup.manifest", "bundle"} <= {one["Key"].split("/")[4] for one in written}
    for one in written:
        with pytest.raises(ClientError, match="AccessDenied"):
            client().delete_object(Bucket=LOCKED, Key=one["Key"], VersionId=one["VersionId"])

    # Removing it with pgBackRest itself leaves every version; without the markers it is there again.
    ground.pgbackrest(REPOSITORY, "--repo=2 repo-rm --recurse backup/bkp/" + taken[1])
    markers = client().list_object_versions(Bucket=LOCKED, Prefix=f"bkp/backup/bkp/{taken[1]}/")["DeleteMarkers"]
    assert len(markers) >= len({one["Key"] for one in written})
    for one in markers:
        client().delete_object(Bucket=LOCKED, Key=one["Key"], VersionId=one["VersionId"])
    answer = ground.module(DRILL, "backup_info", tool="pgbackrest", stanza=CLUSTER, repository=2)
    assert [one["label"] for one in answer["backups"] if not one["problem"]] == [taken[1]]
