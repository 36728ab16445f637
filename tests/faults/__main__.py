"""Inject one fault at a time: each drill must fail on its own named check. Then drill without any: no false alarm.

usage: python -m tests.faults [--list | --table] [--ground embedded|lab] [--clean N] [--keep] [NAME…]

Without a name: all of them on both grounds, where this machine can run the lab, and 20 clean drills.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType

# They register themselves.
# pylint: disable-next=unused-import
from tests.faults import drill_faults, far_faults, lab_faults, ledger_faults, repository_faults, source_faults  # noqa: F401
from tests.faults.clean import Clean, clean_drills
from tests.faults.drill_host import NotHere
from tests.faults.fault import FAULTS, Caught, Fault, not_undone
from tests.faults.ground import Ground
from tests.faults.lab_ground import LabGround
from tests.faults.process import Broken
from tests.faults.table import keep, write_page
from tests.lab import doctor

CLEAN = 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults, and no clean drills")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--table", action="store_true", help="write docs/faults.md of what the last runs have caught")
    parser.add_argument("--clean", type=int, metavar="N", help="only this many clean drills, and no faults")
    parser.add_argument("--ground", choices=["embedded", "lab"], help="this ground only; the lab needs root")
    parser.add_argument("--keep", action="store_true", help="keep the ground afterwards; the lab's is gone on with")
    return parser.parse_args()


def terminated(number: int, frame: FrameType | None) -> None:
    """A signal ends the run as an exception does, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


def show(caught: Caught) -> None:
    """One line, and one more for each thing that was not as it must be."""
    word = "MISSED" if caught.misses else "caught"
    checks = ",".join(caught.checks) or "refused"
    said = f"check={checks} verdict={caught.verdict}"
    print(f"{word}  {caught.ground:<8} {caught.fault:<30} {said}  {caught.seconds:.1f}", flush=True)
    for miss in caught.misses:
        print(f"        {miss}", flush=True)


def show_clean(clean: Clean) -> None:
    """One line, and one more for a false alarm."""
    word = "ALARM " if clean.alarm else "clean "
    said = f"seed={clean.seed} backup={clean.backup} target={clean.target} ({clean.state})"
    print(f"{word}  {clean.number + 1:<3} {said}  {clean.seconds:.1f}", flush=True)
    if clean.alarm:
        print(f"        {clean.alarm}", flush=True)


def show_undone(misses: list[str], seconds: float) -> None:
    """One line for the drill that follows the faults of a kind."""
    print(f"{'MISSED' if misses else 'undone'}  the same drill with the faults above undone  {seconds:.1f}", flush=True)
    for miss in misses:
        print(f"        {miss}", flush=True)


def by_kind(chosen: list[Fault]) -> list[list[Fault]]:
    """The faults that are shown by the same kind of drill together, in the order of the first of each."""
    kinds: dict[object, list[Fault]] = {}
    for one in chosen:
        kinds.setdefault(getattr(one, "variables", None), []).append(one)
    return list(kinds.values())


def met(ground: Ground, chosen: list[Fault]) -> Iterator[Caught]:
    """Each fault; on a ground that shares the proof, one more drill for all faults of a kind."""
    for group in by_kind(chosen) if ground.shares_the_proof else [[one] for one in chosen]:
        caught = []
        ground.spoil()
        for one in group:
            try:
                caught.append(one.prove(ground))
            except NotHere as why:
                print(f"not shown here: {one.name}: {why}", flush=True)
                continue
            show(caught[-1])
            keep(caught=replace(caught[-1], misses=["not proven to be undone"]))
        if ground.shares_the_proof and caught and isinstance(group[0], Fault):
            begun = time.monotonic()
            misses = not_undone(ground, group[0].variables(ground))
            show_undone(misses, time.monotonic() - begun)
            caught = [replace(one, misses=[*one.misses, *misses]) for one in caught]
        ground.sound()
        yield from caught


def prove(ground: Ground, chosen: list[Fault], drills: int) -> tuple[list[Caught], list[Clean]]:
    """Every chosen fault, then the clean drills; each result is shown and kept as it comes."""
    caught: list[Caught] = []
    clean: list[Clean] = []
    for one in met(ground, chosen):
        caught.append(one)
        keep(caught=one)
    for result in clean_drills(ground, drills):
        clean.append(result)
        show_clean(result)
        keep(clean=result)
    return caught, clean


def on_both_grounds(options: argparse.Namespace, chosen: list[Fault], drills: int) -> tuple[list[Caught], list[Clean]]:
    """Prove the faults of each ground on it; what this machine can't show is said aloud."""
    caught: list[Caught] = []
    clean: list[Clean] = []
    for place, made in (("embedded", Ground), ("lab", LabGround)):
        here = [fault for fault in chosen if place in fault.grounds]
        drills_here = drills if place == "embedded" else 0
        if options.ground not in (None, place) or not (here or drills_here):
            continue
        why = doctor.unavailable() if place == "lab" else ""
        if why:
            print(f"faults: {len(here)} need the lab, which can't run here: {why}", file=sys.stderr)
            continue
        ground = made()
        print(f"faults: {len(here)} on the {place} ground, log in {ground.log}", flush=True)
        try:
            ground.up()
            found = prove(ground, here, drills_here)
        finally:
            if not options.keep:
                ground.down()
        caught += found[0]
        clean += found[1]
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
            if options.ground in (None, *one.grounds):
                print(f"{one.name:<30} {','.join(one.grounds):<13} {one.what}")
        return 0
    if options.table:
        unclaimed = write_page()
        if unclaimed:
            print(f"faults: nothing written, because not caught in their last run here: {', '.join(unclaimed)}")
        return 1 if unclaimed else 0
    everything = [] if options.clean is not None else FAULTS
    chosen = [known[name] for name in options.names] or everything
    drills = options.clean if options.clean is not None else 0 if options.names else CLEAN
    signal.signal(signal.SIGTERM, terminated)
    begun = time.monotonic()
    try:
        caught, clean = on_both_grounds(options, chosen, drills)
    except Broken as why:
        print(f"faults: the ground is broken: {why}", file=sys.stderr)
        return 3
    good = sum(not one.misses for one in caught)
    alarms = sum(bool(one.alarm) for one in clean)
    print(f"faults: all of it took {time.monotonic() - begun:.0f} s")
    print(f"faults: caught {good}/{len(caught)}, false alarms {alarms}/{len(clean)}")
    return 0 if good == len(caught) and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
