# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a report where what it says has changed. The cell of the ``report`` module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import matrix, matrix_text, page, report_text
from ansible_collections.boringdb.ops.plugins.module_utils._core.evidence import witness_lists
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError, load_trusted
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.report import Approval, Estate, Member, read_estate

FORMS = {
    "html": page.render, "markdown": report_text.markdown, "json": report_text.as_json,
    "controls_markdown": matrix_text.controls_markdown, "controls_json": matrix_text.controls_json,
}  # fmt: skip
# Where the forms carry the time at which they were made; nothing else in them changes by itself within a day.
_MADE = re.compile(r'data-made="\d+"|Made \d{4}-\d\d-\d\d \d\d:\d\d UTC|"generated": "[^"]*"')
MODE = 0o644  # for a web server to read; records hold no secret


def write_report(params: Params, check_mode: bool) -> Outcome:
    """Renders the report and writes it when it says something new.

    :raises EvidenceError: when the ledger or a key cannot be read, or the file not written
    """
    ledger, dest = Path(params["ledger"]), Path(params["dest"])
    if not ledger.is_dir():
        raise EvidenceError(f"ledger {ledger} is not a folder: correct the path, or record a first operation")
    if params["limit"] < 1 or params["overdue_days"] <= 0:
        raise EvidenceError("limit and overdue_days must be positive: correct them")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    days = matrix.period(params["period_start"], params["period_end"], now)
    approval = Approval(tuple(params["approval"]), params["second_person"])
    estate = read_estate(
        ledger, load_trusted(map(Path, params["public_key"])), title=params["title"], now=now,
        overdue_days=params["overdue_days"], expected=params["clusters"],
        witnesses=witness_lists(params["witnesses"] or {}), approval=approval,
        members=_members(params["members"] or {}, params["instances"] or {}),
    )
    estate.matrix = matrix.build(estate.clusters, days, approval)
    content = FORMS[params["format"]](estate, params["limit"])
    try:
        before = read_text(dest)
        changed = _MADE.sub("", before) != _MADE.sub("", content)
        if changed and not check_mode:
            write_atomic(dest, content, MODE)
    except OSError as error:
        raise EvidenceError(
            f"report {dest} cannot be written ({error.strerror}): create its folder and check its owner and mode"
        ) from error
    return Outcome(
        changed=changed,
        facts={
            "dest": str(dest),
            "headline": report_text.headline(estate),
            "proven": bool(estate.clusters) and not estate.attention,
            "clusters": {item.name: {"state": item.state, "problems": item.problems} for item in estate.clusters},
            "gaps": [vars(gap) for gap in estate.matrix.gaps],
        },
        before="" if changed else _states(estate),
        after=_states(estate),
    )


def _members(members: Mapping[str, Any], instances: Mapping[str, Any]) -> dict[str, list[Member]]:
    """The hosts of each cluster, with what their servers said.

    :raises EvidenceError: when they are not given as lists of names
    """
    found: dict[str, list[Member]] = {}
    for cluster, hosts in members.items():
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise EvidenceError(f"members of {cluster} are no list of hosts: give their names")
        for host in hosts:
            said = instances.get(host)
            said = said if isinstance(said, dict) else {}
            known = {key: str(said[key]) for key in ("role", "state") if said.get(key)}
            found.setdefault(cluster, []).append(Member(host, **known))
    return found


def _states(estate: Estate) -> str:
    return "".join(f"{item.name}: {'; '.join([item.state, *item.problems])}\n" for item in estate.clusters)
