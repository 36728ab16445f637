# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told to whom, and how often."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from telling import FAILED


def said(hook):
    """The events of every message, (event, cluster, state), and forgets them."""
    bodies = [body for _path, _headers, body in hook.taken]
    found = [(one["event"], one["cluster"], one["state"]) for body in bodies for one in body["events"]]
    hook.taken.clear()
    return found


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.json")}


def test_a_state_is_told_once_and_so_is_its_end(estate, hook, channel):
    estate.drill()
    first = estate.tell(channel)
    assert first.changed and not hook.taken  # it keeps the chain's head, and nobody needs to know
    assert not estate.tell(channel).changed
    estate.drill(days_ago=0.05, checks=FAILED)
    assert estate.tell(channel).facts["told"]["desk"][0]["problems"][0].startswith("last drill failed: relations_exact")
    assert said(hook) == [("alarm", "orders", "failed")]
    assert not estate.tell(channel).changed and not hook.taken
    assert estate.tell(channel, again=True).changed
    assert said(hook) == [("still", "orders", "failed")]
    assert not estate.tell(channel, remind_hours=1).changed
    estate.drill(days_ago=0.04, checks=FAILED)  # another drill that failed is news
    estate.tell(channel)
    assert said(hook) == [("alarm", "orders", "failed")]
    estate.drill(days_ago=0.03)
    assert estate.tell(channel, again=True).changed
    assert said(hook) == [("recovered", "orders", "verified")]
    assert not estate.tell(channel, again=True).changed and not hook.taken


def test_a_failover_drill_that_failed_is_told_until_one_is_verified(estate, hook, channel):
    moved = {"operation": "failover_drill", "measurements": {"stall_ms": 9000}, "objectives": {"stall_ms": 5000}}
    estate.drill()
    estate.drill(days_ago=0.09, **moved, checks=FAILED)
    told = estate.tell(channel).facts["told"]["desk"][0]["problems"]
    assert told[0].startswith("last failover drill failed: relations_exact") and len(told) == 1
    assert said(hook) == [("alarm", "orders", "failed")]
    estate.drill(days_ago=0.08, **moved, checks=FAILED)  # another one is news
    estate.tell(channel)
    assert said(hook) == [("alarm", "orders", "failed")]
    assert not estate.tell(channel).changed
    estate.drill(days_ago=0.07, **moved)
    estate.tell(channel)
    assert said(hook) == [("recovered", "orders", "verified")]


def test_what_lasts_is_told_again_in_time(estate, hook, channel):
    estate.drill(checks=FAILED)
    estate.tell(channel)
    memory = estate.folder / "memory/told.json"
    document = json.loads(memory.read_text())
    document["told"]["desk"]["orders"]["at"] = "2026-01-01T00:00:00Z"
    memory.write_text(json.dumps(document))
    said(hook)
    estate.tell(channel, remind_hours=24)
    assert said(hook) == [("still", "orders", "failed")]
    assert not estate.tell(channel, remind_hours=24).changed


def test_a_drill_that_did_not_happen_is_as_loud_as_one_that_failed(estate, hook, channel):
    estate.drill("customers", days_ago=8)
    estate.drill("orders", days_ago=2)
    estate.tell(channel, clusters=["billing"], overdue={"orders": 1.5})
    assert said(hook) == [
        ("alarm", "billing", "never"),
        ("alarm", "customers", "overdue"),
        ("alarm", "orders", "overdue"),
    ]
    assert not estate.tell(channel, clusters=["billing"], overdue={"orders": 1.5}).changed


def test_a_ledger_that_is_not_there_is_told_where_a_cluster_is_expected(estate, hook, channel):
    with pytest.raises(OpsError, match="is not a folder"):
        estate.tell(channel)
    estate.tell(channel, clusters=["orders"])
    assert said(hook) == [("alarm", "orders", "never")]


@pytest.mark.parametrize("cut", ["tail", "folder", "ledger"])
def test_a_chain_that_was_cut_is_told_until_a_person_forgets_it(estate, hook, channel, cut):
    estate.drill("orders", 0.2)
    estate.drill("orders", 0.1)
    estate.tell(channel)
    folder = estate.ledger / "orders"
    if cut == "tail":
        sorted(folder.glob("*.json"))[-1].unlink()
    else:
        shutil.rmtree(folder if cut == "folder" else estate.ledger)
    estate.tell(channel)
    assert said(hook) == [("alarm", "orders", "tampered")]
    estate.tell(channel, again=True)
    assert said(hook) == [("still", "orders", "tampered")]
    estate.drill("orders", 0.05)  # a new record does not make up for what is gone
    estate.tell(channel, again=True)
    assert said(hook)[0][1:] == ("orders", "tampered")
    estate.tell(channel, forget=["orders"])
    estate.tell(channel)
    assert not said(hook) and not estate.tell(channel).changed


def test_a_channel_that_fails_is_tried_again_alone(estate, hook, channel):
    estate.drill(checks=FAILED)
    before = tree(estate.ledger)
    broken = {"name": "gone", "kind": "webhook", "url": "http://127.0.0.1:1/hook"}
    with pytest.raises(OpsError, match=r"not everybody was told: gone: 127.0.0.1: .*refused") as caught:
        estate.tell(broken, channel, textfile=str(estate.folder / "a.prom"))
    assert list(caught.value.facts["told"]) == ["desk"] and "\n" not in str(caught.value)
    assert tree(estate.ledger) == before and (estate.folder / "a.prom").exists()
    assert said(hook) == [("alarm", "orders", "failed")]
    estate.tell({**broken, "url": channel["url"]}, channel)
    assert said(hook) == [("alarm", "orders", "failed")]


def test_a_dry_run_sends_and_writes_nothing(estate, hook, channel):
    estate.drill(checks=FAILED)
    place = estate.folder / "a.prom"
    outcome = estate.tell(channel, check=True, textfile=str(place))
    assert outcome.changed and list(outcome.facts["told"]) == ["desk"] and "alarm orders" in outcome.after
    assert not hook.taken and not place.exists() and not (estate.folder / "memory").exists()
    estate.tell(channel, textfile=str(place))
    assert not estate.tell(channel, check=True, textfile=str(place)).changed


def test_a_memory_that_is_nonsense_has_everything_told_again(estate, hook, channel):
    estate.drill(checks=FAILED)
    memory = estate.folder / "memory/told.json"
    for nonsense in (
        '{"heads": 1',
        "[]",
        '{"format": "other"}',
        '{"format": "urn:boringdb.ops:notification-memory:v1"}',
    ):
        estate.tell(channel)
        hook.taken.clear()
        memory.write_text(nonsense)
        outcome = estate.tell(channel)
        assert "told again" in outcome.warnings[0] and said(hook) == [("alarm", "orders", "failed")]
    assert memory.stat().st_mode & 0o777 == 0o600


def test_a_memory_that_can_not_be_written_is_an_error_and_the_message_is_out(estate, hook, channel):
    estate.drill(checks=FAILED)
    (estate.folder / "memory").write_text("a file")
    with pytest.raises(OpsError, match="the same will be told again"):
        estate.tell(channel)
    assert said(hook) == [("alarm", "orders", "failed")]


def test_a_run_that_is_killed_while_it_sends_is_made_up_for(estate, hook, channel):
    estate.drill(checks=FAILED)
    hook.answer = "hang"
    pid = os.fork()
    if pid == 0:
        estate.tell(channel)
        os._exit(0)
    until = time.monotonic() + 60
    while not hook.taken and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    hook.taken.clear()
    hook.answer = 200
    estate.tell(channel, lock_timeout=0)  # the lock died with its holder
    assert said(hook) == [("alarm", "orders", "failed")]
    assert [path.name for path in (estate.folder / "memory").iterdir()] == ["told.json"]
    assert not estate.tell(channel).changed


def test_two_runs_at_once_tell_once(estate, hook, channel):
    estate.drill(checks=FAILED)
    with (
        host_lock(f"{estate.folder}/memory/told.json.notification", "notification"),
        pytest.raises(OpsError, match="in use by notification"),
    ):
        estate.tell(channel, lock_timeout=0)
    assert not hook.taken
    estate.tell(channel)
    assert said(hook) == [("alarm", "orders", "failed")]


def test_everything_that_is_wrong_is_said_at_once(estate, channel):
    open_to_all = estate.folder / "token"
    open_to_all.write_text("t\n")
    open_to_all.chmod(0o644)
    url = estate.secret("url", "http://hooks.example.com/services/T0/SECRET")
    with pytest.raises(OpsError) as caught:
        estate.tell(
            channel,
            channel,
            {"name": "a", "kind": "slack"},
            {"name": "b", "kind": "webhook", "url": "ftp://x/"},
            {"name": "c", "kind": "webhook", "url": "https://x/", "token_file": str(open_to_all)},
            {"name": "d", "kind": "slack", "url_file": url},
            {"name": "e", "kind": "slack", "url_file": "/nowhere"},
            {"name": "j", "kind": "slack", "url_file": "slack"},
            {"name": "f", "kind": "webhook", "url": "https://me:pw@x/"},
            {"name": "g", "kind": "mail", "host": "x", "sender": "a@x", "to": ["b@x\nBcc: c@x"], "user": "u"},
            {"name": "h", "kind": "mail", "to": [], "ca_file": "/nowhere", "timeout": 0},
            {"name": "i", "kind": "webhook", "url": "https://[x/"},
            clusters=["../x"],
            overdue={"orders": "soon"},
            overdue_days=float("inf"),
            remind_hours=-1,
            textfile="/nowhere/metrics.txt",
            ledger="here",
        )
    message = str(caught.value)
    for part in (
        "two channels are desk",
        "a: not one of url and url_file",
        "b: the address is none",
        "c: token_file",
        "can be read by others (chmod 600",
        "d: a secret would go over the network in plain text",
        "e: url_file /nowhere",
        "j: url_file slack is relative",
        "f: the address holds an account",
        "g: b@x Bcc: c@x is no address",
        "g: one of user and password_file is missing",
        "h: host is not given",
        "h: sender is not given",
        "h: ca_file",
        "h: timeout is no time",
        "i: the address is none",
        "../x is no name of a cluster",
        "orders: soon days",
        "overdue_days: inf days",
        "remind_hours is no time",
        "does not end in .prom",
        "no folder /nowhere",
        "ledger here is relative",
    ):
        assert part in message, part
    assert "SECRET" not in message and "\n" not in message
    with pytest.raises(OpsError, match="nobody would be told"):
        estate.tell()
