# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that works on a repository of backups."""

from __future__ import annotations


class ModuleDocFragment:
    """The repository's options."""

    DOCUMENTATION = r"""
options:
  tool:
    description:
      - What the backups are taken with.
      - V(native) is C(pg_basebackup) and a directory of archived WAL, also when somebody set it up by hand.
      - V(pgbackrest) is pgBackRest.
    type: str
    required: true
    choices: [native, pgbackrest]
  backup_path:
    description: With O(tool=native), the directory that holds one directory per backup, or is itself a backup.
    type: path
  wal_path:
    description: With O(tool=native), the directory of archived WAL.
    type: path
  stanza:
    description: With O(tool=pgbackrest), the stanza.
    type: str
  pgbackrest_config:
    description: With O(tool=pgbackrest), its configuration file on this host.
    type: path
    default: /etc/pgbackrest.conf
  repository:
    description:
      - With O(tool=pgbackrest), the number of the repository, the N of its C(repoN) options. No other one is asked
        then.
      - When it is left out, the first repository that answers is used.
    type: int
"""
