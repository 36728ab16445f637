# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clusters a fleet is: what `cluster` names, as groups of the inventory, and in which waves they go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.statement import CLUSTER

#: Groups that Ansible makes itself; they are no cluster.
_NO_CLUSTERS = ("all", "ungrouped")
CHILDREN = ":children"
#: As many names are typed one by one; of more, how many they are.
_TYPED = 3

Groups = Mapping[str, Sequence[str]]


def words(wanted: Any) -> list[str]:
    """`cluster` as a list: it may be one, or text with commas, as AWX's surveys give it."""
    listed = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    return [word.strip() for part in listed if part is not None for word in str(part).split(",") if word.strip()]


def select(wanted: Any, groups: Groups, children: Mapping[str, Sequence[str]], unlisted: bool = False) -> list[str]:
    """The clusters that are named, each once, in the order of their names' first mention.

    A word is a group, a pattern (`shop_*`), the groups directly below another (`production:children`), or one of these
    to leave out (`!shop_test`).

    :param unlisted: whether a name that is no group is a cluster all the same, as a drill from a repository needs
    :raises Refused: with every name that is no cluster, and every host that is in two
    """
    preflight = Preflight()
    kept: dict[str, None] = {}
    dropped: set[str] = set()
    for word in words(wanted):
        out, name = word.startswith("!"), word.removeprefix("!")
        found = _named(name, groups, children, unlisted or out, preflight)
        if out:
            dropped.update(found)
        else:
            kept.update(dict.fromkeys(found))
    chosen = [name for name in kept if name not in dropped]
    if not chosen and not preflight.reasons:
        preflight.refuse("cluster names no cluster", "give groups of the inventory: -e cluster=orders,books")
    for name in chosen:
        preflight.require(bool(CLUSTER.fullmatch(name)), f"{name!r} is no name of a cluster",
                          "use letters, digits, dot, hyphen and underscore")
    _refuse_shared(chosen, groups, preflight)
    preflight.done()
    return chosen


def _named(
    name: str, groups: Groups, children: Mapping[str, Sequence[str]], unlisted: bool, preflight: Preflight
) -> list[str]:
    if name.endswith(CHILDREN):
        above = name[: -len(CHILDREN)]
        found = [one for one in children.get(above, ()) if groups.get(one)]
        preflight.require(
            bool(found) and above not in _NO_CLUSTERS, f"{above} has no groups with hosts directly below it",
            "name a group of groups, or the clusters themselves",
        )
        return [] if above in _NO_CLUSTERS else found
    if re.search(r"[*?\[]", name):
        found = [one for one in groups if one not in _NO_CLUSTERS and groups[one] and fnmatchcase(one, name)]
        preflight.require(bool(found), f"no group with hosts is like {name}", "correct the pattern")
        return found
    if name in _NO_CLUSTERS:
        preflight.refuse(f"{name} is a group that Ansible makes itself, no cluster", "name the groups of the clusters")
        return []
    if not groups.get(name) and not unlisted:
        preflight.refuse(f"{name} is no group of the inventory that holds hosts", "correct the name")
        return []
    return [name]


def _refuse_shared(chosen: Iterable[str], groups: Groups, preflight: Preflight) -> None:
    """Two operations at once on one host would meet there."""
    of: dict[str, list[str]] = {}
    for cluster in chosen:
        for host in groups.get(cluster, ()):
            of.setdefault(host, []).append(cluster)
    pairs: dict[str, list[str]] = {}
    for host, clusters in of.items():
        if len(clusters) > 1:
            pairs.setdefault(" and ".join(clusters), []).append(host)
    for both, hosts in pairs.items():
        more = f" and {len(hosts) - 1} more hosts" if len(hosts) > 1 else ""
        preflight.refuse(f"{hosts[0]}{more} would be worked on twice, for {both}",
                         "name one of them, or leave one out with !")


def wave_sizes(total: int, waves: Sequence[Any]) -> list[int]:
    """How many clusters are in each wave: numbers or percentages of all, at least one; the last is repeated.

    :raises OpsError: when one is neither
    """
    sizes: list[int] = []
    given = [_size(total, one) for one in waves] or [total]
    while sum(sizes) < total:
        size = given[min(len(sizes), len(given) - 1)]
        sizes.append(min(size, total - sum(sizes)))
    return sizes


def _size(total: int, wave: Any) -> int:
    match = re.fullmatch(r"(\d{1,6})(%?)", str(wave).strip())
    number = int(match.group(1)) if match else 0
    if not match or number < 1 or (match.group(2) and number > 100) or isinstance(wave, bool):
        raise OpsError(f"refused: {wave!r} is no wave (give a number of clusters, or a percentage such as 10%)")
    return max(1, total * number // 100) if match.group(2) else number


def typed(clusters: Sequence[str]) -> str:
    """What a person types to mean just these clusters."""
    return ",".join(sorted(clusters)) if len(clusters) <= _TYPED else f"{len(clusters)} clusters"
