# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a place is encrypted, by what a kernel would say of disks that this machine does not have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.device import protection


class Kernel:
    """A /proc and a /sys of our own."""

    def __init__(self, home: Path) -> None:
        self.proc, self.sysfs, self.place = home / "proc", home / "sys", home / "place"
        self.place.mkdir()
        (self.proc / "self").mkdir(parents=True)
        number = self.place.stat().st_dev
        self.own = f"{os.major(number)}:{os.minor(number)}"
        (self.sysfs / "dev/block").mkdir(parents=True)

    def mounted(self, kind: str, source: str, point: str = "/") -> None:
        """One more file system."""
        with (self.proc / "self/mountinfo").open("a") as lines:
            lines.write(f"22 1 {self.own} / {point} rw,relatime shared:1 - {kind} {source} rw\n")

    def device(self, name: str, uuid: str = "", on: tuple[str, ...] = (), partition_of: str = "") -> None:
        """A block device."""
        device = self.sysfs / "devices" / partition_of / name
        (device / "slaves").mkdir(parents=True)
        if uuid:
            (device / "dm").mkdir()
            (device / "dm/uuid").write_text(f"{uuid}\n")
        if partition_of:
            (device / "partition").write_text("1\n")
        for one in on:
            (device / "slaves" / one).symlink_to(next((self.sysfs / "devices").rglob(one)))

    def holds(self, name: str) -> None:
        """This device has the place."""
        (self.sysfs / "dev/block" / self.own).symlink_to(next((self.sysfs / "devices").rglob(name)))

    def said(self) -> tuple[bool, str]:
        """What is told of the place, and of one below it that is not there yet."""
        told = protection(self.place, self.proc, self.sysfs)
        assert protection(self.place / "not/yet", self.proc, self.sysfs) == told
        return told


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """With one disk."""
    made = Kernel(tmp_path)
    made.device("vda")
    made.device("vda1", partition_of="vda")
    return made


def test_a_plain_partition(kernel: Kernel) -> None:
    kernel.mounted("ext4", "/dev/vda1")
    kernel.holds("vda1")
    assert kernel.said() == (False, "ext4 on /dev/vda1, not encrypted")


def test_luks(kernel: Kernel) -> None:
    kernel.device("dm-0", "CRYPT-LUKS2-1f0c-data", on=("vda1",))
    kernel.mounted("xfs", "/dev/mapper/data")
    kernel.holds("dm-0")
    assert kernel.said() == (True, "xfs on /dev/mapper/data, dm-crypt")


def test_a_volume_group_on_luks(kernel: Kernel) -> None:
    kernel.device("dm-0", "CRYPT-LUKS2-1f0c-pv", on=("vda1",))
    kernel.device("dm-1", "LVM-abc", on=("dm-0",))
    kernel.mounted("ext4", "/dev/mapper/vg-data")
    kernel.holds("dm-1")
    assert kernel.said()[0]


def test_a_volume_group_of_which_one_disk_is_plain(kernel: Kernel) -> None:
    kernel.device("dm-0", "CRYPT-LUKS2-1f0c-pv", on=("vda1",))
    kernel.device("vdb")
    kernel.device("dm-1", "LVM-abc", on=("dm-0", "vdb"))
    kernel.mounted("ext4", "/dev/mapper/vg-data")
    kernel.holds("dm-1")
    assert not kernel.said()[0]


def test_in_memory_and_by_the_file_system_itself(kernel: Kernel) -> None:
    kernel.mounted("ext4", "/dev/vda1")
    kernel.mounted("tmpfs", "tmpfs", str(kernel.place.parent))
    assert kernel.said() == (True, "tmpfs, in memory")
    kernel.mounted("fuse.gocryptfs", "/srv/cipher", str(kernel.place))
    assert kernel.said() == (True, "fuse.gocryptfs")


def test_the_later_of_two_at_one_point_counts_and_names_may_hold_spaces(kernel: Kernel) -> None:
    kernel.place = kernel.place / "a b"
    kernel.place.mkdir()
    kernel.mounted("tmpfs", "tmpfs", str(kernel.place).replace(" ", "\\040"))
    assert kernel.said()[0]
    kernel.mounted("nfs4", "filer:/drill", str(kernel.place).replace(" ", "\\040"))
    assert kernel.said() == (False, "nfs4 on filer:/drill, of which the kernel tells nothing")
