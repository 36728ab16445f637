# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ready-made accounts that may do one job and no more; docs/access.md tells of each privilege why."""

from __future__ import annotations

from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.access_plan import Entry

#: Attributes that a role has unless something else is declared.
PLAIN: dict[str, Any] = {
    "state": "present", "password": None, "login": False, "superuser": False, "createdb": False, "createrole": False,
    "inherit": True, "replication": False, "bypassrls": False, "connection_limit": -1, "valid_until": None,
    "member_of": [], "settings": {},
}  # fmt: skip
#: What each job needs beside LOGIN.
_JOBS: dict[str, dict[str, Any]] = {
    "replication": {"replication": True},
    "backup": {"replication": True, "member_of": ["pg_read_all_settings"]},
    "monitoring": {"member_of": ["pg_monitor"], "settings": {"default_transaction_read_only": "on"}},
    "drill": {
        "member_of": ["pg_read_all_data", "pg_read_all_settings", "pg_read_all_stats"],
        "settings": {"default_transaction_read_only": "on"},
    },
}
JOBS = tuple(_JOBS)


def _functions(job: str, major: int) -> list[str]:
    """The functions that only a superuser may call unless they are granted."""
    if job == "drill":
        return ["pg_show_all_file_settings()", "pg_hba_file_rules()", *["pg_ident_file_mappings()"] * (major >= 15)]
    if job != "backup":
        return []
    control = (
        ["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"]
        if major >= 15
        else ["pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"]
    )
    return [*control, "pg_create_restore_point(text)", "pg_switch_wal()"]


def roles_of(accounts: list[Entry], major: int) -> list[Entry]:
    """The accounts as roles."""
    own = ("name", "password", "connection_limit", "valid_until")
    roles = []
    for account in accounts:
        job = dict(_JOBS[account["job"]])
        if account["job"] == "drill" and major >= 15:
            # `verify` flushes the copy's pages before it reads its files.
            job["member_of"] = [*job["member_of"], "pg_checkpoint"]
        roles.append({**PLAIN, "login": True, **job, **{key: account[key] for key in own}})
    return roles


def grants_of(accounts: list[Entry], major: int) -> list[Entry]:
    """What the accounts are granted in the database that the module connects to."""
    return [
        {
            "state": "present", "role": account["name"], "database": None, "type": "function", "schema": "pg_catalog",
            "objects": _functions(account["job"], major), "privileges": ["EXECUTE"],
        }
        for account in accounts
        if _functions(account["job"], major)
    ]  # fmt: skip
