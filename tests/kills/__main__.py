# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a playbook at each of its task boundaries, run the same command again, and judge what is there then.

usage: python -m tests.kills [--playbook NAME] [--victim NAME] [--boundary N] [--sample K --seed S]
                            [--missing] [--losses N] [--list | --table]
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from tests.kills.case import Result, run
from tests.kills.ground import Ground
from tests.kills.hosts.chain import Chain, Loss, Part
from tests.kills.hosts.run import chains
from tests.kills.operations import OPERATIONS
from tests.kills.rehearsal import Rehearsal, rehearse
from tests.kills.results import keep, keep_chain, known, shown
from tests.kills.strike import Case
from tests.kills.table import write_page
from tests.kills.victims import VICTIMS
from tests.lab import doctor


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=str(__doc__).splitlines()[0])
    parser.add_argument("--playbook", choices=list(OPERATIONS), action="append", help="may be given again")
    parser.add_argument("--victim", choices=[*VICTIMS, "host"], help="only this one; host needs the lab")
    parser.add_argument("--boundary", type=int, metavar="N", help="only the state that boundary N lies in")
    parser.add_argument("--sample", type=int, metavar="K", help="K random cases of those that are left")
    parser.add_argument("--seed", type=int, default=20260101, help="of the sample, and of the moment within each task")
    parser.add_argument("--missing", action="store_true", help="only cases that have not converged here yet")
    parser.add_argument("--losses", type=int, metavar="N", help="end a chain of hosts after N; --missing goes on")
    parser.add_argument("--list", action="store_true", help="play each once without a kill, and list the cases")
    parser.add_argument("--table", action="store_true", help="write docs/kills.md of what the last runs have shown")
    return parser.parse_args()


def terminated(number: int, frame: FrameType | None) -> None:
    """A signal ends the run as an exception does, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


def chosen(options: argparse.Namespace, rehearsed: Rehearsal) -> list[Case]:
    """The cases that were asked for, without the sample."""
    done = known(rehearsed) if options.missing else set()
    return [
        case
        for case in rehearsed.cases(options.seed)
        if options.victim in (None, case.victim)
        and (options.boundary is None or options.boundary in case.state.boundaries)
        and case.name not in done
    ]


def sampled(cases: list[Case], options: argparse.Namespace) -> list[Case]:
    """All of them, or a random part, in their order."""
    if options.sample is None or options.sample >= len(cases):
        return cases
    picked = set(random.Random(options.seed).sample(range(len(cases)), options.sample))
    return [case for number, case in enumerate(cases) if number in picked]


def show_states(rehearsed: Rehearsal) -> None:
    """What a playbook's boundaries come to."""
    print(f"kills: {rehearsed.playbook}: {rehearsed.boundaries} boundaries, {len(rehearsed.states)} states of a host:")
    print("kills: where nothing runs on a host between boundaries, the state is the same, and is killed once")
    for state in rehearsed.states:
        span = f"{state.boundaries[0]}-{state.number}" if len(state.boundaries) > 1 else str(state.number)
        print(f"  {span:<7} {state.seconds:5.1f} s  {state.task}", flush=True)


def show(result: Result) -> None:
    """One line, and one more for each thing that a person should know."""
    word = "MISSED   " if result.misses else "converged"
    said = f"reruns={result.reruns} part={result.part} {result.seconds:.0f} s"
    print(f"{word} {result.name:<28} {result.task} ({said})", flush=True)
    for line in result.refusals:
        print(f"          first refused: {line}", flush=True)
    for line in result.misses:
        print(f"          {line}", flush=True)


def on_embedded(playbooks: list[str], options: argparse.Namespace) -> Iterator[Result]:
    """Rehearse each playbook, and run its cases, on one estate."""
    ground = Ground()
    try:
        for playbook in playbooks:
            yield from of_playbook(playbook, ground, options)
    finally:
        ground.down()


def of_playbook(playbook: str, ground: Ground, options: argparse.Namespace) -> Iterator[Result]:
    """The cases of one playbook."""
    operation = OPERATIONS[playbook](ground)
    operation.prepare()
    rehearsed = rehearse(playbook, operation)
    keep(rehearsed)
    show_states(rehearsed)
    cases = sampled(chosen(options, rehearsed), options)
    for case in cases:
        if options.list:
            print(f"{case.name:<28} {case.state.task}")
            continue
        result = run(case, operation, rehearsed.names)
        keep(rehearsed, result)
        yield result
        operation.reset(bool(result.misses))


def on_hosts(playbooks: list[str], options: argparse.Namespace) -> list[Chain]:
    """The chains of the lab's hosts; said aloud where this machine can't boot the lab."""
    why = doctor.unavailable()
    if why:
        print(f"kills: the victim host is left out, the lab can't run here: {why}", file=sys.stderr)
        return []
    found = []
    most = options.losses or Part().most
    parts = {name: Part(shown(name) if options.missing else frozenset(), most) for name in playbooks}
    for told in chains(playbooks, options.seed, parts):
        if isinstance(told, Chain):
            keep_chain(told, goes_on=options.missing)
            found.append(told)
            word = "MISSED   " if told.misses else "converged"
            print(f"{word} {told.playbook}/host: {len(told.losses)} losses, {told.runs} runs, {told.seconds:.0f} s")
            for line in told.misses:
                print(f"          {line}")
        elif isinstance(told, Loss):
            print(f"lost      {told.on:<12} {told.task} (part={told.part})", flush=True)
        else:
            print(f"kills: {told}", flush=True)
    return found


def main() -> int:
    """Run what was asked for; returns the exit code."""
    options = arguments()
    if options.table:
        write_page()
        return 0
    signal.signal(signal.SIGTERM, terminated)
    begun = time.monotonic()
    results: list[Result] = []
    wanted = [name for name in OPERATIONS if name in (options.playbook or OPERATIONS)]
    for result in on_embedded(wanted, options) if options.victim != "host" else ():
        show(result)
        results.append(result)
    if options.list:
        return 0
    everything = options.victim is None and options.boundary is None and options.sample is None
    in_chains = on_hosts(wanted, options) if everything or options.victim == "host" else []
    missed = [result for result in results if result.misses]
    lost = sum(miss.startswith("lost") for result in missed for miss in result.misses)
    left = sum(miss.startswith("left") for result in missed for miss in result.misses)
    for result in missed:
        print(f"missed: {result.name}: {result.task}: {result.misses[0]}")
    print(f"kills: all of it took {time.monotonic() - begun:.0f} s")
    print(f"kills: {len(results) - len(missed)}/{len(results)} converged, lost {lost}, left {left}")
    if in_chains:
        cut = sum(len(chain.losses) for chain in in_chains)
        whole = sum(not chain.misses for chain in in_chains)
        print(f"kills: {cut} times a host lost its power, {whole}/{len(in_chains)} playbooks finished the job then")
    return 1 if missed or any(chain.misses for chain in in_chains) else 0


if __name__ == "__main__":
    sys.exit(main())
