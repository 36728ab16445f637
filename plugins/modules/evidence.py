#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: evidence
short_description: Sign, append and verify records of operations
version_added: 0.1.0
description:
  - Keeps a ledger in which every operation on a database leaves one signed record.
  - A record is an in-toto Statement v1 in a DSSE envelope, signed with ed25519, one file per record.
  - The records of a cluster form a hash chain, so that an altered, removed or re-ordered record shows.
  - The chain alone shows neither a tail that was cut off nor a ledger that was signed anew by whoever holds the key.
    Keep the returned O(ignore:head) outside of the ledger and give it back as O(witnesses) to have these shown too.
  - Runs where the key is, which is the controller. Delegate it to localhost and run it with the interpreter
    of Ansible itself, as the role P(boringdb.ops.evidence#role) does.
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
      - The record is checked and signed in memory, and nothing is written.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(recorded) signs O(record) and appends it to the chain of its cluster. Giving the very same record again
        changes nothing.
      - V(verified) verifies the whole ledger, or the chain of O(cluster), and fails when anything is wrong with it.
      - V(keypair) creates the signing key and its public half where they do not exist, and never replaces either.
      - V(proven) tells which backups of O(cluster) a verified drill restored. It fails for nothing that the ledger
        holds; it returns whether that is sound.
      - V(followed_up) signs O(follow_up), which is about a record that is there, and appends it to the chain of
        O(cluster).
        Saying the very same with the same key again changes nothing.
      - V(witnessed) leaves the head of every chain, or of that of O(cluster), with each of O(witness), unless it is
        there. A chain with a finding is not witnessed.
      - V(synced) brings to O(ledger) and to O(store) the records that only the other has, of all clusters or of
        O(cluster).
      - V(identified) tells which cluster each name in the ledger stands for. It fails for nothing that the ledger
        holds.
    type: str
    choices: [recorded, verified, keypair, proven, identified, followed_up, witnessed, synced]
    default: recorded
  ledger:
    description:
      - Folder of the ledger. Created by the first record.
      - Needed for all states but V(keypair).
    type: path
  private_key:
    description:
      - Path of the signing key, PKCS#8 in PEM. Refused when group or others may read it.
      - Needed for the states V(recorded), V(followed_up) and V(keypair).
    type: path
  passphrase:
    description:
      - Passphrase of the signing key, if it has one.
    type: str
  public_key:
    description:
      - Paths of the public keys that are trusted. Several are needed where the signing key was replaced.
      - Needed for O(state=verified), O(state=proven), O(state=identified), O(state=followed_up) and
        O(state=witnessed). The keys that lie inside the ledger are never trusted by themselves, as whoever can rewrite
        the ledger can rewrite them too.
      - For O(state=keypair) the one path of the public half, by default the private key's path
        with the ending C(.pub.pem).
    type: list
    elements: path
  record:
    description:
      - What was done and found. Needed for O(state=recorded).
      - All problems of a record are named at once, and a record with a problem is not signed.
      - Facts that look like a secret are refused. In O(record.error), O(record.corrective_action) and the messages
        of checks, what looks like a secret is replaced by C([redacted]).
    type: dict
    suboptions:
      operation:
        description: The word of the operation, for example V(restore_drill).
        type: str
        required: true
      cluster:
        description: The cluster it was done on. It names a folder in the ledger.
        type: str
        required: true
      engine:
        description: The database engine, for example V(postgresql).
        type: str
        required: true
      versions:
        description: Versions, a text at C(engine) and a dictionary at C(tools).
        type: dict
        default: {}
      operator:
        description:
          - Who ran it, a dictionary with C(user) and C(awx_job). Defaults to the account and the AWX job
            that run the module.
        type: dict
      started:
        description: When it started, RFC 3339 in UTC.
        type: str
        required: true
      finished:
        description: When it ended, RFC 3339 in UTC.
        type: str
        required: true
      objectives:
        description: What it was measured against, numbers at C(rto_seconds) and C(rpo_seconds).
        type: dict
        default: {}
      measurements:
        description: What was measured, a flat dictionary of names and numbers or short texts.
        type: dict
        default: {}
      checks:
        description:
          - What was checked, each with C(name), C(required), C(status) (V(passed), V(failed) or V(skipped)) and
            optionally C(expected), C(actual), C(seconds), C(message).
        type: list
        elements: dict
        default: []
      verdict:
        description:
          - Derived from the checks. When given, it must be what the checks say.
        type: str
        choices: [verified, failed, error]
      error:
        description: Why the operation could not be finished, if it could not.
        type: str
      subjects:
        description: What the record is about, each with C(name) and C(digest.sha256).
        type: list
        elements: dict
        required: true
      controls:
        description: Identifiers of the controls that it supports. For a restore drill these are filled in.
        type: list
        elements: str
      approval:
        description: Who approved it, a text or a dictionary.
        type: raw
      corrective_action:
        description: What was done about a failure, a text or a dictionary.
        type: raw
  follow_up:
    description:
      - What a person says about a record that is in the chain. Needed for O(state=followed_up).
      - Refused where no record of O(cluster) has that digest, where nobody vouches for it, where it is a follow-up
        itself, where the same key has approved it already, and for a corrective action where there was nothing to
        correct.
    type: dict
    suboptions:
      kind:
        description: Whether the record is approved, or a corrective action is recorded for it.
        type: str
        choices: [approval, corrective_action]
        required: true
      record:
        description: SHA-256 of the record's file, as the report shows it.
        type: str
        required: true
      by:
        description: Who says it.
        type: str
        required: true
      role:
        description: In which role.
        type: str
      comment:
        description: What is said of the approval.
        type: str
      action:
        description: What was done. Needed for a corrective action.
        type: str
      ticket:
        description: Where it is tracked.
        type: str
  second_person:
    description:
      - Refuse a follow-up that is signed with the key that signed the record.
    type: bool
    default: false
  operator:
    description:
      - Who runs O(state=followed_up), see O(record.operator).
    type: dict
  cluster:
    description:
      - Verify the chain of this cluster only. Needed for O(state=proven) and O(state=followed_up).
    type: str
  witnesses:
    description:
      - Head digests that were kept outside of the ledger, by cluster, one or a list of them.
      - Each must still be found in the chain of its cluster.
    type: dict
  store:
    description:
      - What holds the ledger for several controllers, a bucket or a folder on a host; O(ledger) is then this
        controller's copy. Each place in a chain is taken by a write that succeeds once.
      - A bucket needs boto3. A host is reached with the program C(ssh), with a key and without a question; it needs a
        POSIX shell only.
      - Used by O(state=recorded), O(state=followed_up) and O(state=synced), which needs it; the other states read the
        copy. Check mode reads the copy alone, but for O(state=synced).
    type: dict
    suboptions:
      bucket:
        description: The bucket. It needs O(store.endpoint) and O(store.region).
        type: str
      endpoint:
        description: Bare name of the store.
        type: str
      region:
        description: Region of the bucket.
        type: str
      host:
        description: The host, as ssh knows it. It needs O(store.path).
        type: str
      path:
        description: The folder on the host; it is made.
        type: str
      user:
        description: The account on the host. Without it, what ssh's configuration says.
        type: str
      ssh_config:
        description: The configuration of ssh, with the key and the known hosts. Without it, the account's own.
        type: path
      port:
        description: Port of the store. Without it 443 for a bucket, and what ssh's configuration says for a host.
        type: int
      uri_style:
        description: How the bucket is addressed.
        type: str
        choices: [host, path]
        default: host
      key:
        description: Id of the store's key. Without it one is looked for where boto3 always does.
        type: str
      key_secret:
        description: The store's key.
        type: str
      ca_file:
        description: Certificates that are trusted, where the store's is not one of the system's.
        type: path
      prefix:
        description: What the names of the objects begin with.
        type: str
        default: ledger
  witness:
    description:
      - Where the heads of chains are kept outside of the ledger. Needed for O(state=witnessed).
      - For O(state=verified) these are asked, and each head that they have must be found in the chain of its cluster.
    type: list
    elements: dict
    suboptions:
      kind:
        description:
          - V(timestamp) has the head stamped by an authority, RFC 3161, and keeps the stamp beside the chain. Needs the
            program C(openssl).
          - V(object_lock) writes the head's file into a bucket with Object Lock, with a retention of its own. Needs
            boto3.
          - V(mail) mails the head.
        type: str
        choices: [timestamp, object_lock, mail]
        required: true
      url:
        description: Address of the time stamp authority. Not needed to verify.
        type: str
      ca_file:
        description:
          - Certificates that are trusted, in PEM. Of the authority's root for V(timestamp), which needs it; of the
            server for the others, where it is not one of the system's.
        type: path
      untrusted_file:
        description: Certificates between the authority's and its root, in PEM, where stamps do not carry them.
        type: path
      bucket:
        description: The bucket.
        type: str
      endpoint:
        description: Bare name of the store.
        type: str
      region:
        description: Region of the bucket.
        type: str
      uri_style:
        description: How the bucket is addressed.
        type: str
        choices: [host, path]
        default: host
      key:
        description: Id of the store's key. Without it one is looked for where boto3 always does.
        type: str
      key_secret:
        description: The store's key.
        type: str
      prefix:
        description: What the names of the objects begin with.
        type: str
        default: evidence
      days:
        description: How long an object can't be removed.
        type: int
        default: 400
      mode:
        description: Mode of the retention.
        type: str
        choices: [compliance, governance]
        default: compliance
      host:
        description: The mail server.
        type: str
      port:
        description:
          - Port of the store, by default V(443), or of the mail server, by default V(25), with TLS V(465).
        type: int
      security:
        description: How mail is carried.
        type: str
        choices: [starttls, tls, none]
        default: starttls
      login_user:
        description: Account on the mail server, if it asks for one.
        type: str
      login_password:
        description: Its password.
        type: str
      sender:
        description: Address that the mail comes from.
        type: str
      recipients:
        description: Addresses that it goes to.
        type: list
        elements: str
      folder:
        description: Folder with mails that a recipient saved, each a file. Read by O(state=verified).
        type: path
      timeout:
        description: Seconds to wait for an answer.
        type: int
        default: 30
  lock_timeout:
    description:
      - Seconds to wait for another writer of the same chain.
    type: int
    default: 60
seealso:
  - module: boringdb.ops.report
"""

EXAMPLES = r"""
- name: Create the signing key
  boringdb.ops.evidence:
    state: keypair
    private_key: /etc/boringdb/evidence.pem
    public_key: /etc/boringdb/evidence.pub.pem
  delegate_to: localhost

- name: Record a restore drill
  boringdb.ops.evidence:
    ledger: /srv/evidence
    private_key: /etc/boringdb/evidence.pem
    record:
      operation: restore_drill
      cluster: orders
      engine: postgresql
      versions: {engine: "17.5", tools: {pgbackrest: "2.55"}}
      started: "2026-01-31T03:00:00Z"
      finished: "2026-01-31T03:04:12Z"
      objectives: {rto_seconds: 900, rpo_seconds: 300}
      measurements: {rto_seconds: 187.4, rpo_seconds: 41.2}
      checks:
        - {name: relations_exact, required: true, status: passed, expected: 212, actual: 212, seconds: 3.1}
      subjects:
        - name: backup manifest 20260130-010002F
          digest: {sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: Approve it, with a key of one's own
  boringdb.ops.evidence:
    state: followed_up
    ledger: /srv/evidence
    private_key: /home/ada/ada.pem
    public_key: [/etc/boringdb/evidence.pub.pem, /home/ada/ada.pub.pem]
    cluster: orders
    second_person: true
    follow_up:
      kind: approval
      record: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      by: Ada Lovelace
      role: head of operations
  delegate_to: localhost

- name: Verify the whole ledger
  boringdb.ops.evidence:
    state: verified
    ledger: /srv/evidence
    public_key: [/etc/boringdb/evidence.pub.pem]
    witnesses:
      orders: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  delegate_to: localhost
"""

RETURN = r"""
head:
  description:
    - SHA-256 of the new record's file, the digest to mail or store outside of the ledger.
    - In check mode what it would be.
  returned: O(state=recorded) or O(state=followed_up)
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
previous:
  description: SHA-256 of the file of the record before, null for the first.
  returned: O(state=recorded) or O(state=followed_up)
  type: str
sequence:
  description: Place of the record in its chain, from 1.
  returned: O(state=recorded) or O(state=followed_up)
  type: int
path:
  description: File of the record.
  returned: O(state=recorded) or O(state=followed_up)
  type: str
cluster:
  description: Cluster of the record.
  returned: O(state=recorded) or O(state=followed_up)
  type: str
verdict:
  description: What the checks say, V(verified), V(failed) or V(error).
  returned: O(state=recorded) or O(state=followed_up)
  type: str
statement:
  description: The in-toto Statement that was signed.
  returned: O(state=recorded) or O(state=followed_up)
  type: dict
keyid:
  description: SHA-256 of the public key in DER.
  returned: O(state=recorded), O(state=followed_up) or O(state=keypair)
  type: str
created:
  description: Paths that were created.
  returned: O(state=keypair)
  type: list
  elements: str
private_key:
  description: Path of the private key.
  returned: O(state=keypair)
  type: str
public_key:
  description: Path of the public key.
  returned: O(state=keypair)
  type: str
backups:
  description: The backups that a verified drill restored, the newest proof first.
  returned: O(state=proven)
  type: list
  elements: dict
  contains:
    label:
      description: The backup.
      type: str
    verified:
      description: When the last drill that verified it ended, UTC.
      type: str
    record:
      description: File of that drill's record.
      type: str
dumps:
  description: The logical dumps that were proven, the newest proof first.
  returned: O(state=proven)
  type: list
  elements: dict
  contains:
    label:
      description: The dump.
      type: str
    verified:
      description: When the last proof of it ended, UTC.
      type: str
    record:
      description: File of that proof's record.
      type: str
sound:
  description: Whether the chain verifies. RV(backups) and RV(dumps) are empty where it does not.
  returned: O(state=proven)
  type: bool
problem:
  description: Why it does not, or why no key could be read, empty where there is nothing of that kind.
  returned: O(state=proven) or O(state=identified)
  type: str
identities:
  description: The names in the ledger, each with the digest of the system identifier in its newest verified drill.
  returned: O(state=identified)
  type: dict
verified:
  description: Whether nothing is wrong with the ledger.
  returned: O(state=verified)
  type: bool
findings:
  description: Everything that is wrong, also returned when the module fails for it.
  returned: O(state=verified)
  type: list
  elements: dict
  contains:
    cluster:
      description: Cluster.
      type: str
    kind:
      description:
        - One of V(altered), V(removed), V(reordered), V(duplicate), V(foreign_key), V(unparsable), V(misplaced),
          V(follow_up), V(witness), V(empty).
      type: str
    record:
      description: File name, empty where the chain as a whole is meant.
      type: str
    message:
      description: What is wrong, in one line.
      type: str
clusters:
  description: By cluster the number of records and of findings, and the digest of the chain's head.
  returned: O(state=verified)
  type: dict
witnessed:
  description: By cluster the witnesses that were found, and how many records are newer than all of them.
  returned: O(state=verified) with O(witness)
  type: dict
  contains:
    unwitnessed:
      description: How many records came after the newest witnessed one; all of them where none was.
      type: int
    witnesses:
      description: Each with C(kind), C(sequence), C(head), C(at), C(where), and what it C(proves).
      type: list
      elements: dict
moved:
  description: The records that one side lacked, one line each.
  returned: O(state=synced)
  type: list
  elements: str
left:
  description: The heads that were left with a witness, each with C(cluster), C(kind), C(sequence) and C(head).
  returned: O(state=witnessed)
  type: list
  elements: dict
keyids:
  description: Ids of the trusted keys.
  returned: O(state=verified)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, as_line
from ansible_collections.boringdb.ops.plugins.module_utils._core.evidence import (
    NotVerified,
    identified,
    keypair,
    proven,
    recorded,
    verified,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.follow_up import SAID, followed_up
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import MISSING_CRYPTOGRAPHY
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_shared import synced
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness import KINDS, witnessed

STATES = {
    "recorded": recorded, "verified": verified, "keypair": keypair, "proven": proven, "identified": identified,
    "followed_up": followed_up, "witnessed": witnessed, "synced": synced,
}  # fmt: skip

RECORD = {
    "operation": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    "engine": {"type": "str", "required": True},
    "versions": {"type": "dict", "default": {}},
    "operator": {"type": "dict"},
    "started": {"type": "str", "required": True},
    "finished": {"type": "str", "required": True},
    "objectives": {"type": "dict", "default": {}},
    "measurements": {"type": "dict", "default": {}},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "verdict": {"type": "str", "choices": ["verified", "failed", "error"]},
    "error": {"type": "str"},
    "subjects": {"type": "list", "elements": "dict", "required": True},
    "controls": {"type": "list", "elements": "str"},
    "approval": {"type": "raw"},
    "corrective_action": {"type": "raw"},
}

FOLLOW_UP = {
    "kind": {"type": "str", "choices": list(SAID), "required": True},
    "record": {"type": "str", "required": True},
    "by": {"type": "str", "required": True},
    "role": {"type": "str"},
    "comment": {"type": "str"},
    "action": {"type": "str"},
    "ticket": {"type": "str"},
}

STORE = {
    "bucket": {"type": "str"},
    "endpoint": {"type": "str"},
    "region": {"type": "str"},
    "host": {"type": "str"},
    "path": {"type": "str"},
    "user": {"type": "str"},
    "ssh_config": {"type": "path"},
    "port": {"type": "int"},
    "uri_style": {"type": "str", "choices": ["host", "path"], "default": "host"},
    "key": {"type": "str", "no_log": False},
    "key_secret": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "prefix": {"type": "str", "default": "ledger"},
}

WITNESS = {
    "kind": {"type": "str", "choices": list(KINDS), "required": True},
    "url": {"type": "str"},
    "ca_file": {"type": "path"},
    "untrusted_file": {"type": "path"},
    "bucket": {"type": "str"},
    "endpoint": {"type": "str"},
    "region": {"type": "str"},
    "uri_style": {"type": "str", "choices": ["host", "path"], "default": "host"},
    "key": {"type": "str", "no_log": False},
    "key_secret": {"type": "str", "no_log": True},
    "prefix": {"type": "str", "default": "evidence"},
    "days": {"type": "int", "default": 400},
    "mode": {"type": "str", "choices": ["compliance", "governance"], "default": "compliance"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "security": {"type": "str", "choices": ["starttls", "tls", "none"], "default": "starttls"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "sender": {"type": "str"},
    "recipients": {"type": "list", "elements": "str"},
    "folder": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(STATES), "default": "recorded"},
            "ledger": {"type": "path"},
            "private_key": {"type": "path", "no_log": False},
            "passphrase": {"type": "str", "no_log": True},
            "public_key": {"type": "list", "elements": "path", "no_log": False},
            "record": {"type": "dict", "options": RECORD},
            "follow_up": {"type": "dict", "options": FOLLOW_UP},
            "second_person": {"type": "bool", "default": False},
            "operator": {"type": "dict"},
            "cluster": {"type": "str"},
            "witnesses": {"type": "dict"},
            "store": {
                "type": "dict", "options": STORE, "mutually_exclusive": [("bucket", "host")],
                "required_one_of": [("bucket", "host")],
                "required_by": {"bucket": ["endpoint", "region"], "host": ["path"]},
            },
            "witness": {"type": "list", "elements": "dict", "options": WITNESS},
            "lock_timeout": {"type": "int", "default": 60},
        },
        required_if=[
            ("state", "recorded", ["ledger", "private_key", "record"]),
            ("state", "verified", ["ledger", "public_key"]),
            ("state", "keypair", ["private_key"]),
            ("state", "proven", ["ledger", "public_key", "cluster"]),
            ("state", "identified", ["ledger", "public_key"]),
            ("state", "followed_up", ["ledger", "private_key", "public_key", "cluster", "follow_up"]),
            ("state", "synced", ["ledger", "store"]),
            ("state", "witnessed", ["ledger", "public_key", "witness"]),
        ],
        supports_check_mode=True,
    )
    if MISSING_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=MISSING_CRYPTOGRAPHY)
    try:
        outcome = STATES[module.params["state"]](module.params, module.check_mode)
    except NotVerified as error:
        module.fail_json(msg=as_line(error), **error.facts)
    except OpsError as error:
        module.fail_json(msg=as_line(error), **error.facts)
    except OSError as error:
        module.fail_json(msg=as_line(error))
    diff = {"before": outcome.before, "after": outcome.after}
    module.exit_json(changed=outcome.changed, diff=diff, **outcome.facts)


if __name__ == "__main__":
    main()
