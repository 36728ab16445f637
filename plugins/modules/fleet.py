#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: fleet
short_description: Run one operation over many clusters
version_added: 0.1.0
description:
  - Runs the playbook of an operation for each cluster by itself, so many at a time, in waves, and stops beginning
    others when too many of a wave have failed.
  - A run that was begun is never ended by the fleet. It goes on when the fleet is interrupted or killed; the same
    task run again waits for it, and does only what is left.
  - It says one line when a cluster is begun and one when it has ended. All output of a cluster's run is in a log of
    its own.
  - It is an action of the controller, and needs no host. The inventories, vaults, accounts and extra variables of the
    run that it is in are handed on, what was typed in a file and never on a command line.
author:
  - boringdb.ops contributors (@boringdb)
requirements:
  - cryptography
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Each run is a dry run. Windows, freezes and what was done before do not count then.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: posix
options:
  operation:
    description:
      - The word of an operation on a cluster, such as V(backup), or the path of a playbook of your own that takes the
        variable C(cluster).
    type: str
    required: true
  cluster:
    description:
      - The clusters. A list of groups of the inventory, or text with commas between them.
      - C(production:children) are the groups directly below another, C(shop_*) those whose names are so, and
        C(!shop_test) leaves one out.
      - Two of them with a host in common are refused.
    type: raw
    required: true
  unlisted:
    description:
      - Whether a name that is no group is a cluster all the same, as for drills that know only the repository.
    type: bool
    default: false
  parallel:
    description:
      - How many clusters are worked on at a time.
    type: int
    default: 5
  waves:
    description:
      - How many clusters are in each wave, as numbers or percentages. The last is repeated. A wave begins when the one
        before has ended.
    type: list
    elements: str
    default: ["100%"]
  max_fail_percentage:
    description:
      - When more than this percentage of a wave has failed, no other cluster is begun.
    type: float
    default: 0
  windows:
    description:
      - When clusters may be changed. None means at any time. The variable C(fleet_windows) of a cluster counts
        instead.
      - Each is a dictionary with C(days) (V(mon) to V(sun), all by default), C(start) and C(end) (such as V(22:00)),
        and C(timezone) (V(UTC)). One that ends before it starts reaches into the next day.
      - They are asked before each cluster is begun, and bind no operation that changes nothing in production
        (V(backup), V(config_drift), V(dump), V(restore_drill)).
    type: list
    elements: dict
    default: []
  freezes:
    description:
      - When no cluster may be changed, whatever the windows say. Those in the variable C(fleet_freezes) of a cluster
        are added.
      - Each is a dictionary with C(start) and C(end) (a day, which belongs to it, or a day with a time), C(reason) and
        C(timezone).
    type: list
    elements: dict
    default: []
  override:
    description:
      - Lets windows and freezes be for this run. To be typed, what it overrides (the names of the clusters that are
        shut, or of more than three how many, as the refusal says).
      - It leaves a signed record for each cluster, and needs the key.
    type: str
    default: ""
  override_reason:
    description:
      - Why, for the record.
    type: str
    default: ""
  budget_seconds:
    description:
      - No cluster is begun when so many seconds have passed, or when its drill would last longer. 0 for no budget.
    type: int
    default: 0
  drill_hosts:
    description:
      - For V(restore_drill), where copies are restored. Who was proven longest ago is drilled first, where a slot and
        the disk are free.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The host, as C(drill_host) takes it.
        type: str
        required: true
      slots:
        description:
          - How many drills it does at a time.
        type: int
        default: 1
      free_bytes:
        description:
          - How much room there is for copies, in bytes.
        type: int
        required: true
  drill_every_days:
    description:
      - For V(restore_drill), how many days old a cluster's last verified drill may become.
    type: float
    default: 7
  drill_again_days:
    description:
      - For V(restore_drill), after how many days this is run again. A cluster is drilled when its proof would be too
        old by then.
    type: float
    default: 1
  fresh:
    description:
      - Whether to begin anew instead of going on with a run that is not complete.
    type: bool
    default: false
  resume_hours:
    description:
      - How old in hours a run may be that is gone on with.
    type: float
    default: 24
  directory:
    description:
      - Folder on the controller for logs and results. One folder for each command that is given.
    type: path
    required: true
  ledger:
    description:
      - Folder of the evidence ledger. Where it is there, the scorecard tells who is overdue.
    type: path
    required: true
  public_key:
    description:
      - Paths of the public keys that are trusted.
    type: list
    elements: path
    default: []
  private_key:
    description:
      - Path of the signing key, for an override.
    type: path
  passphrase:
    description:
      - Passphrase of the signing key.
    type: str
  store:
    description:
      - Where other controllers append to the same ledger, as for M(boringdb.ops.evidence).
    type: dict
  overdue_days:
    description:
      - How many days old the last verified restore drill of a cluster may become.
    type: float
    default: 7
seealso:
  - module: boringdb.ops.report
"""

EXAMPLES = r"""
- name: Back up every cluster of production
  boringdb.ops.fleet:
    operation: backup
    cluster: production:children
    parallel: 10
    directory: /srv/fleet
    ledger: /srv/evidence

- name: Restart what waits, one cluster first, then ten percent, then all
  boringdb.ops.fleet:
    operation: restart
    cluster: [orders, books, "shop_*", "!shop_test"]
    waves: [1, "10%", "100%"]
    windows:
      - {days: [sat, sun], start: "22:00", end: "04:00", timezone: Europe/Berlin}
    freezes:
      - {start: 2026-12-20, end: 2027-01-03, reason: the year's end}
    directory: /srv/fleet
    ledger: /srv/evidence
"""

RETURN = r"""
headline:
  description: The run in one line.
  returned: when something was begun
  type: str
  sample: "backup: 38 of 40 clusters ok, 1 failed, 1 left"
scorecard:
  description: Lines for a person, the worst first.
  returned: when something was begun
  type: list
  elements: str
complete:
  description: Whether every cluster is well. The task fails otherwise.
  returned: when something was begun
  type: bool
directory:
  description: Folder of this run, with a log and a result for each cluster.
  returned: when something was begun
  type: str
files:
  description: The scorecard as Markdown and as JSON.
  returned: when something was begun
  type: list
  elements: str
fleet:
  description: The scorecard for programs.
  returned: when something was begun
  type: dict
  contains:
    format:
      description: Always V(urn:boringdb.ops:fleet:v1).
      type: str
    ok:
      description: How many clusters are well. Also C(failed), and C(left) for those that were not begun.
      type: int
    clusters:
      description: For each cluster C(outcome), C(message), C(seconds), C(changed), C(log), C(artifacts) and C(proof).
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.boringdb.ops.plugins.module_utils._core.fleet_options import ARGUMENTS


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(msg="fleet works on the controller only: run it as a task of a playbook")


if __name__ == "__main__":
    main()
