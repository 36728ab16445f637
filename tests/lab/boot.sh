#!/bin/sh
# usage: unshare --mount boot.sh GROUP BASE HOST-DIRECTORY PROGRAM ARG…
# Gives one host its own view of the machine and runs PROGRAM (systemd-nspawn) in it, again after each reboot.
# All mounts live in this private namespace: they vanish with the last process, however it ends.
set -eu
group=$1 base=$2 dir=$3 here=$(dirname "$0")
shift 3
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/disk,workdir=$dir/work" "$dir/root"
# Hybrid machines mount the old hierarchies, which newer systemd refuses: show it cgroup2 alone.
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
boot=/sys/fs/cgroup/$group/boot
while :; do
  # nspawn puts the host into "payload" below its own group: without a group each, all hosts would share one.
  [ ! -d "$boot" ] || find "$boot" -depth -type d -exec rmdir {} +
  mkdir "$boot"
  status=0
  sh "$here/join.sh" "$boot" "$@" || status=$?
  # 133: the host asked for a reboot
  [ "$status" -eq 133 ] || exit "$status"
done
