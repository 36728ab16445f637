# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab writes and runs: rule sets, configurations, command lines."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import access, base, cli, doctor, host, network, plan, proxy
from tests.lab.run import LabError, last_line, run, wait_until
from tests.lab.state import Cut, Host

PG1 = Host("pg1", "10.213.77.11", "bookworm", "bookworm-0")
PG2 = Host("pg2", "10.213.77.12", "bookworm", "bookworm-0")
WHERE = plan.Paths(Path("/srv/lab"))


def test_no_cut_leaves_no_table() -> None:
    assert network.ruleset([]) == "table bridge boringdb_lab\ndelete table bridge boringdb_lab\n"


def test_a_whole_cut_drops_both_directions_before_anything_else() -> None:
    rules = network.ruleset([Cut("pg1")])
    assert 'iifname "vb-pg1" drop' in rules.partition("chain prerouting")[2].partition("}")[0]
    assert 'oifname "vb-pg1" drop' in rules.partition("chain postrouting")[2].partition("}")[0]
    assert rules.count("drop") == 2


def test_a_pair_is_cut_both_ways_and_nothing_else() -> None:
    rules = network.ruleset([Cut("pg1", "pg2")]).partition("chain forward")[2].partition("}")[0]
    assert 'iifname "vb-pg1" oifname "vb-pg2" drop' in rules
    assert 'iifname "vb-pg2" oifname "vb-pg1" drop' in rules
    assert network.ruleset([Cut("pg1", "pg2")]).count("drop") == 2


def test_a_cut_from_the_controller_leaves_the_other_hosts_alone() -> None:
    rules = network.ruleset([Cut("pg1", "controller")])
    assert "forward" in rules
    assert "drop" not in rules.partition("chain forward")[2].partition("}")[0]
    assert rules.count("drop") == 2


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_nft_accepts_every_kind_of_cut() -> None:
    script = network.ruleset([Cut("pg1"), Cut("pg1", "pg2"), Cut("backup", "controller")])
    done = subprocess.run(["nft", "-c", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("nft needs root")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kilobytes", [2000, 0])
def test_nft_accepts_a_slow_link_and_its_end(kilobytes: int) -> None:
    script = network.rate_rules("pg-1", kilobytes)
    assert script.count('"vb-pg-1"') == (2 if kilobytes else 0)
    done = subprocess.run(["nft", "-c", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("nft needs root")
    assert done.returncode == 0, done.stderr
    with pytest.raises(LabError):
        network.rate_rules("pg1", -1)


def test_delay_commands() -> None:
    device = ["dev", "vb-pg1", "root"]
    assert network.delay_argv("pg1", 20) == ["tc", "qdisc", "replace", *device, "netem", "delay", "20ms"]
    assert network.delay_argv("pg1", 0) == ["tc", "qdisc", "delete", *device]
    with pytest.raises(LabError):
        network.delay_argv("pg1", -1)


def test_a_route_into_the_subnet_by_another_interface_is_found() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.213.77.0/24", "dev": "boringdb0"},
        {"dst": "10.213.77.0/24", "dev": "docker9"},
        {"dst": "10.213.78.0/24", "dev": "eth1"},
    ]
    assert network.foreign_routes(json.dumps(routes)) == ["docker9"]


def test_ssh_config_knows_a_host_by_name_and_address() -> None:
    text = access.ssh_config(WHERE, [PG1])
    assert "Host pg1 10.213.77.11\n  HostName 10.213.77.11\n" in text
    assert "IdentityFile /srv/lab/run/id_ed25519" in text
    assert "StrictHostKeyChecking yes" in text


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
def test_ssh_accepts_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(access.ssh_config(WHERE, [PG1]))
    effective = run(["ssh", "-G", "-F", str(config), "pg1"]).splitlines()
    assert "hostname 10.213.77.11" in effective
    assert "user root" in effective
    assert "userknownhostsfile /srv/lab/run/known_hosts" in effective


def test_known_hosts_has_one_line_a_host() -> None:
    text = access.known_hosts([PG1, PG2], {"pg1": "ssh-ed25519 AAAA1 comment\n", "pg2": "ssh-ed25519 AAAA2\n"})
    assert text == "pg1,10.213.77.11 ssh-ed25519 AAAA1\npg2,10.213.77.12 ssh-ed25519 AAAA2\n"


def test_names_are_added_replaced_and_leave_other_lines_alone() -> None:
    first = access.with_names("127.0.0.1 localhost", [PG1])
    assert first.startswith("127.0.0.1 localhost\n" + access.BEGIN)
    assert "10.213.77.11 pg1\n" in first
    second = access.with_names(first + "192.0.2.9 mine\n", [PG1, PG2])
    assert "10.213.77.12 pg2\n" in second
    assert second.endswith(access.END + "\n192.0.2.9 mine\n")
    assert access.with_names(second, [PG1, PG2]) == second
    assert "pg2" not in access.with_names(second, [PG1])


def test_the_proxy_lets_hosts_reach_the_mirror_only() -> None:
    lines = proxy.config(WHERE, None).splitlines()
    assert "http_port 10.213.77.1:3128" in lines
    assert "http_access allow lab mirror plain" in lines
    assert lines.index("http_access allow lab mirror plain") < lines.index("http_access deny all")
    assert [line for line in lines if line.startswith("http_access")][-1] == "http_access deny all"
    assert not any(line.startswith(("cache_peer", "never_direct")) for line in lines)


def test_the_proxy_goes_through_the_machines_own() -> None:
    text = proxy.config(WHERE, "http://me:secret@10.0.0.1:8000/")
    assert "cache_peer 10.0.0.1 parent 8000 0 no-query default login=me:secret\nnever_direct allow all\n" in text


@pytest.mark.skipif(shutil.which("squid") is None, reason="squid is not installed")
def test_squid_accepts_the_configuration(tmp_path: Path) -> None:
    conf = tmp_path / "squid.conf"
    conf.write_text(proxy.config(plan.Paths(tmp_path), "http://10.0.0.1:8000/"))
    (tmp_path / "run/squid").mkdir(parents=True)
    done = subprocess.run(["squid", "-k", "parse", "-f", str(conf)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


def test_the_recipe_names_the_base_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    before = base.name("bookworm")
    assert before.startswith("bookworm-")
    assert before == base.name("bookworm")
    assert before.split("-")[1] != base.name("trixie").split("-")[1]
    monkeypatch.setattr(base, "PACKAGES", (*base.PACKAGES, "less"))
    assert base.name("bookworm") != before


def test_debootstrap_keeps_its_mounts_to_itself() -> None:
    argv = base.debootstrap_argv("trixie", Path("/srv/new"))
    assert argv[:3] == ["unshare", "--mount", "debootstrap"]
    assert argv[-3:] == ["trixie", "/srv/new", "http://deb.debian.org/debian"]


def test_a_host_has_its_own_identity_and_address() -> None:
    one = host.files(PG1, "ssh-ed25519 AAAA\n", "")
    two = host.files(PG2, "ssh-ed25519 AAAA\n", "")
    assert one["etc/machine-id"][1] != two["etc/machine-id"][1]
    assert len(one["etc/machine-id"][1]) == 33
    assert "Address=10.213.77.11/24\n" in one["etc/systemd/network/10-lab.network"][1]
    assert one["root/.ssh/authorized_keys"] == (0o600, "ssh-ed25519 AAAA\n")
    assert not any("Gateway" in text for _mode, text in one.values())


def test_apt_goes_through_the_proxy_and_takes_over_the_machines_freshness_rules() -> None:
    dump = 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Valid-Until-Foo "x";\nAcquire::http::Proxy "http://other";\n'
    conf = host.apt_conf(dump)
    assert 'Acquire::http::Proxy "http://10.213.77.1:3128";' in conf
    assert 'Acquire::Check-Valid-Until "false";' in conf
    assert "other" not in conf
    assert "Foo" not in conf
    assert "Check-" not in host.apt_conf("")


def test_nspawn_boots_the_hosts_own_tree_on_the_bridge() -> None:
    argv = host.nspawn_argv(WHERE, PG1)
    assert "--directory=/srv/lab/run/hosts/pg1/root" in argv
    assert "--network-bridge=boringdb0" in argv
    assert argv[-1] == "--boot"


def test_missing_packages_are_named_in_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        LabError, match=r"apt-get install \S+ debootstrap iproute2 iptables nftables openssh-client squid systemd-"
    ):
        doctor.require_packages()


def test_a_failing_program_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"^ls .*nothing-here") as caught:
        run(["ls", str(tmp_path / "nothing-here")])
    assert "\n" not in str(caught.value)
    with pytest.raises(LabError, match="no-such-program is not installed"):
        run(["no-such-program"])
    with pytest.raises(LabError, match="did not end within"):
        run(["sleep", "30"], timeout=0.1)


def test_waiting_ends_with_the_condition_or_says_what_it_waited_for() -> None:
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), 5, "never", every=0.001)
    with pytest.raises(LabError, match="the moon: not after 0 s"):
        wait_until(lambda: False, 0, "the moon", every=0.001)


def test_last_line() -> None:
    assert last_line("a\n b \n\n") == "b"
    assert last_line("") == ""


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["up"], {"verb": "up", "hosts": [], "suite": None}),
        (["up", "--suite", "trixie", "pg1"], {"hosts": ["pg1"], "suite": "trixie"}),
        (["cut", "pg1", "--from", "pg2"], {"host": "pg1", "other": "pg2"}),
        (["heal", "pg1"], {"host": "pg1", "other": None}),
        (["ssh", "pg1", "ls", "-l", "--", "x"], {"host": "pg1", "command": ["ls", "-l", "--", "x"]}),
        (["delay", "pg1", "20"], {"host": "pg1", "milliseconds": 20}),
    ],
)
def test_command_lines(argv: list[str], wanted: dict[str, object]) -> None:
    assert wanted.items() <= vars(cli.parser().parse_args(argv)).items()


@pytest.mark.parametrize("argv", [[], ["up", "--suite", "potato"], ["kill"], ["cut"], ["delay", "pg1", "soon"]])
def test_wrong_usage_exits_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parser().parse_args(argv)
    assert caught.value.code == 2


def test_an_error_is_one_line_and_exit_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BORINGDB_LAB_CACHE", "not/absolute")
    assert cli.main(["status"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lab: BORINGDB_LAB_CACHE=not/absolute")
    assert said.err.count("\n") == 1
