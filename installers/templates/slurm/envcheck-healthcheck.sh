#!/bin/bash
# Slurm HealthCheckProgram: drains a node whose GPU is broken, and lifts that drain when it works again.
#   slurm.conf:  HealthCheckProgram=/etc/slurm/envcheck-healthcheck.sh
#                HealthCheckInterval=300
#                HealthCheckNodeState=ANY
#
# slurmd runs it on every node, without a PATH, beside jobs, ends it after 60 s and ignores its code: so it speaks to the
# controller itself, leaves nodes without a GPU alone, and the fast policy makes no CUDA context. A drain is lifted only
# if its reason starts with "envcheck:", the mark of our own.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

readonly envcheck=/opt/envcheck/bin/envcheck
readonly policy=/etc/envcheck/policy-fast.toml
readonly seconds=25

node=${SLURMD_NODENAME:-$(hostname -s)}
line=$(timeout 5 scontrol show node "$node" --oneliner 2>/dev/null) || exit 0
[[ $line =~ [[:space:]]Gres=([^[:space:]]*,)?gpu: ]] || exit 0

status=0
said=$(timeout --kill-after=3 "$((seconds + 5))" \
  "$envcheck" gate --policy "$policy" --timeout "$seconds" --format npd 2>/dev/null) || status=$?
said=${said//[^A-Za-z0-9 .:_()-]/ }

# asked again: meanwhile a person may have drained the node, or given the drain a reason of his own
line=$(timeout 5 scontrol show node "$node" --oneliner 2>/dev/null) || exit 0
state='' reason=''
[[ $line =~ (^|[[:space:]])State=([^[:space:]]+) ]] && state=${BASH_REMATCH[2]}
[[ $line =~ [[:space:]]Reason=(.*)$ ]] && reason=${BASH_REMATCH[1]}

case $status in
  0)
    if [[ $state == *DRAIN* && $reason == envcheck:* ]]; then
      timeout 10 scontrol update "NodeName=$node" State=RESUME && logger -t envcheck "the GPU works again: resumed"
    fi
    ;;
  1)
    if [[ $state != *DRAIN* ]]; then
      timeout 10 scontrol update "NodeName=$node" State=DRAIN "Reason=envcheck: $said"
      logger -t envcheck "drained: $said"
    fi
    ;;
  *) logger -t envcheck "could not be told (exit $status), the node stays as it is: $said" ;;
esac
exit 0
