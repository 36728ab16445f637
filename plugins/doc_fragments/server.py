# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that works on one database server of the host it runs on."""

from __future__ import annotations


class ModuleDocFragment:
    """The server's options."""

    DOCUMENTATION = r"""
options:
  engine:
    description: The database engine of the server.
    type: str
    default: postgresql
    choices: [postgresql]
  data_dir:
    description: The server's data directory.
    type: path
    required: true
  config_dir:
    description:
      - Where C(postgresql.conf) and C(pg_hba.conf) lie.
      - When it is left out, they lie in O(data_dir). Debian keeps them below C(/etc/postgresql).
    type: path
  bin_dir:
    description:
      - Where the server programs lie (C(initdb), C(pg_ctl), ...).
      - When it is left out, the packages' places are searched for the version of O(data_dir), then for the newest.
    type: path
  port:
    description: The server's port, which also names its local socket.
    type: int
    default: 5432
  socket_dir:
    description: The directory of the server's local socket, through which the module connects.
    type: path
    default: /var/run/postgresql
  service:
    description:
      - The systemd unit that runs the server, for example V(postgresql@15-main).
      - With V(process) the server is a plain process, started and stopped by C(pg_ctl).
    type: str
    default: process
  login_user:
    description: The database account the module connects as, through the local socket.
    type: str
    default: postgres
  login_db:
    description: The database the module connects to.
    type: str
    default: postgres
requirements:
  - psycopg >= 3.1 on the host, for what is asked of a running server
"""
