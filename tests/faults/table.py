"""What was caught, kept from run to run, and the page docs/faults.md that is made of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tests.faults.clean import Clean
from tests.faults.fault import FAULTS, Caught
from tests.modules import REPO

RESULTS = REPO / "build/faults.json"
PAGE = REPO / "docs/faults.md"
_HEAD = """\
# Faults: the drill can fail

A drill that never fails proves nothing. `make faults` provisions one cluster, loads and backs it up, and then injects
one fault at a time, runs the playbook `restore_drill`, and reads the signed record that it leaves. A fault counts as
caught when

- the playbook failed, and the verdict is the one below;
- exactly the required checks named below did not pass, and no other one;
- the line that tells the cause names what was done;
- nothing was left on the drill host: no file of the copy, no process, no lock that is held;
- the same drill verifies as soon as the fault is undone. On the lab, where a drill takes longer, one drill proves it
  for all faults of a kind in a run: a damage that was not undone would show in each of the faults after it.

There are two grounds. `embedded`: one machine, the native tool, no root. `lab`: three Debian hosts, which are a primary
with a tablespace, an encrypted pgBackRest repository, and a drill host; a second repository lies in an S3 store behind
TLS. A fault is the same on both: only what does the damage differs. What pgBackRest stores is compressed and encrypted,
so a flipped byte is one of the stored file, and pgBackRest is the first to see it. Where a fault shows in another
check there, it has two lines.

A *phantom* is an object that the backup's manifest names and the backup does not hold: what a backup that lost it
looks like. For the ledger, the playbook `verify_evidence` and the independent program `tools/audit_evidence.py` must
both name the kind of the change, and both be content without it.

Four are traps rather than faults: their drill has to verify. `subscription_in_source`: the publisher's log must hold no
connection from the drill host. `synchronous_in_source`: the copy commits something. `first_repository_gone`: the backup
is the second repository's. `teardown_hindered` leaves files, and has to say so.

| fault | what is done | ground | caught by | verdict |
|---|---|---|---|---|
"""
_TAIL = """
## No false alarm

Clean drills of the same cluster, from a random backup to a random target (after a burst: to the latest), with their
seeds: under the write probe's load with backups taken under that load, and after it fell idle, with an objective of 2 s
for the RPO. The last transactions are one with a savepoint and one rolled back. Under load every row that the probe was
promised before the target must be there, and none from after it.

| drill | cluster | seed | verdict |
|---|---|---|---|
"""
_FOOT = """
This page is written by `python -m tests.faults --table` from the results of the last run of each fault and drill.
"""


def load() -> dict[str, Any]:
    """The results so far: those of each ground by the fault's name, `clean` by number."""
    try:
        result: dict[str, Any] = json.loads(RESULTS.read_text())
        return result
    except FileNotFoundError:
        return {"embedded": {}, "lab": {}, "clean": {}}


def keep(caught: Caught | None = None, clean: Clean | None = None) -> None:
    """Keep one more result."""
    results = load()
    if caught:
        results[caught.ground][caught.fault] = asdict(caught)
    if clean:
        results["clean"][str(clean.number)] = asdict(clean)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def write_page() -> list[str]:
    """Write docs/faults.md of what was caught; returns the faults that were missed, and then writes nothing.

    What was not run at all is in the page as that.
    """
    results = load()
    rows, unclaimed = [], []
    for fault in FAULTS:
        shown: dict[tuple[str, str], list[str]] = {}
        for ground in fault.grounds:
            found = results[ground].get(fault.name)
            if not found:
                shown.setdefault(("**not run yet**", ""), []).append(ground)
                continue
            if found["misses"]:
                unclaimed.append(f"{fault.name} ({ground})")
                continue
            checks = ", ".join(f"`{check}`" for check in found["checks"]) or "refused at once"
            shown.setdefault((checks, found["verdict"]), []).append(ground)
        rows += [
            f"| `{fault.name}` | {fault.what} | {', '.join(grounds)} | {checks} | {verdict} |\n"
            for (checks, verdict), grounds in shown.items()
        ]
    drills = [
        f"| {int(number) + 1} | {item['state']} | {item['seed']} | verified |\n"
        for number, item in sorted(results["clean"].items(), key=lambda pair: int(pair[0]))
        if not item["alarm"]
    ]
    if unclaimed:
        return unclaimed
    PAGE.write_text(_HEAD + "".join(rows) + _TAIL + "".join(drills) + _FOOT)
    return unclaimed
