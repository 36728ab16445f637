"""The tests' S3 store in the place of the repository's host. It is moto's, over TLS, and keeps all in its own memory
and temporary files: its seconds are not a real store's, and both sides pay them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.hosts import REPOSITORY, playbook
from tests.lab.plan import CONTROLLER_ADDRESS
from tests.lab.s3 import start
from tests.lab.s3.store import ENDPOINT, SECRETS, WRITER

BUCKET, PORT = "bench", 9443


@contextmanager
def store() -> Iterator[None]:
    """Have the provisioned cluster archive to an empty bucket, and nowhere else. The store is gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        start.authority(home, "ca")
        start.certificate(home, ENDPOINT, f"{BUCKET}.{ENDPOINT}")
        process = start.started(home, CONTROLLER_ADDRESS, PORT)
        try:
            start.make_bucket(start.client(CONTROLLER_ADDRESS, PORT), BUCKET)
            _configure(home)
            yield
        finally:
            start.stop(process)


def _configure(home: Path) -> None:
    bucket = {
        "type": "s3", "bucket": BUCKET, "endpoint": ENDPOINT, "port": PORT, "region": start.REGION,
        "uri_style": "path", "ca_file": str(home / "ca.pem"), "key": WRITER, "key_secret": SECRETS[WRITER],
    }  # fmt: skip
    given = home / "given.json"
    given.write_text(json.dumps({"backup_repositories": [bucket], "backup_repository_host": ""}))
    playbook("../tests/lab/s3/configure.yml", "-e", f"@{given}", "--limit", f"all:!{REPOSITORY}")
