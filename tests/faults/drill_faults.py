"""Faults of the drill itself: where it goes to, what is asked of it, and the host it runs on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from tests.faults.fault import fault
from tests.faults.ground import Ground
from tests.faults.supplies import Variables


@fault("a target time before the backup", "target_in_window", says=r"outside the window .*not consistent yet")
def target_too_early(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"restore_drill_target_type": "time", "restore_drill_target": "2020-01-01 00:00:00+00"}


@fault(
    "a target time after the last archived commit",
    "target_in_window",
    says=r"outside the window .*before the last archived",
)
def target_too_late(ground: Ground) -> Iterator[Variables]:
    del ground
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    yield {"restore_drill_target_type": "time", "restore_drill_target": tomorrow.isoformat()}


@fault("a target LSN that is none", verdict="error", says=r"refused: target 'three' is no LSN")
def target_lsn_bad(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"restore_drill_target_type": "lsn", "restore_drill_target": "three"}


@fault(
    "a target LSN behind the archive's end",
    "target_in_window",
    says=r"FF/0 is outside the window .*does not reach that far",
)
def target_lsn_too_late(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"restore_drill_target_type": "lsn", "restore_drill_target": "FF/0"}


@fault("a target name that was never made", "target_in_window", says=r"no restore point of that name")
def target_name_unknown(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"restore_drill_target_type": "name", "restore_drill_target": "before_the_flood"}


@fault("a target timeline that the backup is not on", "target_in_window", says=r"timeline 7 does not descend")
def target_timeline_unknown(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"restore_drill_target_timeline": "7"}


@fault("a restore slower than the RTO", "rto", says=r"the restore took \S+ s, the objective is 0.01 s")
def rto_missed(ground: Ground) -> Iterator[Variables]:
    del ground
    yield {"db_rto_seconds": 0.01}


@fault("a required check that can't run here", "structure", verdict="error", says=r"amcheck is not there")
def required_check_cannot_run(ground: Ground) -> Iterator[Variables]:
    with ground.drill_host.without_amcheck():
        yield {"restore_drill_required": ["structure"]}


@fault("the drill host's port taken", "port_free", says=r"port \d+ is taken on this host")
def port_taken(ground: Ground) -> Iterator[Variables]:
    with ground.drill_host.port_taken() as own:
        yield own


@fault("too little room on the drill host", "disk_space", says=r"has \d+ MB free, the restore needs \d+ MB")
def disk_too_small(ground: Ground) -> Iterator[Variables]:
    with ground.drill_host.small_disk("size=24m") as own:
        yield own


@fault("the disk fills up during the restore", "disk_space", says=r"No space left on device")
def disk_full(ground: Ground) -> Iterator[Variables]:
    # Room for the bytes, but not for as many files: nothing can know that beforehand.
    with ground.drill_host.small_disk("size=2g,nr_inodes=200") as own:
        yield own


@fault(
    "the copy can't be removed: a file in it belongs to somebody else",
    "teardown",
    says=r"Permission denied",
    leaves=True,
)
def teardown_hindered(ground: Ground) -> Iterator[Variables]:
    with ground.drill_host.hindered() as own:
        yield own


@fault(
    "the drill host does not answer", "teardown", verdict="error",
    says=r"Connection refused|No route to host|timed out",
)  # fmt: skip
def drill_host_unreachable(ground: Ground) -> Iterator[Variables]:
    with ground.drill_host.unreachable() as own:
        yield own
