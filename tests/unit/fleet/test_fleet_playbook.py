# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook: an operation over groups of an inventory, its refusals, its scorecard, and Ctrl-C in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys
from samples import Ground
from test_fleet_run import await_

from tests.packed import packed

REPO = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
SECRET = "hunter2-and-more"


class Place:
    """A home for one test's fleets."""

    def __init__(self, home: Path) -> None:
        self.home, self.marks = home, home / "marks"
        self.marks.mkdir()
        self.ground = Ground.create(home)

    def argv(self, *words: str, **variables: Any) -> list[str]:
        """A fleet's command."""
        given = {
            "fleet_operation": str(HERE / "operation.yml"), "fleet_directory": str(self.home / "fleet"),
            "marks": str(self.marks), "evidence_ledger": str(self.ground.ledger),
            "evidence_key": str(self.ground.private), "evidence_public_key": str(self.ground.public), **variables,
        }  # fmt: skip
        book = str(REPO / "playbooks/fleet.yml")
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", str(HERE / "hosts.yml"), book, "-e", json.dumps(given), *words]

    def begin(self, *words: str, **variables: Any) -> subprocess.Popen[str]:
        """Start it in a session of its own."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        env |= {**packed(), "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "HOME": str(self.home),
                "ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
        return subprocess.Popen(
            self.argv(*words, **variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO,
            env=env, start_new_session=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *words: str, **variables: Any) -> tuple[int, str]:
        """Its exit code and output."""
        popen = self.begin(*words, **variables)
        output = popen.communicate(timeout=120)[0]
        return popen.returncode, output

    def made(self) -> list[str]:
        """What the operation left."""
        return sorted(path.name for path in self.marks.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """One."""
    return Place(tmp_path)


def recap(output: str) -> dict[str, int]:
    """The counts of the last line."""
    line = output.split("PLAY RECAP")[1].splitlines()[1]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def test_one_fails_the_others_are_done_and_the_same_again_does_what_is_left(place: Place) -> None:
    place.ground.append(1, "orders")
    wanted = {"cluster": "production:children,!cellar", "fleet_max_fail_percentage": 100, "fleet_waves": ["100%"]}
    code, output = place.run(**wanted, failing=["books"], word=SECRET)
    assert code == 2, output
    assert place.made() == ["books.began", "orders.began", "orders.done"]
    assert "operation: 1 of 2 clusters ok, 1 failed" in output and "b1: books was told to fail" in output
    assert re.search(r"  books +failed ", output) and re.search(r"  orders +ok .*verified rto 1.5 s", output)
    [card] = (place.home / "fleet").glob("operation-*/scorecard.json")
    found = json.loads(card.read_text())
    assert (found["overdue"], found["never_proven"], found["complete"]) == (["orders"], ["books"], False)
    assert "overdue for a drill: orders" in output
    assert found["clusters"]["orders"]["artifacts"]["evidence_outcome"]["cluster"] == "orders"
    assert '"fleet_outcome"' in output or "fleet_outcome:" in output, "an artifact for AWX"
    assert "books was told to fail" in Path(found["clusters"]["books"]["log"]).read_text()
    assert SECRET in (place.marks / "orders.done").read_text(), "what was typed reaches every run"
    # The same command: what the inventory or the world had wrong is mended.
    before = (place.marks / "orders.done").stat().st_mtime_ns
    code, output = place.run(**wanted, failing=["books"], word=SECRET)
    assert code == 2 and "1 of 2 are done" in output and "done before" in output
    assert (place.marks / "orders.done").stat().st_mtime_ns == before
    assert not list((place.home / "fleet").glob("*/variables")), "what was typed does not stay"


def test_ctrl_c_ends_no_run_and_the_same_again_waits_for_it(place: Place) -> None:
    wanted = {"cluster": ["orders", "shop_eu"], "slow": ["orders"], "word": SECRET}
    begun = place.begin(**wanted)
    await_(lambda: "orders.began" in place.made(), "the first is at work")
    lines = [(one / "cmdline").read_bytes() for one in ours(place)]
    assert any(b'"cluster": "orders"' in line for line in lines)
    assert not any(SECRET.encode() in line for line in lines if b"fleet.yml" not in line), "no secret on a command line"
    os.killpg(begun.pid, signal.SIGINT)
    output = begun.communicate(timeout=60)[0]
    assert begun.returncode != 0 and "shop_eu: begun" not in output
    assert [one for one in ours(place) if b'"cluster": "orders"' in (one / "cmdline").read_bytes()], "it goes on"
    again = place.begin(**wanted)
    (place.marks / "go").touch()
    output = again.communicate(timeout=120)[0]
    assert again.returncode == 0, output
    assert "another run works on it" in output or "1 of 2 are done" in output
    assert {"orders.done", "shop_eu.done"} <= set(place.made())


def ours(place: Place) -> Iterator[Path]:
    """The processes that know of this place."""
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place.home).encode() in (one / "environ").read_bytes() and (one / "cmdline").read_bytes():
                yield one


def test_what_is_frozen_is_refused_and_a_typed_override_goes_on_record(place: Place) -> None:
    code, output = place.run(cluster="frozen")
    said = " ".join(output.split())
    assert code == 2 and "refused: frozen is frozen until 2200-01-01 00:00 UTC: it moves house" in said
    assert place.made() == []
    code, output = place.run(cluster="frozen", fleet_override="yes")
    said = " ".join(output.split())
    assert code == 2 and "type 'frozen'" in said and "fleet_override_reason is missing" in said and place.made() == []
    typed = {"fleet_override": "frozen", "fleet_override_reason": "CHG-7: the disk fills"}
    code, output = place.run(cluster="frozen,orders", **typed)
    assert code == 0, output
    assert {"frozen.done", "orders.done"} <= set(place.made())
    read = chain.read_chain(place.ground.ledger, "frozen", keys.load_trusted([place.ground.public]))
    [record] = read.records
    assert not read.findings and record.predicate["operation"] == "fleet_override"
    assert record.predicate["verdict"] == "verified" and "CHG-7" in record.predicate["measurements"]["reason"]
    assert "frozen until" in record.predicate["measurements"]["shut"]
    assert "override: frozen: CHG-7" in output


def test_a_dry_run_is_dry_everywhere(place: Place) -> None:
    code, output = place.run("--check", cluster="frozen,shop_eu")
    assert code == 0, output
    assert place.made() == [] and recap(output)["changed"] == 0
    assert "operation (dry run): 2 of 2 clusters ok" in output


@pytest.mark.parametrize(("words", "variables", "said"), [
    ([], {"cluster": "orders,nowhere,everything_of_orders"}, ["nowhere is no group", "o2 would be worked on twice"]),
    (["--limit", "localhost,o1"], {"cluster": "orders"}, ["--limit would cut members away"]),
    ([], {"cluster": "orders", "fleet_operation": "report"}, ["report is no operation on a cluster", "restore_drill"]),
    ([], {"cluster": "orders,books", "confirm": "orders"}, ["type confirm='operation books,orders'"]),
])  # fmt: skip
def test_nonsense_is_refused_in_one_line(
    place: Place, words: list[str], variables: dict[str, Any], said: list[str]
) -> None:
    code, output = place.run(*words, **variables)
    assert code != 0 and place.made() == [] and "Traceback" not in output
    told = " ".join(output.split())
    assert "refused" in told and all(one in told for one in said), output
