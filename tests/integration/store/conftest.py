# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's store over TLS on the loopback, with buckets that are locked and others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from buckets import LOCKED

from tests.lab.s3 import start
from tests.lab.s3.store import SECRETS, WRITER
from tests.ports import free_port


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A store with five buckets; yields the options that lead there."""
    home = tmp_path_factory.mktemp("store")
    home.chmod(0o755)
    start.authority(home, "ca")
    start.certificate(home, "localhost")
    port = free_port()
    process = start.started(home, "127.0.0.1", port)
    try:
        client = start.client("localhost", port, str(home / "ca.pem"))
        for bucket, (mode, days) in LOCKED.items():
            start.make_bucket(client, bucket, lock=True)
            start.keep(client, bucket, mode, **({"Years": 1} if bucket == "years" else {"Days": days}))
        start.make_bucket(client, "plain")
        start.make_bucket(client, "ruleless", lock=True)
        yield {
            "endpoint": "localhost", "port": port, "region": start.REGION, "uri_style": "path", "key": WRITER,
            "key_secret": SECRETS[WRITER], "ca_file": str(home / "ca.pem"),
        }  # fmt: skip
    finally:
        start.stop(process)


@pytest.fixture(scope="module")
def client(store: dict[str, Any]) -> Any:
    """boto3's client of it."""
    return start.client("localhost", store["port"], store["ca_file"])
