# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file for node_exporter, read as strictly as Prometheus reads it; and the role as Ansible runs it."""

from __future__ import annotations

import math
import re
import time

import pytest
from running import playbook, results
from samples import ROOT, forge
from telling import FAILED

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})\{{cluster="((?:[^"\\\n]|\\["\\n])*)"\}} (NaN|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)')


def parse(text):
    """Metrics by name and cluster. Everything the format does not allow is an error."""
    assert text.endswith("\n")
    found, helped, typed, current = {}, set(), set(), ""
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(rf"# HELP ({NAME}) [^\n\\]+", line):
            assert match[1] not in helped
            helped.add(match[1])
            current = match[1]
        elif match := re.fullmatch(rf"# TYPE ({NAME}) gauge", line):
            assert match[1] == current and match[1] not in typed
            typed.add(match[1])
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == current and current in typed, line
            assert match[2] not in found.setdefault(current, {})
            found[current][match[2]] = float(match[3])
    return found


def test_one_series_a_cluster_of_each_metric(estate):
    estate.drill("orders", 0.1)
    estate.drill("customers", 9)
    estate.drill("sessions", 0.2)
    estate.drill("sessions", 0.1, checks=FAILED, measurements={})
    estate.drill("billing", 0.1)
    forge(
        next((estate.ledger / "billing").glob("*.json")),
        lambda it: it["predicate"].update(cluster="billing", error="x"),
    )
    place = estate.folder / "boringdb.prom"
    assert estate.tell(textfile=str(place), clusters=["never"]).facts["written"]
    found = parse(place.read_text())
    names = {"orders", "customers", "sessions", "billing", "never"}
    assert len(found) == 11 and all(set(series) == names for series in found.values())
    assert math.isnan(found["boringdb_failover_drill_verified"]["orders"])
    drill = {name.removeprefix("boringdb_drill_"): series for name, series in found.items()}
    assert drill["overdue"] == {"orders": 0, "customers": 1, "sessions": 0, "billing": 1, "never": 1}
    assert drill["verified"] == {"orders": 1, "customers": 1, "sessions": 0, "billing": 0, "never": 0}
    assert drill["rto_seconds"]["orders"] == 187.4 and math.isnan(drill["rpo_seconds"]["sessions"])
    assert abs(time.time() - 0.1 * 86400 - drill["last_verified_timestamp_seconds"]["orders"]) < 600
    assert drill["last_verified_timestamp_seconds"]["sessions"] < drill["last_timestamp_seconds"]["sessions"]
    assert drill["due_timestamp_seconds"]["never"] == 0
    assert found["boringdb_evidence_sound"] == {**dict.fromkeys(names, 1), "billing": 0}
    assert found["boringdb_cluster_attention"] == {**dict.fromkeys(names, 1), "orders": 0}
    assert place.stat().st_mode & 0o777 == 0o644 and [path.name for path in estate.folder.glob(".*")] == []
    assert not estate.tell(textfile=str(place), clusters=["never"]).changed


@pytest.fixture
def run(estate, channel):
    def call(*extra, **values):
        given = {
            "notification_ledger": str(estate.ledger),
            "notification_public_key": str(estate.public),
            "notification_memory": str(estate.folder / "told.json"),
            "notification_channels": [channel],
        }
        return playbook(estate, ROOT / "playbooks/notification.yml", *extra, **{**given, **values})

    return call


def test_the_playbook_tells_once_and_fails_in_one_line(estate, hook, channel, run):
    estate.drill(checks=FAILED)
    dry = run("--check", "--diff")
    assert dry.returncode == 0 and "would tell desk" in dry.stdout and not hook.taken
    assert "desk: alarm orders" in dry.stdout
    hook.answer = 500
    assert run().returncode == 2
    [failed] = results(estate, "Tell what is new")
    assert failed["msg"] == "not everybody was told: desk: 127.0.0.1 answered 500"
    hook.answer = 200
    token = estate.secret("token", "t0ken-of-the-desk")
    done = run("-vvv", notification_channels=[{**channel, "token_file": token}])
    assert done.returncode == 0 and "told desk" in done.stdout and "t0ken-of-the-desk" not in done.stdout + done.stderr
    assert hook.taken[-1][1]["Authorization"] == "Bearer t0ken-of-the-desk"
    done = run()
    assert done.returncode == 0 and "changed=0" in done.stdout and "nobody had to be told" in done.stdout


def test_what_is_scheduled_is_expected(estate, hook, run):
    jobs = [{"operation": "restore_drill", "cluster": "orders"}, {"operation": "backup", "cluster": "other"}]
    assert run("-e", "control_hosts=all", schedule_jobs=jobs).returncode == 0
    assert [one["cluster"] for _path, _headers, body in hook.taken for one in body["events"]] == ["orders"]
