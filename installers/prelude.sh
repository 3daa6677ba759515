# shellcheck shell=bash
# What every envcheck install script starts with: options, logging, state, the step runner, undo.
#
# Runs on bash 3.2 and newer (macOS). Nothing here acts when it is read: the script's last line calls ec_main, so that
# a download that was cut off does nothing. Names of functions start with ec_, of variables with EC_.
# Exit codes: 10 reboot needed, 11 precondition not met, 2 wrong option, else the failing command's own.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in the parts that follow:
# shellcheck disable=SC2329,SC2034
set -Eeuo pipefail
umask 022

# The plan's own values: ec_plan_constants, written by envcheck, sets them. EC_SYSROOT is empty but in tests.
EC_PLAN_ID='' EC_ENVCHECK='' EC_TORCH='' EC_CUDA='' EC_SYSROOT='' EC_STATE_ROOT=/var/lib/envcheck
EC_YES=0 EC_DRY_RUN=0 EC_ONLY=all
EC_STAGE='' EC_NOW='' EC_TMP='' EC_LOG_FILE='' EC_USER_STATE=''
EC_CHECKING=0 EC_LIST=0 EC_PENDING=0 EC_RAN=0 EC_NEED_REBOOT=0 EC_UNDO_FAILED=0
# The step in hand.
EC_ID='' EC_TITLE='' EC_WHY='' EC_ROOT=0 EC_REBOOT=0 EC_ONCE=0
EC_CHECK=() EC_ARGV=() EC_UNDO=()

# Messages may quote names from outside: no control character reaches the terminal.
ec_log() {
  local text=$*
  text=${text//[[:cntrl:]]/ }
  printf 'envcheck: %s\n' "$text" >&3
  if [[ -n $EC_LOG_FILE ]]; then printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$text" >>"$EC_LOG_FILE" || true; fi
}

# ec_die CODE MESSAGE...
ec_die() {
  local code=$1
  shift
  ec_log "stopped: $*"
  EC_NOW=''
  exit "$code"
}

ec_have_command() { command -v -- "$1" >/dev/null 2>&1; }

# ec_need_command NAME WHAT-TO-DO: a tool that envcheck does not install.
ec_need_command() {
  if ec_have_command "$1"; then return 0; fi
  if ((EC_DRY_RUN)); then
    ec_log "would stop here: $1 is not installed; $2"
    return 0
  fi
  ec_die 11 "$1 is not installed; $2"
}

ec_show() {
  local word line='+'
  for word in "$@"; do line+=" $(printf '%q' "$word")"; done
  ec_log "$line"
}

# Commands never read the script's own standard input (bash < install.sh).
ec_run() {
  ec_show "$@"
  if ((!EC_DRY_RUN)); then "$@" </dev/null; fi
}

ec_root() {
  if ((EUID == 0)); then ec_show "$@"; else ec_show sudo "$@"; fi
  if ((!EC_DRY_RUN)); then ec_root_quietly "$@" </dev/null; fi
}

ec_root_quietly() {
  if ((EUID == 0)); then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif ec_have_command sudo; then
    sudo -- env DEBIAN_FRONTEND=noninteractive "$@"
  else
    ec_die 11 "this needs root, and there is no sudo: $*. Run --stage system as root, then the rest as yourself"
  fi
}

# ec_deadline SECONDS COMMAND...: like the command, but 124 when it does not end in time.
ec_deadline() {
  local seconds=$1 pid watcher code=0
  shift
  if ec_have_command timeout; then
    timeout -k 10 "$seconds" "$@"
    return
  fi
  "$@" &
  pid=$!
  (sleep "$seconds" && kill -9 "$pid") >/dev/null 2>&1 &
  watcher=$!
  wait "$pid" || code=$?
  kill "$watcher" >/dev/null 2>&1 || true
  if ((code == 137)); then code=124; fi
  return "$code"
}

ec_confirm() {
  local answer=''
  if ((EC_YES || EC_DRY_RUN)); then return 0; fi
  if ! { : </dev/tty; } 2>/dev/null; then
    ec_die 11 "nobody can be asked here (no terminal): pass --yes to go on without a question"
  fi
  printf 'envcheck: %s [y/N] ' "$1" >/dev/tty
  IFS= read -r answer </dev/tty || true
  if [[ $answer != [yY]* ]]; then ec_die 11 "not confirmed, nothing was changed"; fi
}

ec_in_container() {
  [[ -e $EC_SYSROOT/.dockerenv || -e $EC_SYSROOT/run/.containerenv || -n ${KUBERNETES_SERVICE_HOST:-} ]] && return 0
  grep -Eqs 'docker|kubepods|containerd|lxc' "$EC_SYSROOT/proc/1/cgroup"
}

ec_in_wsl() { grep -qis microsoft "$EC_SYSROOT/proc/sys/kernel/osrelease"; }

ec_boot_id() { cat "$EC_SYSROOT/proc/sys/kernel/random/boot_id" 2>/dev/null || printf 'unknown\n'; }

# ec_sha256 FILE
ec_sha256() {
  local line
  if ec_have_command sha256sum; then
    line=$(sha256sum <"$1")
  else
    line=$(shasum -a 256 <"$1")
  fi
  printf '%s\n' "${line%% *}"
}

# --- stages ---

ec_stage_system() {
  EC_STAGE=system EC_LIST=1 EC_PENDING=0
  ec_plan_system
  EC_LIST=0
  if ((EC_PENDING)); then
    ec_bind_system
    ec_confirm "the steps above change this machine as root. Go on?"
    ec_plan_system
    ec_settle ec_plan_system
  elif ((!EC_NEED_REBOOT)); then
    ec_log "system stage: nothing to do"
  fi
  if ((!EC_NEED_REBOOT)); then return 0; fi
  if ((EC_DRY_RUN)); then
    ec_log "would end here with exit code 10: reboot needed"
    return 0
  fi
  ec_log "reboot this machine, then run this script again: it goes on where it stopped"
  EC_NOW=''
  exit 10
}

ec_stage_user() {
  if ((EUID == 0)) && [[ -n ${SUDO_USER:-} && ${SUDO_USER:-} != root ]] && ! ec_in_container; then
    ec_die 11 "the user stage must not run under sudo, it would leave files of root's in $SUDO_USER's directory: run it without sudo, it asks for root by itself"
  fi
  EC_STAGE=user
  ec_plan_user
  ec_settle ec_plan_user
}

ec_stage_verify() {
  EC_STAGE=verify
  ec_bind_verify
  ec_plan_verify
}

ec_stage_undo() {
  local pass
  for pass in 1 0; do
    EC_LIST=$pass EC_PENDING=0
    EC_STAGE=user
    ec_plan_undo_user
    EC_STAGE=system
    ec_plan_undo_system
    if ((!EC_PENDING)); then
      ec_log "nothing to take back: this script changed nothing here"
      return 0
    fi
    if ((pass)); then ec_confirm "take back the steps above?"; fi
  done
  if ((EC_UNDO_FAILED)); then ec_die 1 "not everything could be taken back, see above; run it again when that is repaired"; fi
  if ((EC_DRY_RUN)); then return 0; fi
  ec_forget
}

ec_forget() {
  rm -rf -- "$EC_USER_STATE"
  EC_LOG_FILE=''
  if [[ -n $EC_PLAN_ID && -d $EC_STATE_ROOT/$EC_PLAN_ID ]]; then
    ec_root rm -rf -- "$EC_STATE_ROOT/$EC_PLAN_ID"
    ec_root_quietly rmdir --ignore-fail-on-non-empty -- "$EC_STATE_ROOT/downloads" "$EC_STATE_ROOT" || true
  fi
}

ec_help() {
  cat <<'EC_TEXT'
usage: bash install.sh [--yes] [--dry-run] [--stage system|user|verify|undo]

  --yes          ask nothing
  --dry-run      show what would be done, change nothing
  --stage NAME   one stage alone: system (needs root), user, verify, or undo (take back what this script did)

exit codes: 10 reboot needed, then run it again; 11 a precondition is not met; else the failing command's own
EC_TEXT
}

ec_options() {
  while (($#)); do
    case $1 in
      -y | --yes) EC_YES=1 ;;
      -n | --dry-run) EC_DRY_RUN=1 ;;
      --stage=*) EC_ONLY=${1#--stage=} ;;
      --stage)
        EC_ONLY=${2:-}
        if (($# > 1)); then shift; fi
        ;;
      -h | --help)
        ec_help
        exit 0
        ;;
      *)
        ec_log "unknown option: $1 (see --help)"
        exit 2
        ;;
    esac
    shift
  done
  case $EC_ONLY in
    all | system | user | verify | undo) ;;
    *)
      ec_log "--stage takes system, user, verify or undo"
      exit 2
      ;;
  esac
}

ec_on_exit() {
  local code=$?
  trap - EXIT
  # What a command that failed half way had done is told to undo.
  if ((code)) && [[ -n $EC_NOW && $EC_STAGE == system ]]; then ec_packages_settle || true; fi
  if [[ -n $EC_TMP ]]; then rm -rf -- "$EC_TMP"; fi
  if ((code)) && [[ -n $EC_NOW ]]; then
    ec_log "stopped: step $EC_NOW failed with exit code $code; when that is repaired, run this script again: it goes on there"
    # dkms fails with 10 and 11, which here mean something else
    if ((code == 10 || code == 11)); then code=1; fi
  fi
  exit "$code"
}

ec_main() {
  exec 3>&2
  ec_plan_constants
  ec_options "$@"
  trap ec_on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  EC_USER_STATE=$(ec_user_state_dir)
  EC_TMP=$(mktemp -d)
  ec_log "plan $EC_PLAN_ID, made by envcheck $EC_ENVCHECK"
  case $EC_ONLY in
    system) ec_stage_system ;;
    user) ec_stage_user ;;
    verify) ec_stage_verify ;;
    undo) ec_stage_undo ;;
    all)
      ec_stage_system
      ec_stage_user
      ec_stage_verify
      ;;
  esac
  ec_log "finished"
}
