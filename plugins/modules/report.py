#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Render the evidence ledger as one page
version_added: 0.1.0
description:
  - Reads the ledger that M(boringdb.ops.evidence) keeps, verifies it with the given public key, and renders what it
    says about every cluster, the worst first.
  - A cluster is verified when its last restore drill was verified, met its objectives, and is not overdue.
  - Records that no trusted key vouches for are shown as such and never count.
  - The HTML page is one file that fetches nothing.
  - Runs where the ledger is, which is the controller. Delegate it to localhost and run it with the interpreter
    of Ansible itself, as the role P(boringdb.ops.report#role) does.
author:
  - boringdb.ops contributors (@boringdb)
requirements:
  - cryptography
extends_documentation_fragment:
  - boringdb.ops.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details:
      - The diff names the state of every cluster before and after, not the page's source.
  platform:
    support: full
    platforms: posix
options:
  ledger:
    description:
      - Folder of the ledger.
    type: path
    required: true
  public_key:
    description:
      - Paths of the public keys that are trusted.
    type: list
    elements: path
    required: true
  dest:
    description:
      - File to write, with mode 0644. Its folder must exist.
    type: path
    required: true
  format:
    description:
      - Form of the report.
      - V(controls_markdown) and V(controls_json) are the matrix of controls by itself, with all runs of the period.
    type: str
    choices: [html, markdown, json, controls_markdown, controls_json]
    default: html
  title:
    description:
      - Title of the report.
    type: str
    default: Restore evidence
  overdue_days:
    description:
      - How many days old the last verified restore drill of a cluster may become.
    type: float
    default: 7
  clusters:
    description:
      - Clusters that must be in the report. One without any record is shown as never proven, so that a drill that never
        ran is noticed.
    type: list
    elements: str
    default: []
  witnesses:
    description:
      - Head digests that were kept outside of the ledger, by cluster, one or a list of them.
    type: dict
  members:
    description:
      - The hosts of clusters, a list for each name. They add no cluster to the report.
    type: dict
  instances:
    description:
      - What the servers of hosts are, for each host the C(instance) that M(boringdb.ops.instance_info) returns.
    type: dict
  limit:
    description:
      - How many drills, and how many other operations, are shown in detail for each cluster. In the forms V(markdown)
        and V(json) how many operations together.
      - The page of more than fifty clusters shows fewer, so that it stays small.
    type: int
    default: 20
  period_start:
    description:
      - First day of the period that the matrix of controls covers, UTC, for example V(2026-01-01). By default ninety
        days before its last.
    type: str
  period_end:
    description:
      - Last day of the period, which belongs to it. By default today.
    type: str
  approval:
    description:
      - Operations whose runs must be approved, for example V(restore_drill). A cluster whose last drill is not is then
        not verified, and every run that lacks it is a gap in the matrix of controls.
    type: list
    elements: str
    default: []
  second_person:
    description:
      - Whether an approval counts only when it was signed with another key than the run.
    type: bool
    default: false
notes:
  - The page is written when what it says changed. The time at which it was made does not count as a change.
seealso:
  - module: boringdb.ops.evidence
"""

EXAMPLES = r"""
- name: Render the page
  boringdb.ops.report:
    ledger: /srv/evidence
    public_key: [/etc/boringdb/evidence.pub.pem]
    dest: /var/www/evidence/index.html
    overdue_days: 7
    clusters: "{{ groups['databases'] | map('extract', hostvars, 'db_cluster') | unique }}"
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: Render it for a program
  boringdb.ops.report:
    ledger: /srv/evidence
    public_key: [/etc/boringdb/evidence.pub.pem]
    dest: /srv/evidence.json
    format: json
  delegate_to: localhost
"""

RETURN = r"""
dest:
  description: File of the report.
  returned: success
  type: str
headline:
  description: The whole report in one line.
  returned: success
  type: str
  sample: 2 of 8 clusters need attention
proven:
  description: Whether every cluster is verified.
  returned: success
  type: bool
clusters:
  description: State of every cluster.
  returned: success
  type: dict
  contains:
    state:
      description:
        - One of V(tampered), V(failed), V(error), V(never), V(overdue), V(missed), V(unapproved), V(verified),
          the worst that holds.
      type: str
    problems:
      description: What is wrong, one line each.
      type: list
      elements: str
gaps:
  description: What is missing in the matrix of controls, the worst first.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(not_counted), V(no_verified_run), V(open_failure), V(not_approved).
      type: str
    cluster:
      description: The cluster.
      type: str
    text:
      description: What is missing, in one line.
      type: str
    record:
      description: SHA-256 of the run's record, empty where a run is missing.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import MISSING_CRYPTOGRAPHY
from ansible_collections.boringdb.ops.plugins.module_utils._core.report_file import FORMS, write_report


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ledger": {"type": "path", "required": True},
            "public_key": {"type": "list", "elements": "path", "required": True, "no_log": False},
            "dest": {"type": "path", "required": True},
            "format": {"type": "str", "choices": list(FORMS), "default": "html"},
            "title": {"type": "str", "default": "Restore evidence"},
            "overdue_days": {"type": "float", "default": 7},
            "clusters": {"type": "list", "elements": "str", "default": []},
            "witnesses": {"type": "dict"},
            "members": {"type": "dict"},
            "instances": {"type": "dict"},
            "limit": {"type": "int", "default": 20},
            "period_start": {"type": "str"},
            "period_end": {"type": "str"},
            "approval": {"type": "list", "elements": "str", "default": []},
            "second_person": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if MISSING_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=MISSING_CRYPTOGRAPHY)
    try:
        outcome = write_report(module.params, module.check_mode)
    except (OpsError, OSError) as error:
        module.fail_json(msg=as_line(error))
    module.exit_json(
        changed=outcome.changed, diff={"before": outcome.before, "after": outcome.after}, **outcome.facts
    )


if __name__ == "__main__":
    main()
