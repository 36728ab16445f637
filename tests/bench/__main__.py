"""Figures as ratios in one run: one JSON line each, `name, value, unit, floor, ratio`.

The floor is the same work by hand, with the same programs and options, alternating with ours. The first pair is
discarded, because first runs pay for the disk's cold cache; the figures are medians of the pairs that follow. Who
begins alternates, too: the first of a pair is slower by up to 0.8 s.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Iterable

from tests.bench import converge, estate, ground, hosts, memory, native, peers, pgbackrest, s3, switchover
from tests.bench.ground import in_turn
from tests.lab import doctor


def line(name: str, value: float, unit: str, floor: float | None = None, ratio: float | None = None) -> None:
    """Print one figure."""
    figure = {"name": name, "value": round(value, 3), "unit": unit, "floor": floor and round(floor, 3), "ratio": ratio}
    print(json.dumps(figure), flush=True)


def compare(name: str, taken: list[tuple[float, float]]) -> None:
    """Print the medians of the pairs after the first, and the median of their ratios."""
    counted = taken[1:]
    ours, floor = (statistics.median(seconds) for seconds in zip(*counted))
    line(name, ours, "s", floor, round(statistics.median(one / other for one, other in counted), 3))


def pairs(name: str, ours: Callable[[], float], by_hand: Callable[[], float], count: int) -> None:
    """Alternate ours and the floor."""
    compare(name, [in_turn(number, ours, by_hand) for number in range(count + 1)])


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--scale", type=int, default=400, help="pgbench's scale, 15 MB each (default 400: 6 GB)")
    parser.add_argument("--lab-scale", type=int, default=500, help="the same in the lab (default 500: 7.5 GB)")
    parser.add_argument("--s3-scale", type=int, default=300, help="and with the S3 store (default 300: 4.5 GB)")
    parser.add_argument("--switchovers", type=int, default=10, help="pairs of switchovers, an even number")
    parser.add_argument("--only-switchovers", action="store_true", help="nothing else")
    parser.add_argument("--peers", type=int, default=5, help="switchovers of each kind beside repmgr and Patroni")
    parser.add_argument("--only-estate", action="store_true", help="only fifty servers, and five thousand tables")
    parser.add_argument("--pairs", type=int, default=4, help="an even number, so that each begins as often")
    chosen = parser.parse_args()
    # Whoever ends it is cleaned up behind, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if chosen.only_switchovers:
        stalls(chosen.switchovers)
        beside_peers(chosen.peers)
        return
    if chosen.only_estate:
        compare("instance_info_50", estate.rounds(chosen.pairs))
        peaks()
        return
    try:
        source = ground.Source(chosen.scale)
        line("module_start", native.module_start(source), "s")
        line("database", int(source.sql("SELECT sum(pg_database_size(oid)) FROM pg_database")) / 1e9, "GB")
        pairs("backup_native", lambda: native.backup(source), lambda: native.backup_by_hand(source), chosen.pairs)
        pairs("restore_native", lambda: native.restore(source), lambda: native.restore_by_hand(source), chosen.pairs)
        pairs("restore_drill", lambda: native.drill(source), lambda: native.drill_by_hand(source), chosen.pairs)
        source.stop()
    finally:
        ground.remove()
    for name, value, unit in converge.figures():
        line(name, value, unit)
    compare("instance_info_50", estate.rounds(chosen.pairs))
    peaks()
    stalls(chosen.switchovers)
    beside_peers(chosen.peers)
    in_the_lab(chosen.lab_scale, chosen.s3_scale, chosen.pairs)


def peaks() -> None:
    """What modules hold in memory with a huge table, and with very many, beside what they hold with next to none."""
    for name, much, little in memory.figures():
        line(f"memory_{name}", much, "MB", little, round(much / little, 3))


def stalls(count: int) -> None:
    """How long writes stood still in a switchover: p50 and the longest, with the ratios of these."""
    taken = switchover.stalls(count)
    if not taken:
        return
    for name, of in (("switchover_stall_p50", statistics.median), ("switchover_stall_max", max)):
        ours, floor = (float(of(one)) for one in zip(*taken))
        line(name, ours, "ms", floor, round(ours / floor, 3))


def beside_peers(count: int) -> None:
    """The same on hosts, where clients reach the servers directly, too, beside what others make of it."""
    why = doctor.unavailable()
    if why:
        print(f"bench: repmgr and Patroni are not measured, the lab can't run here: {why}", file=sys.stderr)
        return
    for figure in peers.figures(count):
        line(*figure)


def in_the_lab(scale: int, s3_scale: int, count: int) -> None:
    """The figures of pgBackRest; said aloud where this machine can't boot the lab."""
    why = doctor.unavailable()
    if why:
        print(f"bench: pgBackRest is not measured, the lab can't run here: {why}", file=sys.stderr)
        return
    with hosts.provisioned():
        line("database_pgbackrest", hosts.load(scale), "GB")
        compare_all(pgbackrest.rounds("pgbackrest", hosts.REPOSITORY, count))
        line("database_s3", hosts.load(s3_scale), "GB")
        with s3.store():
            compare_all(pgbackrest.rounds("s3", hosts.PRIMARY, count))


def compare_all(taken: Iterable[tuple[str, float, float]]) -> None:
    """Compare what was taken in turns, each name by itself."""
    rounds: dict[str, list[tuple[float, float]]] = {}
    for name, ours, floor in taken:
        rounds.setdefault(name, []).append((ours, floor))
    for name, own in rounds.items():
        compare(name, own)


if __name__ == "__main__":
    main()
