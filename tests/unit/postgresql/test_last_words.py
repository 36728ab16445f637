# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why recovery ended, as the server's log tells it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server

#: PostgreSQL asks twice for the segment that pgBackRest can't give it, with a log line between.
LOG = """\
2026-11-27 10:26:10 UTC LOG:  restored log file "000000010000000000000005" from archive
ERROR: [042]: unable to get 000000010000000000000006:
       repo1: 15-1/0000000100000000/000000010000000000000006-37315309.lz4 [CryptoError] unable to flush
2026-11-27 10:26:11 UTC LOG:  redo done at 0/5FFFFD8
ERROR: [042]: unable to get 000000010000000000000006:
       repo1: 15-1/0000000100000000/000000010000000000000006-37315309.lz4 [CryptoError] unable to flush
2026-11-27 10:26:12 UTC LOG:  database system is ready to accept connections
"""


def test_what_follows_a_colon_is_told_and_nothing_twice(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path / "data", bin_dir="", port=0, socket_dir="")
    server.log_file.write_text(LOG)
    assert server.last_words() == (
        "ERROR: [042]: unable to get 000000010000000000000006: | "
        "repo1: 15-1/0000000100000000/000000010000000000000006-37315309.lz4 [CryptoError] unable to flush"
    )
