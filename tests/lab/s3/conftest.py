# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two members, a repository's host, a drill host, and on the bridge an S3 store with a certificate of a CA of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cluster import MEMBERS, ClusterGround
from tests.lab.estate import lab_hosts
from tests.lab.plan import CONTROLLER_ADDRESS
from tests.lab.s3 import start
from tests.lab.s3.start import authority, certificate, started, stop
from tests.lab.s3.store import ENDPOINT, READER, SECRETS, WRITER

PRIMARY, REPLICA, REPOSITORY, DRILL = HOSTS = ("bkp1", "bkp2", "bkprepo", "bkpdrill")
CONFIGURE = "../tests/lab/s3/configure"
CLUSTER, BUCKET, PORT = "bkp", "far-backups", 9443
FIRST_KEY, SECOND_KEY = "the key of the first repository", "the key of the second repository"
SECRET_TEXTS = (FIRST_KEY, SECOND_KEY, *SECRETS.values())


class Ground(ClusterGround):
    """The cluster with a second repository in the store; `home` holds what signed its certificate."""

    def with_store(self, **other: Any) -> str:
        """The extra variable that changes the second repository alone."""
        given = json.loads(self.estate.inventory.read_text())["all"]["vars"]["backup_repositories"]
        return json.dumps({"backup_repositories": [given[0], {**given[1], **other}]})

    def described(self) -> None:
        """Write the inventory. The drill host has a key of its own, which can only read."""
        at = {name: {"ansible_host": self.estate.addresses[name]} for name in HOSTS}
        store: dict[str, Any] = {
            "type": "s3", "bucket": BUCKET, "endpoint": ENDPOINT, "port": PORT, "region": "eu-central-1",
            "uri_style": "path", "path": "/bkp", "ca_file": str(self.home / "ca.pem"), "cipher_pass": SECOND_KEY,
            "key": "{{ store_key }}", "key_secret": "{{ store_secret }}", "retention_full": 1,
        }  # fmt: skip
        reader = {"store_key": READER, "store_secret": SECRETS[READER]}
        self.estate.describe(
            {
                CLUSTER: {"hosts": {name: at[name] for name in (PRIMARY, REPLICA)}, "vars": MEMBERS},
                "repository_hosts": {"hosts": {REPOSITORY: {**at[REPOSITORY], "backup_cipher_pass": FIRST_KEY}}},
                "drill_hosts": {"hosts": {DRILL: {**at[DRILL], **reader}}},
            },
            backup_repository_host=REPOSITORY,
            backup_repositories=[{"type": "host"}, store],
            store_key=WRITER,
            store_secret=SECRETS[WRITER],
        )


def client() -> Any:
    """boto3's client of the store."""
    return start.client(CONTROLLER_ADDRESS, PORT)


@pytest.fixture(scope="package")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A provisioned cluster that archives to both repositories."""
    home = tmp_path_factory.mktemp("s3")
    authority(home, "ca")
    authority(home, "other")
    certificate(home, ENDPOINT, f"{BUCKET}.{ENDPOINT}")
    with lab_hosts(home, *HOSTS) as estate:
        it = Ground(estate, home, CLUSTER)
        store = started(home, CONTROLLER_ADDRESS, PORT)
        try:
            start.make_bucket(client(), BUCKET)
            it.described()
            it.play("provision")
            it.play("evidence_key")
            yield it
        finally:
            stop(store)
