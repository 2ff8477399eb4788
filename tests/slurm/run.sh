#!/usr/bin/env bash
# The smoke study on a Slurm of one node, on this machine: ./tests/slurm/run.sh   (as root, on Debian or Ubuntu)
#
# Installs Slurm from the distribution's packages, starts it with a configuration that is removed at the end, runs
# ./run_all.sh smoke --profile slurm, cancels one running job on the way, and checks that it came back, that every page
# is there and that no record was made twice. Where Slurm cannot be had it says SKIPPED and ends with status 77, which
# no caller can take for success.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() { printf 'SKIPPED: %s\n' "$*" >&2; exit 77; }
say() { printf '[slurm test] %s\n' "$*"; }

[ "$(id -u)" -eq 0 ] || skip "setting up Slurm needs root."
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || skip "no apt-get here to install Slurm with."
    say "installing slurm-wlm and munge"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        slurm-wlm slurmctld slurmd slurm-client munge; } >/dev/null 2>&1 || skip "Slurm's packages cannot be installed."
fi

HOST=$(hostname -s)
CORES=$(nproc)
MEMORY=$(awk '/MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo)
WORK=$(mktemp -d)
CONF=/etc/slurm/slurm.conf  # jobs look for it there: their environment is their own
[ ! -e "$CONF" ] || skip "this machine has a Slurm of its own ($CONF)."
stop() {
    scancel --user=root >/dev/null 2>&1 || true
    for name in slurmd slurmctld; do
        [ -r "$WORK/$name.pid" ] && kill "$(cat "$WORK/$name.pid")" 2>/dev/null || true
    done
    [ -n "${MUNGE_STARTED:-}" ] && pkill -x munged || true
    rm -rf "$WORK" "$CONF"
}
trap stop EXIT

mkdir -p "$WORK/state" "$WORK/spool" /run/munge /etc/slurm
cat > "$CONF" <<TEXT
ClusterName=forget
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=300
ReturnToService=2
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CORES RealMemory=$MEMORY
PartitionName=debug Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
TEXT
if ! pgrep -x munged >/dev/null; then
    [ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; chmod 400 /etc/munge/munge.key; }
    chown -R munge: /etc/munge /run/munge
    runuser -u munge -- /usr/sbin/munged || skip "munge does not start here."
    MUNGE_STARTED=yes
fi
slurmctld || skip "slurmctld does not start here."
slurmd || skip "slurmd does not start here."
for _ in $(seq 30); do
    sinfo -h -o %T 2>/dev/null | grep -q idle && break
    sleep 1
done
sinfo -h -o %T | grep -q idle || { tail -5 "$WORK"/slurm*.log >&2; skip "the node does not come up."; }
say "Slurm $(sinfo --version | cut -d ' ' -f 2) is up: $(sinfo -h -o '%n, %c cores, %m MB')"

# A cluster without accounting: jobs are watched by squeue, and looked at often since they are short.
OPTIONS=(--profile slurm --jobs "$CORES" --latency-wait 10 --slurm-status-command squeue --slurm-no-account
    --slurm-init-seconds-before-status-checks 2 --default-resources slurm_partition=debug cpus_per_task=1)
records() { find results/smoke -name run.json -printf '%p %T@\n' | sort; }
rm -rf results/smoke
./run_all.sh smoke "${OPTIONS[@]}" > "$WORK/first.log" 2>&1 &
RUN=$!
CANCELLED=""
while kill -0 "$RUN" 2>/dev/null; do
    # The job to cancel is one that runs after at least two pages are done, so that there is something not to do twice.
    if [ -z "$CANCELLED" ] && [ "$(find results/smoke/notebooks -name '*.html' 2>/dev/null | wc -l)" -ge 2 ]; then
        CANCELLED=$(squeue -h -t RUNNING -o %i | head -1)
        if [ -n "$CANCELLED" ]; then
            records > "$WORK/before"
            say "cancelling job $CANCELLED"
            scancel "$CANCELLED"
        fi
    fi
    sleep 1
done
wait "$RUN" && STATUS=0 || STATUS=$?
cat "$WORK/first.log"
[ -n "$CANCELLED" ] || { say "no job was there to be cancelled"; exit 1; }
[ "$STATUS" -eq 0 ] || { say "the run ended with status $STATUS"; exit 1; }
grep -q "$CANCELLED" "$WORK/first.log" || { say "the log says nothing of the cancelled job $CANCELLED"; exit 1; }
[ -f results/smoke/index.html ] || { say "there is no index"; exit 1; }
AGAIN=$(comm -23 "$WORK/before" <(records) | wc -l)
say "records when the job was cancelled: $(wc -l < "$WORK/before"), at the end: $(records | wc -l), made twice: $AGAIN"
[ "$AGAIN" -eq 0 ] || { say "records were made twice"; exit 1; }
say "OK: the cancelled job came back; $(find results/smoke/notebooks -name '*.html' | wc -l) pages through Slurm"
