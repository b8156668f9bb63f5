#!/usr/bin/env bash
# Runs a command beside two Ray nodes of one core each, in separate namespaces: no network except
# loopback, and no process that outlives the command. It needs root, and ray on the PATH.
#
#   ray.sh FOLDER COMMAND...
#
# The command finds RAY_ADDRESS set, and in FOLDER/second.pid the process (raylet) of the second
# node, to be killed at will. With HIDE=DIRECTORY the second node sees that directory empty.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  [ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
  command -v ray > /dev/null || { echo "ray.sh: there is no ray: pip install ray" >&2; exit 3; }
  exec unshare --net --pid --mount --fork --mount-proc --kill-child -- "$0" --inside "$@"
fi

mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
ip link set lo up
export RAY_USAGE_STATS_ENABLED=0 RAY_ADDRESS=127.0.0.1:26379
# Ray's own health checks: a node that does not answer for ten seconds is lost.
export RAY_health_check_period_ms=2000 RAY_health_check_failure_threshold=5

# On a file system of their own: the path of a socket has at most 107 bytes, and FOLDER's may be long.
sockets=/tmp/ablate-ray
mkdir -p "$sockets"
mount -t tmpfs none "$sockets"
told() { "$@" > "$folder/start.log" 2>&1 || { tail -n 20 "$folder/start.log" >&2; exit 1; }; }
second() {
  [ -z "${HIDE:-}" ] || mount -t tmpfs none "$HIDE"
  ray start --address="$RAY_ADDRESS" --node-ip-address=127.0.0.1 --num-cpus=1 --include-log-monitor=false \
    --disable-usage-stats
}
export -f second

told ray start --head --node-ip-address=127.0.0.1 --port=26379 --num-cpus=1 \
  --include-dashboard=false --include-log-monitor=false --temp-dir="$sockets" --disable-usage-stats
first=$(pgrep -x raylet)
told unshare --mount bash -c second
pgrep -x raylet | grep -vx "$first" > "$folder/second.pid"
"$@"
