# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page docs/kills.md, made of the results of the last runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.kills.operations import OPERATIONS
from tests.kills.rehearsal import fits
from tests.kills.results import load
from tests.kills.trail import State
from tests.kills.victims import VICTIMS
from tests.modules import REPO

PAGE = REPO / "docs/kills.md"
#: In the order of a cluster's life.
_ORDER = ("provision", "backup", "restore", "restore_drill")
_HEAD = """\
# Kills: the same command again finishes the job

`make kills` takes one playbook after the other, kills one victim inside of one task, runs the same command again, and
judges what is there then. The victims, all by SIGKILL:

- **controller**: ansible-playbook with everything that it has forked. The module that runs on the host lives on.
- **worker**: the module, while it works. Its tools are not touched; they have to go with it.
- **server**: every process of the primary, or of the drill's copy. In the middle of a restore also the new server
  that recovers.
- **host**: a host of the lab loses its power; what runs on it is gone at once and silently. [Its own way](#hosts) of
  being told is below.

**When.** A run's task boundaries are counted in a rehearsal without a kill. Where nothing runs on a host between two
boundaries (an assertion, an include, a task that is skipped), the state is the same before and after, and is killed
once: in the task that does run. The moment within the task is drawn at random from its first four fifths; the seed is
an option, and the same seed draws the same moments.

**The rerun** starts at once, while what the killed run left may still work. It has to end well, or to refuse in a
line that says what to do; then that is done (wait for the worker, start the server), and the same command has to end
well.

**Converged** means, after that:

- both members are up, and one streams from the other; the slots are the ones that belong there;
- every row that was acknowledged to a client, which writes twenty times a second all along, is on both members. For a
  restore to a moment: those from before it and those that the restored cluster acknowledged, and none from between;
- *provision*: a further run changes nothing;
- *backup*: the newest one is restored and holds what was acknowledged before it; the older ones are untouched, file
  by file;
- *restore*, *restore_drill*: the verdict is `verified`, and the ledger is whole to `tools/audit_evidence.py`; the
  drill has not touched the repository;
- nothing is left: no process, no lock that is held, no file that an undisturbed run does not leave, nothing on the
  drill host. What Ansible itself leaves when it is killed (its own folders for temporary files) is not counted.

## What was run

On the embedded ground, PostgreSQL 16, {days}. All cases take hours: `make kills` keeps what it has shown in
`tests/kills/results.json`, and `python -m tests.kills --missing` goes on with the rest.

| playbook | boundaries | states | victim | cases | run | converged |
|---|---|---|---|---|---|---|
"""
_STATES = """
## State by state

`yes`: converged; `no`: did not; `refused`: converged behind one refusal that said what to do; a dash: there is no
such victim; empty: **not run**. The number is that of the boundary at which the task begins.
"""
_HOSTS = """
## Hosts

On the lab: a pair (PostgreSQL 15), a repository host with pgBackRest and a drill host, each with its own systemd and
SSH. Here the losses are not put back: a playbook is played again and again, and each run loses a host inside of the
next task that works on one, at a random part of it. The host is booted, and the same command is played again, until
a run ends by itself. So every task is played again behind its own loss, on what all losses before have left. Of a task
that works on several hosts one is drawn. The same is asked then as above, and `pgbackrest verify` and a drill of the
new backup.

What pgBackRest runs on a member for a repository host that has lost its power ends half an hour later
([pgbackrest](pgbackrest.md#when-something-is-killed)). It is not counted.

| playbook | tasks on a host, undisturbed | losses | runs | refused for a while | finished the job |
|---|---|---|---|---|---|
"""
_FOOT = """
## What it does not show

On the embedded ground: two kills in one run, and a victim that dies while the rerun is at work. All its hosts are one
machine. On both grounds a killed server's writes survive in the machine's kernel: what was never synced is not lost,
as it would be with the mains.

This page is written by `python -m tests.kills --table` from the results of the last run of each case.
"""


def write_page() -> None:
    """Write it. What was not run is said as that."""
    kept = load()
    rows, states = "", ""
    for playbook in (name for name in _ORDER if name in OPERATIONS):
        told = kept["playbooks"].get(playbook)
        if told is None:
            rows += f"| {playbook} | | | | | none | |\n"
            continue
        found = [State(**state) for state in told["states"]]
        cells = {
            state.number: [cell(kept["results"], playbook, victim, state) for victim in VICTIMS] for state in found
        }
        for column, victim in enumerate(VICTIMS):
            seen = Counter(line[column] for line in cells.values())
            cases, ran = len(found) - seen["–"], len(found) - seen["–"] - seen[""]
            head = f"| {playbook} | {told['boundaries']} | {len(found)} | {victim} "
            rows += f"{head}| {cases} | {ran} | {ran - seen['no']} |\n"
        states += f"\n### {playbook}\n\n| | task | {' | '.join(VICTIMS)} |\n|---|---|---|---|---|\n"
        for state in found:
            states += f"| {state.number} | {_task(state)} | {' | '.join(cells[state.number])} |\n"
    days = sorted({result["day"] for result in kept["results"].values() if "day" in result})
    head = _HEAD.replace("{days}", f"from {days[0]} to {days[-1]}" if days else "not run yet")
    PAGE.write_text(head + rows + _STATES + states + _HOSTS + _chains(kept.get("chains", {})) + _FOOT)


def _chains(kept: dict[str, Any]) -> str:
    """How the chains went, and then loss by loss."""
    rows, losses = "", ""
    for playbook in _ORDER:
        chain = kept.get(playbook)
        if chain is None:
            rows += f"| {playbook} | | **not run** | | | |\n"
            continue
        refused = sum(len(loss["refusals"]) for loss in chain["losses"])
        end = "no" if chain["misses"] else "yes"
        rows += f"| {playbook} | {chain['steps']} | {len(chain['losses'])} | {chain['runs']} | {refused} | {end} |\n"
        losses += f"\n### {playbook}, host by host\n\n| task | host that was lost | part of the task |\n|---|---|---|\n"
        for loss in chain["losses"]:
            losses += f"| {loss['task'].rpartition(': ')[2]} | {loss['on']} | {loss['part']} |\n"
        losses += "".join(f"\nWhat was wrong in the end: `{miss}`\n" for miss in chain["misses"])
    return rows + losses


def cell(results: dict[str, Any], playbook: str, victim: str, state: State) -> str:
    """What is known of a case, in a word."""
    if not fits(victim, state):
        return "–"
    result = results.get(f"{playbook}/{victim}/{state.number}")
    if result is None or result["task"] != state.task:
        return ""
    return "no" if result["misses"] else "refused" if result["refusals"] else "yes"


def _task(state: State) -> str:
    """Without the play and the collection, which the reader of one table knows."""
    return state.task.rpartition(": ")[2]
