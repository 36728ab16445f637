#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: failover_drill
short_description: The steps of a failover drill that no other module does
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - Keeps the note of a drill, kills a primary on purpose, and runs one of the playbooks that are drilled, as a
    person would run it. The role P(boringdb.ops.failover_drill#role) orders the steps.
  - An action plugin of the same name does O(state=ran) on the controller. It gives the playbook the inventory, the
    extra variables and the options for connections that the running one was given.
extends_documentation_fragment:
  - boringdb.ops.server
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  data_dir:
    description: The server's data directory, with O(state=killed).
    type: path
    required: false
  state:
    description:
      - V(seen) returns the note that an earlier drill has left, and whether that drill still runs.
      - V(noted) keeps O(note) in O(directory).
      - V(cleared) removes O(directory).
      - V(killed) ends every process of a primary by SIGKILL. It refuses to do that to a replica.
      - V(ran) runs O(playbook) on the controller, to its end. It fails when the options of the running playbook can't
        be passed on, and not when O(playbook) fails, see RV(error).
    type: str
    choices: [seen, noted, cleared, killed, ran]
    default: seen
  directory:
    description:
      - Where the drill keeps its note and the files of its write probe, on the host the module runs on.
      - With O(state=ran) it tells one drill from another. Of one drill, one playbook runs at a time.
    type: path
  note:
    description: With O(state=noted), what is kept. The action plugin adds which process on which controller keeps it.
    type: dict
    default: {}
  fresh:
    description: With O(state=noted), whether it refuses where a drill has noted something already.
    type: bool
    default: false
  playbook:
    description: With O(state=ran), the playbook's name.
    type: str
    choices: [switchover, failover, rejoin, provision, failover_drill]
  variables:
    description: With O(state=ran), its extra variables. They win over those of the running playbook.
    type: dict
    default: {}
  inventory:
    description:
      - With O(state=ran), the inventory of a cluster that exists for a drill only, as the content of an inventory's
        file. It is kept in a file that only this account can read, until O(playbook) has ended.
      - With it the extra variables of the running playbook are not passed on, and O(playbook) records to a ledger of
        its own, which is removed; what it recorded last is returned.
    type: dict
    default: {}
  dry:
    description: With O(state=ran), whether it only says what it would do. In check mode it never does more.
    type: bool
    default: false
  timeout:
    description: How long it may take, in seconds. A playbook that takes longer is ended.
    type: int
    default: 60
seealso:
  - module: boringdb.ops.probe
  - module: boringdb.ops.switchover
  - module: boringdb.ops.failover
"""

EXAMPLES = r"""
- name: Crash a primary
  become: true
  become_user: postgres
  boringdb.ops.failover_drill:
    state: killed
    data_dir: /var/lib/postgresql/15/main

- name: Have another member take its place
  boringdb.ops.failover_drill:
    state: ran
    playbook: failover
    variables: {failover_candidate: pg2}
    timeout: 600
  register: word
  failed_when: word.error != ''
"""

RETURN = r"""
note:
  description: What is kept; empty where nothing is.
  returned: with O(state=seen) and O(state=noted)
  type: dict
runs:
  description: Why the drill that has left the note is taken to run still; empty where it does not.
  returned: with O(state=seen)
  type: str
unpassed:
  description: Options of the running playbook that O(state=ran) can't pass on, as they are asked for at a prompt.
  returned: with O(state=seen)
  type: list
  elements: str
killed_at:
  description: When it was killed, in seconds since 1970, on the clock of its host.
  returned: with O(state=killed)
  type: float
processes:
  description: How many processes were killed.
  returned: with O(state=killed)
  type: int
playbook:
  description: What was run.
  returned: with O(state=ran)
  type: str
error:
  description: Why it failed, in one line; empty where it did not.
  returned: with O(state=ran)
  type: str
record:
  description: What it has recorded last, as the evidence's predicate; empty where it has recorded nothing.
  returned: with O(inventory)
  type: dict
seconds:
  description: How long it took.
  returned: with O(state=ran)
  type: float
ended:
  description: When it ended.
  returned: with O(state=ran)
  type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.failover_drill import failover_drill
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import SERVER_OPTIONS

CELLS: Cells = {"postgresql": failover_drill}
WORDS = ("switchover", "failover", "rejoin", "provision", "failover_drill")


def main() -> None:
    """Run the module."""
    own = {
        "data_dir": {"type": "path"},
        "state": {"type": "str", "choices": ["seen", "noted", "cleared", "killed", "ran"], "default": "seen"},
        "directory": {"type": "path"},
        "note": {"type": "dict", "default": {}},
        "fresh": {"type": "bool", "default": False},
        "playbook": {"type": "str", "choices": list(WORDS)},
        "variables": {"type": "dict", "default": {}},
        "inventory": {"type": "dict", "default": {}, "no_log": True},
        "dry": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 60},
    }
    required = [("state", "killed", ["data_dir"]), ("state", "ran", ["playbook"])]
    required += [("state", one, ["directory"]) for one in ("seen", "noted", "cleared")]
    run("failover_drill", CELLS, {**SERVER_OPTIONS, **own}, required_if=required)


if __name__ == "__main__":
    main()
