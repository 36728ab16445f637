# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of incremental backups by their files alone: what builds on what, and how far WAL summaries reach."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import repository_native_chain as chains
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.backup_incremental import reaches


def make(place: Path, begins: str, base: str = "", timeline: int = 1, identity: int = 7) -> Path:
    """The files of a backup that tell what it builds on."""
    place.mkdir()
    label = f"START WAL LOCATION: {begins} (file 000000010000000000000002)\nCHECKPOINT LOCATION: {begins}\n"
    label += f"BACKUP METHOD: streamed\nBACKUP FROM: primary\nLABEL: x\nSTART TIMELINE: {timeline}\n"
    label += f"INCREMENTAL FROM LSN: {base}\nINCREMENTAL FROM TLI: 1\n" if base else ""
    (place / "backup_label").write_text(label)
    said = f'{{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": {identity},\n"Files": [],\n'
    digest = hashlib.sha256(said.encode()).hexdigest()
    (place / "backup_manifest").write_text(f'{said}"Manifest-Checksum": "{digest}"}}\n')
    return place


def test_a_chain_is_found_by_positions(tmp_path: Path) -> None:
    full = make(tmp_path / "z-full", "0/2000028")
    make(tmp_path / "other", "0/3000028")
    first = make(tmp_path / "m-first", "0/4000028", "0/2000028")
    last = make(tmp_path / "a-last", "0/6000028", "0/4000028", timeline=2)
    assert chains.chain(last) == [full, first, last]
    assert chains.chain(full) == [full]
    assert [chains.is_incremental(place) for place in (full, first, last)] == [False, True, True]


@pytest.mark.parametrize("name", ["f.partial", ".f"])
def test_what_is_no_backup_is_no_parent(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, "0/2000028")
    (tmp_path / "file").write_text("")
    with pytest.raises(OpsError, match="the backup from 0/2000028 on timeline 1, on which i builds, is not there"):
        chains.chain(make(tmp_path / "i", "0/4000028", "0/2000028"))


def test_another_clusters_backup_is_no_parent(tmp_path: Path) -> None:
    make(tmp_path / "f", "0/2000028", identity=8)
    with pytest.raises(OpsError, match="is not there"):
        chains.prior(make(tmp_path / "i", "0/4000028", "0/2000028"))


def test_labels_that_go_round_in_circles_end(tmp_path: Path) -> None:
    place = make(tmp_path / "a", "0/4000028", "0/6000028")
    make(tmp_path / "b", "0/6000028", "0/4000028")
    with pytest.raises(OpsError, match="is not there"):
        chains.chain(place)


def test_a_manifest_must_have_its_own_checksum(tmp_path: Path) -> None:
    place = make(tmp_path / "f", "0/2000028")
    assert chains.read_manifest(place)["System-Identifier"] == 7
    manifest = place / "backup_manifest"
    manifest.write_text(manifest.read_text().replace('"Files": []', '"Files": [1]'))
    with pytest.raises(OpsError, match="altered"):
        chains.read_manifest(place)


@pytest.mark.parametrize(("least", "blocks", "size"), [(5, [], 5), (5, [7, 2], 8), (0, [0], 1), (0, [], 0)])
def test_the_size_of_a_file_when_restored(tmp_path: Path, least: int, blocks: list[int], size: int) -> None:
    path = tmp_path / "INCREMENTAL.1"
    path.write_bytes(struct.pack(f"=III{len(blocks)}I", 0xD3AE1F0D, len(blocks), least, *blocks) + b"x" * 100)
    files = [{"Path": "INCREMENTAL.1", "Size": path.stat().st_size}, {"Path": "whole", "Size": 3}]
    assert chains.restored_bytes(tmp_path, {"Files": files}, 8192) == size * 8192 + 3
    path.write_bytes(b"\0" * 12)
    with pytest.raises(OpsError, match="altered"):
        chains.restored_bytes(tmp_path, {"Files": files}, 8192)


@pytest.mark.parametrize(
    ("summaries", "upto", "reached"),
    [
        ([("0/200", "0/300"), ("0/0", "0/200"), ("0/300", "0/400")], "0/400", True),
        ([("0/0", "0/200"), ("0/210", "0/400")], "0/400", False),
        ([("0/150", "0/400")], "0/400", False),
        ([], "0/100", True),  # nothing since then was summarised yet
        ([], "0/400", False),
    ],
)
def test_summaries_reach_back_without_a_gap(summaries: list[tuple[str, str]], upto: str, reached: bool) -> None:
    assert reaches(summaries, "0/100", upto) is reached


def test_an_equals_sign_in_a_path_is_told_from_the_one_between() -> None:
    assert chains.tablespace_mapping("/a=b", "/c") == "--tablespace-mapping=/a\\=b=/c"
