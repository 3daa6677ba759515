#!/usr/bin/env bash
# Pre-job hook of a self-hosted GitHub Actions runner: a job starts only on a machine whose GPU works.
#
# Set it up once per runner, as the user that the runner runs as:
#   python3 -I -m venv /opt/envcheck && /opt/envcheck/bin/python -I -m pip install ./gpu_envcheck-*.whl   # a wheel of yours
#   sudo install -D -m 0644 policy.toml /etc/envcheck/policy.toml
#   sudo install -D -m 0755 job-started.sh /opt/envcheck/job-started.sh
#   echo 'ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/envcheck/job-started.sh' >> .env       # in the runner's folder; restart it
#
# GitHub gives a hook no timeout of its own, so the gate has one, and `timeout` stands behind it.
# A failing hook fails the job and leaves the runner in service: stop the runner's service to take it out.
set -euo pipefail

readonly envcheck=/opt/envcheck/bin/envcheck
readonly policy=/etc/envcheck/policy.toml
readonly seconds=120

status=0
timeout --kill-after=5 "$((seconds + 20))" \
  "$envcheck" gate --policy "$policy" --timeout "$seconds" --report github || status=$?
exit "$status"
