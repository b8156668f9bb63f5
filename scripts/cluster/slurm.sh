#!/usr/bin/env bash
# Starts a SLURM cluster of two nodes on this machine, on loopback, with all files in one folder.
# It needs root and Debian's packages: apt-get install slurm-wlm munge
#
#   slurm.sh start FOLDER        then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm.sh node FOLDER n1      starts the slurmd of a node again, after a kill of $(cat FOLDER/n1.pid)
#   slurm.sh stop FOLDER         ends what it started, by process id
#
# A node is a slurmd with its own name (-N) and port. SLURM_CORES (1) is the number of cores that each
# reports, and SLURM_PORT (27817) the first of three ports.
set -euo pipefail

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
command=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
name=$(hostname -s)
port=${SLURM_PORT:-27817}
cores=${SLURM_CORES:-1}
export SLURM_CONF=$folder/slurm.conf

lacking() {
  for program in slurmctld slurmd munged; do
    command -v "$program" > /dev/null || { echo "slurm.sh: there is no $program: apt-get install slurm-wlm munge" >&2; exit 3; }
  done
  [ "$(id -u)" = 0 ] || { echo "slurm.sh: slurmd takes root" >&2; exit 3; }
}

configure() {
  mkdir -p "$folder"/{state,n1,n2}
  chmod 755 "$folder"  # munge asks for it
  [ -s "$folder/munge.key" ] || { (umask 377; head -c 1024 /dev/urandom > "$folder/munge.key"); }
  cat > "$folder/slurm.conf" << CONF
ClusterName=two
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
# Processes are told apart without control groups, which a container may not make.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The queue is looked at often, and a node that is silent for 20 seconds is lost.
SchedulerParameters=batch_sched_delay=1,sched_interval=5
SlurmdTimeout=20
KillWait=10
ReturnToService=2
NodeName=n1 NodeHostname=$name NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cores RealMemory=4000
NodeName=n2 NodeHostname=$name NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$cores RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
CONF
}

node() { slurmd -N "$1" -f "$SLURM_CONF" -L "$folder/$1.log"; }

start() {
  configure
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
    --pid-file="$folder/munge.pid" --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
  slurmctld -f "$SLURM_CONF" -L "$folder/slurmctld.log"
  node n1
  node n2
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --Node --format=%T 2> /dev/null | grep -c idle)" = 2 ] && return
    sleep 1
  done
  echo "slurm.sh: the nodes do not come up; see $folder/*.log" >&2
  exit 1
}

stop() {
  for daemon in n1 n2 slurmctld munge; do
    [ -s "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")" 2> /dev/null || true
  done
}

case $command in
  start) lacking; start ;;
  node) [ $# = 3 ] || usage; node "$3" ;;
  stop) stop ;;
  *) usage ;;
esac
