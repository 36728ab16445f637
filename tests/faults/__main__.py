"""Inject one fault at a time: each drill must fail on its own named check. Then drill without any: no false alarm.

usage: python -m tests.faults [--list | --table] [--lab] [--clean N] [--keep] [NAME…]
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

# They register themselves.
# pylint: disable-next=unused-import
from tests.faults import drill_faults, lab_faults, ledger_faults, repository_faults, source_faults  # noqa: F401
from tests.faults.clean import Clean, clean_drills
from tests.faults.fault import FAULTS, Caught, NotHere
from tests.faults.ground import Ground
from tests.faults.lab_ground import LabGround
from tests.faults.process import Broken
from tests.faults.table import keep, write_page

CLEAN = 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults, and no clean drills")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--table", action="store_true", help="write docs/faults.md of what the last runs have caught")
    parser.add_argument("--clean", type=int, metavar="N", help="only this many clean drills, and no faults")
    parser.add_argument("--lab", action="store_true", help="the faults that need the lab (root), and no others")
    parser.add_argument("--keep", action="store_true", help="keep the ground afterwards")
    return parser.parse_args()


def terminated(number: int, frame: FrameType | None) -> None:
    """A signal ends the run as an exception does, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


def show(caught: Caught) -> None:
    """One line, and one more for each thing that was not as it must be."""
    word = "MISSED" if caught.misses else "caught"
    checks = ",".join(caught.checks) or "refused"
    print(f"{word}  {caught.fault:<26} check={checks} verdict={caught.verdict}  {caught.seconds:.1f}", flush=True)
    for miss in caught.misses:
        print(f"        {miss}", flush=True)


def show_clean(clean: Clean) -> None:
    """One line, and one more for a false alarm."""
    word = "ALARM " if clean.alarm else "clean "
    said = f"seed={clean.seed} backup={clean.backup} target={clean.target} ({clean.state})"
    print(f"{word}  {clean.number + 1:<3} {said}  {clean.seconds:.1f}", flush=True)
    if clean.alarm:
        print(f"        {clean.alarm}", flush=True)


def prove(ground: Ground, chosen: list[object], drills: int) -> tuple[list[Caught], list[Clean]]:
    """Every chosen fault, then the clean drills; each result is shown and kept as it comes."""
    caught: list[Caught] = []
    clean: list[Clean] = []
    for one in chosen:
        try:
            caught.append(one.prove(ground))  # type: ignore[attr-defined]
        except NotHere as why:
            print(f"not shown here: {one.name}: {why}", flush=True)  # type: ignore[attr-defined]
            continue
        show(caught[-1])
        keep(caught=caught[-1])
    for result in clean_drills(ground, drills):
        clean.append(result)
        show_clean(result)
        keep(clean=result)
    return caught, clean


def main() -> int:
    """Run what was asked for; returns the exit code."""
    options = arguments()
    known = {fault.name: fault for fault in FAULTS}
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        print(f"no such fault: {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    if options.list:
        for one in FAULTS:
            print(f"{one.name:<26} {one.ground:<9} {one.what}")
        return 0
    if options.table:
        unclaimed = write_page()
        if unclaimed:
            print(f"faults: nothing written, because not caught in their last run here: {', '.join(unclaimed)}")
        return 1 if unclaimed else 0
    place = "lab" if options.lab else "embedded"
    everything = [] if options.clean is not None else [fault for fault in FAULTS if fault.ground == place]
    chosen = [known[name] for name in options.names] or everything
    if len({fault.ground for fault in chosen}) > 1:
        print("faults of one ground at a time", file=sys.stderr)
        return 2
    drills = options.clean if options.clean is not None else 0 if options.names or options.lab else CLEAN
    signal.signal(signal.SIGTERM, terminated)
    ground = LabGround() if chosen and chosen[0].ground == "lab" else Ground()
    begun = time.monotonic()
    try:
        ground.up()
        caught, clean = prove(ground, chosen, drills)
    except Broken as why:
        print(f"faults: the ground is broken: {why}", file=sys.stderr)
        return 3
    finally:
        if not options.keep:
            ground.down()
    good = sum(not one.misses for one in caught)
    alarms = sum(bool(one.alarm) for one in clean)
    print(f"faults: all of it took {time.monotonic() - begun:.0f} s, log in {ground.log}")
    print(f"faults: caught {good}/{len(caught)}, false alarms {alarms}/{len(clean)}")
    return 0 if good == len(caught) and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
