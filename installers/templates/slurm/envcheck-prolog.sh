#!/bin/bash
# Slurm Prolog: keeps a job off a node whose GPU is broken.   slurm.conf:  Prolog=/etc/slurm/envcheck-prolog.sh
#
# slurmd runs it as root, without a PATH; a code other than 0 drains the node and requeues the job. So only what is sure
# (exit 1 of the gate) stops a job: a check that could not be made, or that took too long, is logged and lets it start.
# The fast policy makes no CUDA context and puts no load on a GPU.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

readonly envcheck=/opt/envcheck/bin/envcheck
readonly policy=/etc/envcheck/policy-fast.toml
readonly seconds=25

[[ -n "${SLURM_JOB_GPUS:-}" ]] || exit 0 # the job asked for no GPU

status=0
said=$(timeout --kill-after=5 "$((seconds + 10))" \
  "$envcheck" gate --policy "$policy" --timeout "$seconds" --format npd 2>/dev/null) || status=$?
said=${said//[^A-Za-z0-9 .:_()-]/ }

if [[ $status -ne 1 ]]; then
  [[ $status -eq 0 ]] || logger -t envcheck "prolog: exit $status, the job may start: $said"
  exit 0
fi
logger -t envcheck "prolog: $said"
node=${SLURMD_NODENAME:-$(hostname -s)}
timeout 10 scontrol update "NodeName=$node" State=DRAIN "Reason=envcheck: $said" || logger -t envcheck "prolog: scontrol failed"
exit 1
