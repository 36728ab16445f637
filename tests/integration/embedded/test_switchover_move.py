# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of `switchover` one by one: the move, what takes it back, a worker that is killed between its phases."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

import pytest
from embedded_servers import Server, await_
from switchover_duo import Duo, account, frozen, startup_of
from verify_ground import module


@pytest.fixture
def duo(make_server: Callable[..., Server]) -> Duo:
    """A primary, one, and its replica, two."""
    return Duo(make_server)


def test_the_move_and_the_way_back_as_a_replica(duo: Duo) -> None:
    planned = duo.planned()
    assert (planned["situation"], planned["old"], planned["unfinished"]) == ("begin", "one", True)
    assert {check["status"] for check in planned["checks"]} == {"passed"}
    assert duo.moved(check=True)["changed"] is True
    assert duo.writes("one") and account(duo.one) == ""
    done = duo.moved()
    assert (done["sent"], done["rolled_back"], done["timeline"]) == (True, False, 2)
    assert list(done["phases"]) == ["ready", "stop", "replay", "promote", "write"]
    assert done["stall_ms"] > 0
    assert duo.writes("two") and duo.closed()
    # It may promote, for minutes, and nothing else.
    assert json.loads(account(duo.two)) == {
        "rolsuper": False, "rolreplication": False, "rolcreaterole": False, "rolcreatedb": False, "ends": True,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="permission denied"):
        duo.two.psql("SET ROLE boringdb_switchover", "SELECT * FROM t")
    planned = duo.planned()
    assert (planned["situation"], planned["old"], planned["unfinished"]) == ("finish", "one", True)
    duo.follow()
    assert module(duo.two, "switchover", state="finished", check=True)["changed"] is True
    assert module(duo.two, "switchover", state="finished")["changed"] is True
    assert module(duo.two, "switchover", state="finished")["changed"] is False
    assert account(duo.two) == ""
    assert duo.planned()["unfinished"] is False
    rows = duo.two.psql("SELECT count(*) FROM t")
    await_(lambda: duo.one.psql("SELECT count(*) FROM t") == rows, what="the rows on the old primary")


def test_what_would_hold_up_the_promotion_is_set_aside_until_the_end(duo: Duo) -> None:
    duo.two.psql("ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()")
    await_(lambda: duo.two.psql("SHOW synchronous_standby_names") == "gone")
    assert module(duo.two, "switchover", state="staged", check=True)["changed"] is True
    assert duo.two.psql("SHOW wal_retrieve_retry_interval") == "5s"
    assert module(duo.two, "switchover", state="staged")["changed"] is True
    assert module(duo.two, "switchover", state="staged")["changed"] is False
    assert duo.two.psql("SHOW wal_retrieve_retry_interval") == "13ms"
    assert duo.two.psql("SHOW synchronous_standby_names") == ""
    # A primary is only told to write; and of what was taken back, nothing is left.
    assert module(duo.one, "switchover", state="staged")["changed"] is False
    assert module(duo.two, "switchover", state="finished")["changed"] is True
    await_(lambda: duo.two.psql("SHOW wal_retrieve_retry_interval") == "5s")
    assert module(duo.two, "switchover", state="finished")["changed"] is False
    # Somebody's own value stays.
    duo.two.psql("ALTER SYSTEM SET wal_retrieve_retry_interval = '1s'", "SELECT pg_reload_conf()")
    assert module(duo.two, "switchover", state="staged")["changed"] is False
    assert module(duo.two, "switchover", state="finished")["changed"] is False


def test_nobody_waits_for_the_archiver(duo: Duo) -> None:
    """Only its own way back does."""
    busy = duo.one.socket_dir / "archiving"
    duo.configure("one", archive_mode=True, archive_command=f"while test -e {busy}; do sleep 0.1; done")
    duo.configure("two", archive_mode=True, archive_command="true")
    duo.streams()
    busy.touch()
    duo.one.psql("INSERT INTO t VALUES (1)")
    duo.moved()
    assert duo.one.pid, "it waited for the archiver, or nothing was archived"
    assert duo.writes("two")
    busy.unlink()
    module(duo.one, "switchover", state="ended")
    assert duo.one.pid is None
    duo.follow()


def test_a_worker_killed_behind_the_fence_is_rolled_forward(duo: Duo) -> None:
    """Nobody takes writes then, whoever starts the old primary."""
    with duo.moving() as worker:
        worker.hold.reached()
        worker.kill()
    await_(lambda: not duo.one.pid, what="the end of the old primary")
    assert not duo.writes("two")
    planned = duo.planned()
    assert (planned["situation"], planned["old"]) == ("forward", "one")
    # Somebody who starts it now starts a replica: there are no two primaries.
    duo.one.start()
    assert not duo.writes("one")
    assert duo.planned()["situation"] == "forward"
    assert module(duo.two, "switchover", state="promoted", check=True)["changed"] is True
    assert not duo.writes("two")
    assert module(duo.two, "switchover", state="promoted")["changed"] is True
    assert module(duo.two, "switchover", state="promoted")["changed"] is False
    assert duo.planned()["situation"] == "finish"
    duo.follow()


def test_a_worker_killed_when_it_had_sent_the_promotion_never_goes_back(duo: Duo) -> None:
    """The candidate was told, and has not done it yet: nobody can know that."""
    with duo.moving() as worker:
        worker.hold.reached()
        await_(lambda: duo.two.psql("SELECT pg_last_wal_replay_lsn()") > "0/", what="the candidate")
        with frozen(startup_of(duo.two)):
            worker.hold.release()
            await_(lambda: (duo.two.data_dir / "promote.signal").exists() or duo.two.psql(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'boringdb_switchover' AND query LIKE '%replay%'"
            ) == "1", what="the promotion")  # fmt: skip
            worker.kill()
            planned = duo.planned()
            assert planned["situation"] == "forward"
    assert module(duo.two, "switchover", state="promoted")["changed"] in (True, False)
    assert duo.planned()["situation"] == "finish"
    assert duo.writes("two")
    duo.follow()


def test_a_candidate_that_dies_before_the_promotion_is_given_up(duo: Duo) -> None:
    with duo.moving(replay_timeout=1) as worker:
        worker.hold.reached()
        duo.two.kill()
        told = worker.result(fails=True)
    assert (told["sent"], told["rolled_back"], told["phase"]) == (False, True, "replay")
    assert "it was taken back: the old primary takes writes again" in told["msg"]
    assert duo.writes("one") and account(duo.one) == ""
    assert not (duo.one.data_dir / "standby.signal").exists()
    duo.two.start()
    duo.streams()
    assert duo.planned()["situation"] == "begin"


def test_worker_and_candidate_killed_go_back(duo: Duo) -> None:
    """Behind the fence the candidate is gone, too: it was told nothing, and the old primary opens again."""
    with duo.moving() as worker:
        worker.hold.reached()
        duo.two.kill()
        worker.kill()
    await_(lambda: not duo.one.pid, what="the end of the old primary")
    planned = duo.planned()
    assert (planned["situation"], planned["old"]) == ("back", "one")
    assert module(duo.one, "switchover", state="reopened", check=True)["changed"] is True
    assert duo.one.pid is None or not duo.writes("one")
    module(duo.one, "switchover", state="reopened")
    assert duo.writes("one") and account(duo.one) == ""


def test_a_candidate_that_can_t_write_when_it_is_promoted_gives_way(duo: Duo) -> None:
    """As where its disk is full: it was told, and ends before it takes writes."""
    wal = duo.two.data_dir / "pg_wal"
    with duo.moving(timeout=3) as worker:
        worker.hold.reached()
        wal.chmod(0o500)
        told = worker.result(fails=True)
    assert (told["sent"], told["rolled_back"], told["phase"]) == (True, False, "promote")
    assert "was told to promote and takes no writes after 3 s" in told["msg"]
    assert "the old primary stays closed; run the same command again, it goes on from here" in told["msg"]
    assert duo.closed() and not duo.two.pid
    assert duo.planned()["situation"] == "back"
    module(duo.one, "switchover", state="reopened")
    assert duo.writes("one")
    wal.chmod(0o700)
    duo.two.start()
    duo.streams()
    duo.moved()
    assert duo.writes("two") and duo.closed()


def test_a_candidate_that_ended_in_its_promotion_is_no_primary(duo: Duo) -> None:
    """Its signal is gone while its control file has it recover: started so, it would be one on the old timeline."""
    with duo.moving() as worker:
        worker.hold.reached()
        worker.kill()
    await_(lambda: not duo.one.pid, what="the end of the old primary")
    duo.two.kill()
    (duo.two.data_dir / "standby.signal").unlink()
    told = duo.planned(fails=True)["msg"]
    assert "two ended in the middle of its promotion, and has no standby.signal any more" in told
    # What it says is to be done.
    duo.mark(duo.two)
    duo.two.start()
    assert duo.planned()["situation"] == "forward"
    module(duo.two, "switchover", state="promoted")
    assert duo.writes("two")
    duo.follow()


def test_a_way_back_that_was_killed_is_gone_again(duo: Duo) -> None:
    """The signal was taken away, and the server not yet started."""
    with duo.moving() as worker:
        worker.hold.reached()
        worker.kill()
    await_(lambda: not duo.one.pid, what="the end of the old primary")
    (duo.one.data_dir / "standby.signal").unlink()
    assert duo.planned()["situation"] == "back"
    module(duo.one, "switchover", state="reopened")
    assert duo.writes("one")
    # One that was killed before the shutdown leaves the signal beside a primary that runs.
    duo.mark()
    duo.streams()
    assert duo.planned()["situation"] == "begin"
    duo.moved()
    assert duo.writes("two") and duo.closed()


def test_a_worker_that_is_told_to_end_takes_it_back(duo: Duo) -> None:
    with duo.moving() as worker:
        worker.hold.reached()
        worker.popen.send_signal(signal.SIGTERM)
        told = worker.result(fails=True)
    assert (told["sent"], told["rolled_back"]) == (False, True), told
    assert "SIGTERM" in told["msg"]
    assert duo.writes("one")


def test_a_second_worker_is_refused(duo: Duo) -> None:
    with duo.moving() as worker:
        worker.hold.reached()
        assert "is in use by switchover (pid" in duo.moved(fails=True)["msg"]
        worker.result()
    assert duo.writes("two")


def test_a_candidate_that_does_not_let_it_in_is_told_before_anything_is_touched(
    make_server: Callable[..., Server],
) -> None:
    duo = Duo(make_server, hba=())
    told = duo.moved(fails=True, timeout=1)
    assert told["msg"].startswith("nothing was touched: the candidate 127.0.0.1:")
    assert "its pg_hba.conf must admit boringdb_switchover" in told["msg"]
    assert duo.writes("one") and account(duo.one) == ""


def test_a_candidate_that_somebody_else_promotes_is_left_to_a_person(duo: Duo) -> None:
    with duo.moving() as worker:
        worker.hold.reached()
        duo.two.psql("SELECT pg_promote()")
        told = worker.result(fails=True)
    assert (told["sent"], told["rolled_back"]) == (False, False)
    assert "somebody has promoted the candidate" in told["msg"]
    assert duo.closed()


def test_a_primary_killed_right_after_its_promotion_is_known_by_its_new_timeline(duo: Duo) -> None:
    """Until its checkpoint is done, its control data have the old one as that of the latest checkpoint."""
    duo.one.psql("CREATE TABLE much AS SELECT repeat('x', 500) FROM generate_series(1, 40000)")
    duo.streams()
    at = duo.one.psql("SELECT pg_current_wal_lsn() - '0/0'")
    await_(lambda: duo.two.psql(f"SELECT pg_last_wal_replay_lsn() - '0/0' >= {at}") == "t", what="the replay")
    duo.one.kill()
    duo.two.psql("SELECT pg_promote()")
    position = int(duo.two.psql("SELECT pg_current_wal_lsn() - '0/0'"))
    for number in range(3):
        duo.two.psql(f"INSERT INTO t VALUES ({number})")
    duo.two.kill()
    told = duo.two.run("pg_controldata", "-D", duo.two.data_dir)
    assert re.search("Latest checkpoint's TimeLineID: +1\\n", told), "the checkpoint was done: the test proves nothing"
    assert module(duo.two, "failover")["member"]["timeline"] == 2
    left = module(duo.two, "failover", state="left", position=position)["left"]
    assert (left["timeline"], left["transactions"]) == (2, 3), left
