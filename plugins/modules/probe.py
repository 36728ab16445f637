#!/usr/bin/python
# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Writes numbered rows, keeps what was acknowledged, and looks for it later
version_added: 0.1.0
author:
  - boringdb.ops contributors (@boringdb)
description:
  - A small background program commits numbered rows to a database and writes down every acknowledgement, on the host
    this module runs on. Whatever happens to the database meanwhile, it tells the largest gap between acknowledged
    commits, the errors, and afterwards whether every acknowledged row is there.
  - The probe outlives the module and the connection to the host. Its files lie in O(directory), one run at a time.
  - It writes to the table C(boringdb_probe.writes), which it makes. Where the table exists, a role that may INSERT into
    it and SELECT from it is enough.
extends_documentation_fragment:
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
  state:
    description:
      - V(started) starts the background program and waits for its first acknowledged row. A probe that runs already is
        left alone.
      - V(stopped) stops it and returns the summary. The files stay.
      - V(checked) looks for every acknowledged row on the server that the login options name, which may be another one
        than the probe wrote to. It changes nothing and does not fail on lost rows, see RV(status).
      - V(measured) tells whether it runs, and the summary so far.
      - V(absent) stops it, drops the schema C(boringdb_probe) and removes the files. Should the server be away, the
        module fails and the files stay.
    type: str
    choices: [started, stopped, checked, measured, absent]
    default: started
  engine:
    description: The database engine of the server.
    type: str
    default: postgresql
    choices: [postgresql]
  directory:
    description:
      - Where the files are kept, on the host the module runs on.
      - It is made readable for nobody but the account that runs the module.
    type: path
    required: true
  run:
    description:
      - The run's name.
      - When it is left out, the run kept in O(directory) is meant and continued; where there is none, a name is made.
    type: str
  clients:
    description: How many connections write side by side.
    type: int
    default: 4
  rate:
    description: Rows per second and client. V(0) is as many as possible.
    type: float
    default: 50
  until:
    description:
      - With O(state=checked), the moment that the server was restored to. ISO 8601 with a zone, or seconds since 1970.
      - Rows acknowledged before it must be there, rows committed after it must not.
      - It is compared on the database server's clock, as recovery does.
    type: str
  login_host:
    description: The server's address, or several with commas. Of several, the one that takes writes is written to.
    type: str
  login_port:
    description: The server's port, or the pooler's. With several hosts, one for all or as many, with commas.
    type: str
  login_unix_socket:
    description: The directory of a local socket, instead of O(login_host).
    type: path
    aliases: [socket_dir]
  login_user:
    description: The role.
    type: str
  login_password:
    description: Its password. It reaches the background program through a pipe and is never written down.
    type: str
  login_db:
    description: The database.
    type: str
  conninfo:
    description:
      - More of libpq's connection parameters, for example C(sslmode) or C(passfile). No secrets.
      - What neither this nor the login options give comes from the C(PG*) variables on the host, as usual.
    type: dict
    aliases: [connect_params]
  connect_timeout:
    description: Seconds to wait for one host when connecting.
    type: int
    default: 2
  timeout:
    description:
      - Seconds to wait for the answer to one row. Afterwards the connection is given up and the row counts as an error.
      - It is also C(tcp_user_timeout), and C(statement_timeout) where no pooler refuses it.
      - When a host vanishes without a word, the measured gap cannot be shorter than this.
    type: float
    default: 3
  wait:
    description: With O(state=started), seconds to wait for the first acknowledged row.
    type: float
    default: 10
requirements:
  - psycopg >= 3.1 on the host
seealso:
  - module: boringdb.ops.instance_info
notes:
  - The files grow by about 70 bytes a row, 14 kB a second with the default settings.
"""

EXAMPLES = r"""
- name: Write through the pooler while the primary changes
  boringdb.ops.probe:
    state: started
    directory: /var/tmp/boringdb-probe
    login_host: pooler.example.com
    login_port: "6432"
    login_user: probe
    login_password: "{{ probe_password }}"
    login_db: orders

- name: Stop writing and tell the gap
  boringdb.ops.probe:
    state: stopped
    directory: /var/tmp/boringdb-probe
  register: probe

- name: Look for every acknowledged row on the new primary
  boringdb.ops.probe:
    state: checked
    directory: /var/tmp/boringdb-probe
    login_host: pg2.example.com
    login_user: probe
    login_password: "{{ probe_password }}"
    login_db: orders
  register: found
  failed_when: found.status != 'passed'

- name: Prove a restore to a moment
  boringdb.ops.probe:
    state: checked
    directory: /var/tmp/boringdb-probe
    login_unix_socket: /run/drill
    login_db: orders
    until: "2026-01-31T13:05:00+00:00"
  register: restored
  failed_when: restored.status != 'passed'
"""

RETURN = r"""
run:
  description: The run's name.
  returned: always but with O(state=absent)
  type: str
  sample: 20260131T130500Z-1f0c2a9b
directory:
  description: Where the files are.
  returned: always but with O(state=checked)
  type: str
running:
  description: Whether the run is being written.
  returned: O(state=started), O(state=stopped), O(state=measured)
  type: bool
pid:
  description: The background program's process id.
  returned: O(state=started), O(state=stopped), O(state=measured)
  type: int
acknowledged:
  description: Rows that the server acknowledged.
  returned: O(state=stopped), O(state=measured), O(state=checked)
  type: int
  sample: 12000
first_ack:
  description: When the first row was acknowledged.
  returned: O(state=stopped), O(state=measured)
  type: str
last_ack:
  description: When the last row was acknowledged.
  returned: O(state=stopped), O(state=measured)
  type: str
clients:
  description: Connections that write.
  returned: O(state=stopped), O(state=measured)
  type: int
rate:
  description: Rows per second and client that were asked for.
  returned: O(state=stopped), O(state=measured)
  type: float
rows_per_second:
  description: Rows per second of all clients that were acknowledged.
  returned: O(state=stopped), O(state=measured)
  type: float
seconds:
  description: How long the probe ran.
  returned: O(state=stopped), O(state=measured)
  type: float
target:
  description: Where it wrote to.
  returned: O(state=stopped), O(state=measured)
  type: str
synchronous_commit:
  description: The server's setting for the probe's role. With V(off) an acknowledgement promises nothing.
  returned: O(state=stopped), O(state=measured)
  type: str
largest_gap_ms:
  description: The longest time without an acknowledged commit of any client, in milliseconds.
  returned: O(state=stopped), O(state=measured)
  type: float
  sample: 97.412
largest_gap_from:
  description: When that gap began, the last acknowledgement before it.
  returned: O(state=stopped), O(state=measured)
  type: str
largest_gap_to:
  description: When it ended.
  returned: O(state=stopped), O(state=measured)
  type: str
largest_gap_open:
  description: Whether no commit ended it, so that the gap is at least this long.
  returned: O(state=stopped), O(state=measured)
  type: bool
largest_client_gap_ms:
  description: The longest time that any one client was without an acknowledged commit.
  returned: O(state=stopped), O(state=measured)
  type: float
commit_ms:
  description: Round trips from sending a row to its acknowledgement, C(p50), C(p99) and C(max), in milliseconds.
  returned: O(state=stopped), O(state=measured)
  type: dict
errors:
  description: Failed attempts to write or to connect, of every kind.
  returned: O(state=stopped), O(state=measured)
  type: int
read_only_errors:
  description: Those among them that met a read-only server.
  returned: O(state=stopped), O(state=measured)
  type: int
errors_by_kind:
  description: Errors by C(connect), C(write), C(read_only), C(timeout), and C(warning) (committed, but not as asked).
  returned: O(state=stopped), O(state=measured)
  type: dict
errors_by_class:
  description: Errors by the class that psycopg gives them.
  returned: O(state=stopped), O(state=measured)
  type: dict
first_error:
  description: The first error with C(time), C(client), C(id), C(kind), C(sqlstate), C(class), C(message).
  returned: O(state=stopped), O(state=measured)
  type: dict
last_error:
  description: The last error.
  returned: O(state=stopped), O(state=measured)
  type: dict
sessions:
  description: How often the run was started.
  returned: O(state=stopped), O(state=measured)
  type: int
interrupted_sessions:
  description: How often its program was killed.
  returned: O(state=stopped), O(state=measured)
  type: int
probe_stalls:
  description: How often the probe itself was held up by 50 ms or more, which is no fault of the server.
  returned: O(state=stopped), O(state=measured)
  type: int
probe_stall_max_ms:
  description: By how much at most, in milliseconds.
  returned: O(state=stopped), O(state=measured)
  type: float
damaged_lines:
  description: Lines of the acknowledgement file that cannot be read, after a power cut of the probe's host.
  returned: O(state=stopped), O(state=measured), O(state=checked)
  type: int
status:
  description:
    - V(passed) when every row that must be there is there, and none that must not be.
    - V(failed) when a row is lost or lies beyond O(until).
    - V(skipped) when no row had to be there, so that nothing was proven.
  returned: O(state=checked)
  type: str
server:
  description: Who was asked.
  returned: O(state=checked)
  type: str
in_recovery:
  description: Whether that server is a standby.
  returned: O(state=checked)
  type: bool
table_present:
  description: Whether the probe's table is there at all.
  returned: O(state=checked)
  type: bool
until:
  description: The cut-off.
  returned: O(state=checked)
  type: str
expected:
  description: Acknowledged rows that must be there.
  returned: O(state=checked)
  type: int
present:
  description: Those among them that are.
  returned: O(state=checked)
  type: int
missing:
  description: Those among them that are lost.
  returned: O(state=checked)
  type: int
missing_ids:
  description: The first 20 of their ids.
  returned: O(state=checked)
  type: list
  elements: int
missing_first_ack:
  description: When the first lost row was acknowledged.
  returned: O(state=checked)
  type: str
missing_last_ack:
  description: When the last lost row was acknowledged.
  returned: O(state=checked)
  type: str
beyond:
  description: Rows that are there although they were written after O(until).
  returned: O(state=checked)
  type: int
beyond_ids:
  description: The first 20 of their ids.
  returned: O(state=checked)
  type: list
  elements: int
grey:
  description: Acknowledged rows whose commit may lie on either side of O(until), at most one round trip from it.
  returned: O(state=checked)
  type: int
grey_present:
  description: Those among them that are there.
  returned: O(state=checked)
  type: int
unacknowledged_present:
  description: Rows that are there although no answer was received, which is no loss.
  returned: O(state=checked)
  type: int
unacknowledged_ids:
  description: The first 20 of their ids.
  returned: O(state=checked)
  type: list
  elements: int
newest_present_at:
  description: The time of the newest row that is there, of those not beyond the cut-off.
  returned: O(state=checked)
  type: str
"""

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Cells, run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_cell import probe

CELLS: Cells = {"postgresql": probe}


def main() -> None:
    """Run the module."""
    spec = {
        "state": {
            "type": "str",
            "choices": ["started", "stopped", "checked", "measured", "absent"],
            "default": "started",
        },
        "engine": {"type": "str", "default": "postgresql", "choices": ["postgresql"]},
        "directory": {"type": "path", "required": True},
        "run": {"type": "str"},
        "clients": {"type": "int", "default": 4},
        "rate": {"type": "float", "default": 50},
        "until": {"type": "str"},
        "login_host": {"type": "str"},
        "login_port": {"type": "str"},
        "login_unix_socket": {"type": "path", "aliases": ["socket_dir"]},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "login_db": {"type": "str"},
        "conninfo": {"type": "dict", "aliases": ["connect_params"]},
        "connect_timeout": {"type": "int", "default": 2},
        "timeout": {"type": "float", "default": 3},
        "wait": {"type": "float", "default": 10},
    }
    run("probe", CELLS, spec, mutually_exclusive=[("login_host", "login_unix_socket")])


if __name__ == "__main__":
    main()
