# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strike in the middle of switchovers and failovers, give the same command again, and judge what was seen of it.

usage: python -m tests.chaos [--word NAME] [--victim NAME] [--phase NAME] [--sample K --seed S] [--list]
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from types import FrameType

from tests.chaos.case import CASES, Case, Result, run
from tests.chaos.ground import Battered


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=str(__doc__).splitlines()[0])
    parser.add_argument("--word", choices=sorted({case.word for case in CASES}))
    parser.add_argument("--victim", choices=sorted({case.victim for case in CASES}))
    parser.add_argument("--phase", choices=sorted({case.phase for case in CASES}))
    parser.add_argument("--sample", type=int, metavar="K", help="K random cases of those that are left")
    parser.add_argument("--seed", type=int, default=20260101, help="of the sample")
    parser.add_argument("--list", action="store_true", help="name the cases")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that were asked for, in their order."""
    found = [
        case
        for case in CASES
        if all(getattr(options, name) in (None, getattr(case, name)) for name in ("word", "victim", "phase"))
    ]
    if options.sample is None or options.sample >= len(found):
        return found
    picked = set(random.Random(options.seed).sample(range(len(found)), options.sample))
    return [case for number, case in enumerate(found) if number in picked]


def show(result: Result) -> None:
    """A line, one for each rerun that did not end it, and one for each thing that is wrong."""
    word = "UNSAFE" if result.wrong else "safe  "
    said = f"reruns={result.reruns} longest={result.longest:.1f} s looks={result.rounds} {result.seconds:.0f} s"
    print(f"{word} {result.case.name:<30} {said}", flush=True)
    for line in result.refused:
        print(f"       again: {line}", flush=True)
    for line in result.wrong:
        print(f"       {line}", flush=True)


def terminated(number: int, frame: FrameType | None) -> None:
    """A signal ends the run as an exception does, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


def main() -> int:
    """Run what was asked for; returns the exit code."""
    options = arguments()
    cases = chosen(options)
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    signal.signal(signal.SIGTERM, terminated)
    begun, results = time.monotonic(), []
    ground = Battered()
    try:
        ground.up()
        for case in cases:
            results.append(run(case, ground))
            show(results[-1])
            if results[-1].wrong:
                # What one case has broken must not be told of the next.
                ground.down()
                ground = Battered()
                ground.up()
    finally:
        ground.down()
    safe = sum(not result.wrong for result in results)
    lost, split = sum(result.lost for result in results), sum(result.split > 0 for result in results)
    print(f"chaos: all of it took {time.monotonic() - begun:.0f} s")
    print(f"chaos: {safe}/{len(results)} safe, lost {lost}, split-brain {split}")
    return 0 if safe == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
