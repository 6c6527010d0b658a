#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A private Slurm of two nodes on the loopback interface, without systemd and without accounting.
#
#   cluster.sh install          install Debian's packages (as root, or with sudo)
#   cluster.sh start [DIR]      start munged, slurmctld and two slurmds, if they do not run already
#   cluster.sh stop [DIR]       cancel all jobs and end what was started, by process id
#   cluster.sh status [DIR]     exit code 0 where the cluster takes jobs
#
# DIR is .slurm in the current directory unless given. Clients find the cluster by SLURM_CONF=DIR/slurm.conf.
# SLURM_PORT is the first of three ports (default 46817), SLURM_CPUS the number of CPUs that each node pretends
# to have (default 16), so that several jobs run at once on a small machine. Jobs run on compute000 (partition
# comp). compute001 is there to fail, and to be taken from jobs of the partitions requeued, cancelled and
# suspended by those of the partition urgent.
set -eu

PATH=$PATH:/usr/sbin:/sbin
command=${1:-}
directory=${2:-.slurm}
port=${SLURM_PORT:-46817}
cpus=${SLURM_CPUS:-16}

die() {
    echo "cluster.sh: $*" >&2
    exit 1
}

install() {
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends \
        slurmctld slurmd slurm-client munge
}

configure() {
    mkdir -p "$directory/state" "$directory/spool-compute000" "$directory/spool-compute001"
    chmod 755 "$directory"
    if [ ! -e "$directory/munge.key" ]; then
        (umask 077 && head -c 1024 /dev/urandom >"$directory/munge.key")
    fi
    user=$(id -un)
    # If this user may create cgroups, the kernel limits the memory of jobs (OUT_OF_MEMORY). Otherwise, Slurm
    # checks each job every second and kills it (FAILED).
    memory=/sys/fs/cgroup/memory/ehpc-$$
    if mkdir "$memory" 2>/dev/null && rmdir "$memory"; then
        limit='TaskPlugin=task/cgroup'
        printf '%s\n' CgroupPlugin=cgroup/v1 ConstrainRAMSpace=yes ConstrainSwapSpace=yes >"$directory/cgroup.conf"
    else
        limit='TaskPlugin=task/none
JobAcctGatherParams=OverMemoryKill'
    fi
    # config_overrides lets the node have more CPUs than the machine; MinJobAge keeps ended jobs for a day,
    # because there is no accounting that would remember them.
    cat >"$directory/slurm.conf" <<CONF
ClusterName=ehpc
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$directory/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool-%n
SlurmctldPidFile=$directory/slurmctld.pid
SlurmdPidFile=$directory/slurmd-%n.pid
SlurmctldLogFile=$directory/slurmctld.log
SlurmdLogFile=$directory/slurmd-%n.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobCompType=jobcomp/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
$limit
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1024
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=86400
KillWait=2
PreemptType=preempt/partition_prio
PreemptMode=SUSPEND,GANG
NodeName=DEFAULT CPUs=$cpus RealMemory=65536
NodeName=compute000 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 1))
NodeName=compute001 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 2))
PartitionName=DEFAULT Nodes=compute001 MaxTime=INFINITE State=UP
PartitionName=comp Nodes=compute000 Default=YES PreemptMode=OFF
PartitionName=urgent PriorityTier=2 PreemptMode=OFF
PartitionName=requeued PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelled PriorityTier=1 PreemptMode=CANCEL
PartitionName=suspended PriorityTier=1 PreemptMode=SUSPEND
CONF
}

# Prints the id of the daemon of that name (slurmd-NODE for a node's) which was started in the directory, if
# it runs.
running() {
    [ -r "$directory/$1.pid" ] || return 1
    pid=$(tr -dc 0-9 <"$directory/$1.pid")
    [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1%%-*}" ] && echo "$pid"
}

answers() {
    states=$(SLURM_CONF=$directory/slurm.conf sinfo --noheader --Node --format='%N %t' 2>/dev/null | sort -u)
    [ "$(echo "$states" | grep -cE ' (idle|mix|alloc)$')" = 2 ]
}

start() {
    for daemon in munged slurmctld slurmd; do
        type $daemon >/dev/null 2>&1 || die "there is no $daemon; run: $0 install"
    done
    # The clients of a controller that runs read the file too: it stays as the controller knows it.
    running slurmctld >/dev/null || configure
    # --force turns munged's doubts about the directories above (a home of mode 700) into warnings.
    running munged >/dev/null || munged --force \
        --key-file="$directory/munge.key" --socket="$directory/munge.socket" \
        --pid-file="$directory/munged.pid" --log-file="$directory/munged.log" \
        --seed-file="$directory/munged.seed" 2>>"$directory/munged.err" ||
        die "munged did not start: $(tail -n 3 "$directory/munged.err")"
    running slurmctld >/dev/null || slurmctld -f "$directory/slurm.conf" >>"$directory/slurmctld.err" 2>&1 ||
        die "slurmctld did not start: $(tail -n 3 "$directory/slurmctld.err")"
    for node in compute000 compute001; do
        running slurmd-$node >/dev/null || slurmd -N $node -f "$directory/slurm.conf" >>"$directory/slurmd.err" 2>&1 ||
            die "slurmd did not start: $(tail -n 3 "$directory/slurmd.err")"
    done
    tries=0
    until answers; do
        tries=$((tries + 1))
        [ $tries -le 100 ] || die "the nodes did not come up: is port $port taken? See the logs in $directory"
        sleep 0.2
    done
    echo "export SLURM_CONF=$directory/slurm.conf"
}

stop() {
    if answers; then
        SLURM_CONF=$directory/slurm.conf scancel --me 2>/dev/null || true
        tries=0
        while [ $tries -lt 50 ] && SLURM_CONF=$directory/slurm.conf squeue --noheader 2>/dev/null | grep -q .; do
            tries=$((tries + 1))
            sleep 0.2
        done
    fi
    for daemon in slurmd-compute001 slurmd-compute000 slurmctld munged; do
        pid=$(running $daemon) || continue
        kill "$pid"
        tries=0
        # The pid file goes before the process does.
        while [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = ${daemon%%-*} ]; do
            tries=$((tries + 1))
            [ $tries -le 100 ] || die "$daemon (process $pid) does not end"
            sleep 0.1
        done
    done
}

case $command in
install)
    install
    ;;
start | stop | status)
    if [ "$command" = start ]; then
        mkdir -p "$directory"
    fi
    [ -d "$directory" ] || exit 1
    directory=$(cd "$directory" && pwd)
    case $command in
    start) start ;;
    stop) stop ;;
    status) answers || exit 1 ;;
    esac
    ;;
*)
    sed -n '2,15s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
