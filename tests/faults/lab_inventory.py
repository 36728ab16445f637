"""The inventory of the lab's ground: who is there, and which repositories there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.s3.start import REGION
from tests.lab.s3.store import ENDPOINT, READER, SECRETS, WRITER

CLUSTER = "orders"
PRIMARY, REPOSITORY, DRILL = HOSTS = ("faultdb", "faultvault", "faultproof")
#: The store's bucket and port, on this machine.
STORE, PORT = "fault-backups", 9447
KEY, FAR_KEY = "a key that only the repository's host knows", "another key for what lies in the store"
SPACE = "/srv/far/orders"
CONNECTION: dict[str, Any] = {
    "data_dir": "/var/lib/postgresql/15/main",
    "config_dir": "/etc/postgresql/15/main",
    "bin_dir": "/usr/lib/postgresql/15/bin",
    "socket_dir": "/var/run/postgresql",
    "port": 5432,
    "service": "postgresql@15-main",
}


def inventory(address: Mapping[str, str], ssh_config: str, evidence: Path, ca: Path) -> dict[str, Any]:
    """One cluster with two repositories. The drill host's key of the store can only read."""
    at = {name: {"ansible_host": address[name]} for name in HOSTS}
    store = {
        "type": "s3", "bucket": STORE, "endpoint": ENDPOINT, "port": PORT, "region": REGION, "uri_style": "path",
        "path": "/orders", "ca_file": str(ca), "cipher_pass": FAR_KEY, "key": "{{ store_key }}",
        "key_secret": "{{ store_secret }}",
    }  # fmt: skip
    everybody = {
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {ssh_config}",
        "ansible_ssh_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "backup_repository_host": REPOSITORY,
        "backup_repositories": [{"type": "host"}, store],
        # pgBackRest's own is a minute; the fault about a store that does not answer makes it shorter still.
        "backup_pgbackrest_options": {"io-timeout": 15},
        "store_key": WRITER,
        "store_secret": SECRETS[WRITER],
        "evidence_ledger": str(evidence / "ledger"),
        "evidence_key": str(evidence / "key.pem"),
        "evidence_public_key": str(evidence / "key.pub.pem"),
    }
    members = {
        "db_version": 15,
        "db_address": "{{ ansible_host }}",
        "db_backup_tool": "pgbackrest",
        "postgresql_replication_password": "for the lab only, 32 characters!",
        "postgresql_settings": {"wal_level": "logical"},
        "postgresql_tablespaces": [{"name": "far", "location": SPACE}],
        **{f"db_{key}": value for key, value in CONNECTION.items()},
    }
    reader = {"store_key": READER, "store_secret": SECRETS[READER]}
    groups = {
        CLUSTER: {"hosts": {PRIMARY: at[PRIMARY]}, "vars": members},
        "repository_hosts": {"hosts": {REPOSITORY: {**at[REPOSITORY], "backup_cipher_pass": KEY}}},
        "drill_hosts": {"hosts": {DRILL: {**at[DRILL], **reader}}},
    }
    return {"all": {"vars": everybody, "children": groups}}
