"""Inject one fault at a time: each drill must fail on its own named check. Then drill without any: no false alarm.

usage: python -m tests.faults [--list] [--table] [--keep] [--clean N] [NAME…]
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from tests.faults import repository_faults  # noqa: F401 - they register themselves
from tests.faults.fault import FAULTS, Caught, NotHere
from tests.faults.ground import Ground
from tests.faults.process import Broken


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these faults, and no clean drills")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--keep", action="store_true", help="keep the ground afterwards")
    return parser.parse_args()


def terminated(number: int, frame: FrameType | None) -> None:
    """A signal ends the run as an exception does, so that nothing is left running."""
    raise SystemExit(128 + number)


def show(caught: Caught) -> None:
    """One line, and one more for each thing that was not as it must be."""
    word = "MISSED" if caught.misses else "caught"
    checks = ",".join(caught.checks) or "none"
    print(f"{word}  {caught.fault:<28} check={checks} verdict={caught.verdict}  {caught.seconds:.1f}", flush=True)
    for miss in caught.misses:
        print(f"        {miss}", flush=True)


def main() -> int:
    """Run what was asked for; returns the exit code."""
    options = arguments()
    known = {fault.name: fault for fault in FAULTS}
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        print(f"no such fault: {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.names] or FAULTS
    if options.list:
        for one in chosen:
            print(f"{one.name:<28} {one.ground:<9} {one.what}")
        return 0
    signal.signal(signal.SIGTERM, terminated)
    ground = Ground()
    caught: list[Caught] = []
    try:
        ground.up()
        for one in chosen:
            try:
                caught.append(one.prove(ground))
            except NotHere as why:
                print(f"not shown here  {one.name}: {why}", flush=True)
                continue
            show(caught[-1])
            print("       ", caught[-1].cause)
    except Broken as why:
        print(f"faults: the ground is broken: {why}", file=sys.stderr)
        return 3
    finally:
        if not options.keep:
            ground.down()
    good = sum(not one.misses for one in caught)
    print(f"faults: caught {good}/{len(caught)}")
    return 0 if good == len(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
