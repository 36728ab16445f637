# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's runs, real processes each: at a time, in waves, until too many failed, and after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import fleet_card
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_journal import Journal, Result, last_words
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_run import Fleet, Item, Lane

#: A run: notes that it is at work, waits for a file to go, and says how it ended, as the callback plugin does.
CHILD = """
import json, os, pathlib, sys, time
folder, name, ok, wait = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "ok", sys.argv[4]
with (folder / "starts").open("a") as starts:
    starts.write(name + "\\n")
(folder / f"{name}.at-work").touch()
print("output of", name, flush=True)
while wait and not (folder / wait).exists():
    time.sleep(0.01)
most = len(list(folder.glob("*.at-work")))
(folder / f"{name}.saw").write_text(str(most))
(folder / f"{name}.at-work").unlink()
said = {"ok": ok, "changed": 1, "message": "" if ok else f"{name} is broken", "seconds": 0.1}
place = pathlib.Path(os.environ["BORINGDB_FLEET_SAID"])
place.with_suffix(".tmp").write_text(json.dumps(said))
place.with_suffix(".tmp").rename(place)
sys.exit(0 if ok else 2)
"""


def child(folder: Path, name: str, end: str = "ok", wait: str = "", **more: Any) -> Item:
    """A cluster whose run ends so."""
    return Item(name, (sys.executable, "-c", CHILD, str(folder), name, end, wait), **more)


def await_(condition: Callable[[], Any], what: str) -> None:
    """Wait until it holds; fails the test when it does not in time."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def fleet(folder: Path, waves: Sequence[Sequence[Item]], **options: Any) -> Fleet:
    """A fleet whose lines are kept in `lines`."""
    journal = Journal(folder / "fleet", "work-1")
    journal.open()
    journal.begin({"resume_seconds": 3600}, fresh=options.pop("fresh", False))
    lines: list[str] = []
    given = {"parallel": 3, "max_fail": 100, "gate": lambda item: "", "tell": lines.append, **options}
    made = Fleet(journal, waves, environment=dict(os.environ), **given)
    made.__dict__["lines"] = lines
    return made


def run(folder: Path, waves: Sequence[Sequence[Item]], **options: Any) -> dict[str, Result]:
    """Run it to its end; how each fared."""
    made = fleet(folder, waves, **options)
    try:
        results = {one.cluster: one for one in made.run()}
        made.journal.end(all(one.outcome == "ok" for one in results.values()))
    finally:
        made.journal.close()
    return results


def starts(folder: Path) -> list[str]:
    """Which runs were started, in order."""
    return (folder / "starts").read_text().split() if (folder / "starts").exists() else []


def outcomes(results: dict[str, Result]) -> dict[str, str]:
    """Each cluster's."""
    return {name: one.outcome for name, one in results.items()}


def test_never_more_at_a_time_than_allowed(tmp_path: Path) -> None:
    items = [child(tmp_path, f"c{number}", wait="go") for number in range(6)]
    made = fleet(tmp_path, [items], parallel=2)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        await_(lambda: len(list(tmp_path.glob("*.at-work"))) == 2, "two at work")
        assert sorted(starts(tmp_path)) == ["c0", "c1"]
    finally:
        (tmp_path / "go").touch()
        thread.join()
        made.journal.close()
    assert outcomes(made.results) == dict.fromkeys(made.results, "ok") and len(made.results) == 6
    assert max(int(path.read_text()) for path in tmp_path.glob("*.saw")) <= 2
    assert sum(": begun" in line for line in made.__dict__["lines"]) == 6
    assert sum(": ok after" in line for line in made.__dict__["lines"]) == 6


def test_a_failed_first_wave_keeps_the_others_from_being_begun(tmp_path: Path) -> None:
    results = run(tmp_path, [[child(tmp_path, "a", "no")], [child(tmp_path, "b"), child(tmp_path, "c")]], max_fail=0)
    assert outcomes(results) == {"a": "failed", "b": "left", "c": "left"}
    assert results["a"].message == "a is broken" and "1 of the 1 in its wave failed" in results["b"].message
    assert starts(tmp_path) == ["a"]


def test_what_is_under_way_goes_on_when_others_are_no_more_begun(tmp_path: Path) -> None:
    wave = [child(tmp_path, "a", "no"), child(tmp_path, "b", wait="a.saw"), child(tmp_path, "c"), child(tmp_path, "d")]
    results = run(tmp_path, [wave], parallel=2, max_fail=0)
    assert results["b"].outcome == "ok" and results["d"].outcome == "left"


def test_as_many_may_fail_as_allowed(tmp_path: Path) -> None:
    wave = [child(tmp_path, name, "no" if name in "ab" else "ok") for name in "abcd"]
    assert "left" not in outcomes(run(tmp_path, [wave, [child(tmp_path, "e")]], max_fail=50, parallel=1)).values()
    later = run(tmp_path / "more", [[child(tmp_path, name, "no" if name in "ab" else "ok") for name in "abcd"]],
                max_fail=49, parallel=1)
    assert outcomes(later) == {"a": "failed", "b": "failed", "c": "left", "d": "left"}


def test_a_gate_that_closes_leaves_what_was_not_begun(tmp_path: Path) -> None:
    shut: set[str] = set()
    wave = [child(tmp_path, name) for name in "abc"]

    def gate(item: Item) -> str:
        shut.add(item.cluster)
        return "the window has closed" if len(shut) > 1 else ""

    results = run(tmp_path, [wave], parallel=1, gate=gate)
    assert outcomes(results) == {"a": "ok", "b": "left", "c": "left"}
    assert results["b"].message == "the window has closed"


def test_the_same_again_does_only_what_is_left(tmp_path: Path) -> None:
    waves = [[child(tmp_path, "a"), child(tmp_path, "b", "no"), child(tmp_path, "c")]]
    assert outcomes(run(tmp_path, waves)) == {"a": "ok", "b": "failed", "c": "ok"}
    again = run(tmp_path, [[child(tmp_path, "a"), child(tmp_path, "b"), child(tmp_path, "c")]])
    assert outcomes(again) == dict.fromkeys("abc", "ok")
    assert [name for name, one in again.items() if one.earlier] == ["a", "c"]
    assert sorted(starts(tmp_path)) == ["a", "b", "b", "c"]
    run(tmp_path, [[child(tmp_path, "a")]])
    assert starts(tmp_path).count("a") == 2, "a run that was complete is over"


def test_anew_or_after_its_time_it_does_all(tmp_path: Path) -> None:
    waves = [[child(tmp_path, "a"), child(tmp_path, "b", "no")]]
    run(tmp_path, waves)
    run(tmp_path, waves, fresh=True)
    assert starts(tmp_path).count("a") == 2
    place = tmp_path / "fleet/work-1/.run.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "began": time.time() - 3601}))
    run(tmp_path, waves)
    assert starts(tmp_path).count("a") == 3


def test_a_second_one_at_the_same_time_is_refused(tmp_path: Path) -> None:
    first = fleet(tmp_path, [])
    try:
        with pytest.raises(OpsError, match="under way"):
            Journal(tmp_path / "fleet", "work-1").open()
    finally:
        first.journal.close()


KILLED = """
import signal, sys
# A shell has what it starts in the background ignore this one.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = {paths!r}
from pathlib import Path
from test_fleet_run import child, run
folder = Path({folder!r})
run(folder, [[child(folder, "a"), child(folder, "b", wait="go"), child(folder, "c")]], parallel=1)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_fleet_is_gone_on_with(tmp_path: Path, how: int) -> None:
    """Its run under way goes on; the next fleet waits for that, and begins nothing twice."""
    paths = [str(Path(__file__).parents[3] / ".collections"), str(Path(__file__).parent)]
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(paths=paths, folder=str(tmp_path))], start_new_session=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    await_((tmp_path / "b.at-work").exists, "the second is at work")
    os.killpg(killed.pid, how)
    killed.wait()
    made = fleet(tmp_path, [[child(tmp_path, "a"), child(tmp_path, "b", wait="go"), child(tmp_path, "c")]], parallel=1)
    thread = threading.Thread(target=made.run)
    thread.start()
    await_(lambda: any("waiting for its end" in line for line in made.__dict__["lines"]), "it waits")
    assert starts(tmp_path) == ["a", "b"]
    (tmp_path / "go").touch()
    thread.join()
    made.journal.close()
    assert outcomes(made.results) == dict.fromkeys("abc", "ok")
    assert starts(tmp_path) == ["a", "b", "c"] and made.results["b"].earlier


def test_a_run_that_was_killed_itself_is_begun_again(tmp_path: Path) -> None:
    made = fleet(tmp_path, [[child(tmp_path, "a", wait="go")]])
    thread = threading.Thread(target=made.run)
    thread.start()
    await_((tmp_path / "a.at-work").exists, "it is at work")
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(tmp_path).encode() in (one / "cmdline").read_bytes() and int(one.name) != os.getpid():
                os.kill(int(one.name), signal.SIGKILL)
    thread.join()
    made.journal.close()
    assert made.results["a"].outcome == "failed"
    assert "killed by signal 9" in made.results["a"].message and "output of a" in made.results["a"].message
    (tmp_path / "go").touch()
    assert outcomes(run(tmp_path, [[child(tmp_path, "a", wait="go")]])) == {"a": "ok"}


def test_a_lane_holds_no_more_than_its_slots_and_its_disk(tmp_path: Path) -> None:
    wave = [child(tmp_path, name, wait="go", lane="d1", need_bytes=60) for name in "abc"]
    wave += [child(tmp_path, "z", wait="go", lane="d2", need_bytes=900)]
    made = fleet(tmp_path, [wave], parallel=9, lanes={"d1": Lane(3, 130), "d2": Lane(1, 100)})
    thread = threading.Thread(target=made.run)
    thread.start()
    # By itself a drill is judged on its host, which knows better than an estimate.
    await_(lambda: sorted(starts(tmp_path)) == ["a", "b", "z"], "two fit on one host, one on the other")
    (tmp_path / "go").touch()
    thread.join()
    made.journal.close()
    assert outcomes(made.results) == dict.fromkeys("abcz", "ok")


def test_logs_are_for_the_account_alone(tmp_path: Path) -> None:
    results = run(tmp_path, [[child(tmp_path, "a")]])
    log = Path(results["a"].log)
    assert log.read_text() == "output of a\n" and log.stat().st_mode & 0o077 == 0
    assert log.parent.stat().st_mode & 0o077 == 0


def test_the_last_words_of_a_log_are_its_last_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ok\nfatal: [x]: FAILED!\n[ERROR]: it broke\nPLAY RECAP\n")
    assert last_words(log) == "[ERROR]: it broke" and last_words(tmp_path / "none") == ""


def test_a_place_that_can_not_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "fleet").write_text("a file")
    with pytest.raises(OpsError, match="fleet_directory"):
        Journal(tmp_path / "fleet", "work-1").open()


CARD = fleet_card.Card(
    "restore_drill", "2026-11-28T01:00:00Z", "2026-11-28T02:00:00Z",
    [Result("orders", "ok", "verified rto 1.5 s", 12, 1, finished=1.0),
     Result("a|b", "failed", "x\ny", 3, finished=1.0), Result("late", "left", "no time")],
    proofs={"orders": fleet_card.Proof("verified", "2026-11-28T01:30:00Z"),
            "late": fleet_card.Proof("overdue", "2026-01-01T00:00:00Z"), "a|b": fleet_card.Proof("never")},
    postponed={"shop": "verified 2 days ago"},
)  # fmt: skip


def test_the_scorecard_says_the_worst_first_in_every_form() -> None:
    text = fleet_card.text(CARD)
    assert text[0] == "fleet: restore_drill: 1 of 3 clusters ok, 1 failed, 1 left, 1 postponed"
    assert [line.split()[0] for line in text[1:4]] == ["a|b", "late", "orders"]
    assert "overdue for a drill: late" in text[-2] and "never proven by a drill: a|b" in text[-1]
    table = fleet_card.markdown(CARD)
    assert "a\\|b" in table and "x y" in table and table.index("late") < table.index("orders")
    found = json.loads(fleet_card.as_json(CARD))
    assert (found["ok"], found["failed"], found["left"], found["complete"]) == (1, 1, 1, False)
    assert found["clusters"]["orders"]["proof"]["state"] == "verified" and found["overdue"] == ["late"]
