#!/bin/sh
# usage: join.sh CGROUP-DIRECTORY PROGRAM ARG…    runs PROGRAM inside that control group
set -eu
echo $$ >"$1/cgroup.procs"
shift
exec "$@"
