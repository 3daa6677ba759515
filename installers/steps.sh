# shellcheck shell=bash
# State, the step runner and undo of every envcheck install script. Read after prelude.sh, which holds the variables.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# --- state: one line a fact, read as text and compared, never run ---

ec_state_file() {
  if [[ $EC_STAGE == system ]]; then
    printf '%s\n' "$EC_STATE_ROOT/$EC_PLAN_ID/state"
  else
    printf '%s\n' "$EC_USER_STATE/state"
  fi
}

ec_state_has() {
  local file
  file=$(ec_state_file)
  [[ -f $file ]] && grep -Fxq -- "$1" "$file"
}

# ec_state_values PREFIX: the rest of each line that starts with PREFIX and a blank.
ec_state_values() {
  local file line
  file=$(ec_state_file)
  if [[ ! -f $file ]]; then return 0; fi
  while IFS= read -r line; do
    if [[ $line == "$1 "* ]]; then printf '%s\n' "${line#"$1 "}"; fi
  done <"$file"
}

ec_state_add() {
  local file
  if ((EC_DRY_RUN)) || ec_state_has "$1"; then return 0; fi
  file=$(ec_state_file)
  if [[ $EC_STAGE == system ]]; then
    ec_state_root_dir
    printf '%s\n' "$1" | ec_root_quietly tee -a -- "$file" >/dev/null
  else
    mkdir -p -- "$EC_USER_STATE"
    chmod 0700 "$EC_USER_STATE"
    printf '%s\n' "$1" >>"$file"
  fi
}

# The system stage's state must be root's own: whoever could write there could choose what undo removes.
ec_state_root_dir() {
  local place
  for place in "$EC_STATE_ROOT" "$EC_STATE_ROOT/$EC_PLAN_ID" "$EC_STATE_ROOT/downloads"; do
    if [[ -L $place ]]; then ec_die 11 "$place is a symbolic link: remove it, envcheck keeps root's state there"; fi
    if [[ ! -d $place ]]; then
      ec_root_quietly mkdir -p -m 0755 -- "$place"
    elif [[ -z $EC_SYSROOT && -z $(find "$place" -maxdepth 0 -user 0 ! -perm -0002 2>/dev/null) ]]; then
      ec_die 11 "$place is not root's alone: give it to root (chown root, chmod 0755) or remove it"
    fi
  done
}

# Messages are kept beside the state of whoever runs this, once something is done; root never writes in a user's home.
ec_open_log() {
  if ((EC_DRY_RUN)) || [[ -n $EC_LOG_FILE ]]; then return 0; fi
  if ((EUID == 0)) && [[ $EC_STAGE == system ]]; then
    EC_LOG_FILE=$EC_STATE_ROOT/$EC_PLAN_ID/log
  else
    mkdir -p -- "$EC_USER_STATE"
    chmod 0700 "$EC_USER_STATE"
    EC_LOG_FILE=$EC_USER_STATE/log
  fi
}

# The user's state is kept apart for each directory that the script runs in, since paths in a plan may be relative.
ec_user_state_dir() {
  local base=${XDG_STATE_HOME:-} key
  if [[ -z $base ]]; then base=${HOME:-$PWD}/.local/state; fi
  key=$(printf '%s' "$PWD" | cksum)
  printf '%s\n' "$base/envcheck/$EC_PLAN_ID-${key%% *}"
}

# --- steps ---

# A package manager's part, where the script has one, takes the place of these: see driver.sh.
ec_packages_record() { :; }
ec_packages_settle() { :; }
ec_packages_failed() { return "$1"; }

ec_run_check() {
  local code=0
  if ((!${#EC_CHECK[@]})); then return 1; fi
  EC_CHECKING=1
  if [[ ${EC_CHECK[0]} == ec_* ]]; then
    "${EC_CHECK[@]}" </dev/null >/dev/null 2>&1 || code=$?
  else
    ec_deadline 120 "${EC_CHECK[@]}" </dev/null >/dev/null 2>&1 || code=$?
  fi
  EC_CHECKING=0
  return "$code"
}

# A step is done when its check says so; where a check cannot say it before the reboot, or there is none (EC_ONCE 1),
# when it ran to its end.
ec_step_done() {
  local boot
  if [[ $EC_STAGE == verify ]]; then return 1; fi
  if ec_run_check; then return 0; fi
  if ((EC_REBOOT)); then
    boot=$(ec_state_values reboot | tail -n 1)
    if [[ -z $boot ]]; then return 1; fi
    if [[ $boot == "$(ec_boot_id)" ]]; then
      EC_NEED_REBOOT=1
    elif ((${#EC_CHECK[@]})); then
      ec_die 1 "the machine was rebooted, and yet this is not in force: $EC_TITLE. Look at: sudo dmesg | grep -i -e nvidia -e nouveau"
    fi
    return 0
  fi
  ((EC_ONCE)) && ec_state_has "done $EC_ID"
}

ec_step() {
  EC_NOW=$EC_ID
  if ec_step_done; then
    if ((!EC_LIST)); then ec_log "already done: $EC_TITLE"; fi
  elif ((EC_LIST)); then
    EC_PENDING=$((EC_PENDING + 1))
    ec_log "to do: $EC_TITLE"
  elif ((!${#EC_ARGV[@]})); then
    ec_step_by_hand
  else
    ec_log "$EC_ID: $EC_TITLE"
    if [[ -n $EC_WHY ]]; then ec_log "  why: $EC_WHY"; fi
    ec_step_record
    ec_step_run
    if ((!EC_DRY_RUN)); then ec_step_after; fi
    EC_RAN=1
  fi
  EC_NOW=''
}

ec_step_by_hand() {
  if ((EC_REBOOT)); then
    ec_log "$EC_TITLE"
    ec_state_add "reboot $(ec_boot_id)"
    EC_NEED_REBOOT=1
  elif ((EC_DRY_RUN)); then
    ec_log "by hand: $EC_TITLE ($EC_WHY)"
  else
    ec_die 11 "$EC_TITLE. $EC_WHY"
  fi
}

# Written down before the step runs, so that undo knows of a step that failed half way.
ec_step_record() {
  if [[ $EC_STAGE == verify ]]; then return 0; fi
  ec_state_add "ran $EC_ID"
  ec_open_log
  if ((${#EC_UNDO[@]})) && [[ ${EC_UNDO[0]} == ec_remove_created && ! -e ${EC_UNDO[1]} && ! -L ${EC_UNDO[1]} ]]; then
    ec_state_add "created ${EC_UNDO[1]}"
  fi
}

ec_step_run() {
  if [[ ${EC_ARGV[0]} == ec_* ]]; then
    "${EC_ARGV[@]}"
  elif ((EC_ROOT)); then
    ec_packages_record "${EC_ARGV[@]}"
    ec_root "${EC_ARGV[@]}" || ec_packages_failed $? "${EC_ARGV[@]}"
    ec_packages_settle
  else
    ec_run "${EC_ARGV[@]}"
  fi
}

ec_step_after() {
  if ((EC_REBOOT)); then
    if ! ec_run_check; then
      ec_state_add "reboot $(ec_boot_id)"
      EC_NEED_REBOOT=1
    fi
  fi
  if [[ $EC_STAGE != verify ]]; then ec_state_add "done $EC_ID"; fi
}

# ec_settle FUNCTION: after the steps of a stage ran, each check is asked once more. A command may end well and have
# done nothing (a module that was not built, a package that a later one took away).
ec_settle() {
  if ((EC_DRY_RUN || !EC_RAN)); then return 0; fi
  EC_LIST=1 EC_PENDING=0
  "$1"
  EC_LIST=0 EC_RAN=0
  if ((EC_PENDING)); then
    ec_die 1 "the commands of the $EC_STAGE stage ended well, and yet the checks of the steps named above fail"
  fi
}

# Takes one step back, if this script ran it here. A failure is told and does not keep the others from being undone.
ec_undo() {
  if ((!${#EC_UNDO[@]})) || ! ec_state_has "ran $EC_ID"; then return 0; fi
  EC_PENDING=$((EC_PENDING + 1))
  ec_log "take back: $EC_TITLE"
  if ((EC_LIST)); then return 0; fi
  if [[ ${EC_UNDO[0]} == ec_* ]]; then
    "${EC_UNDO[@]}" || EC_UNDO_FAILED=1
  elif [[ ${EC_UNDO[0]} == */* && ! -x ${EC_UNDO[0]} ]]; then
    ec_log "  ${EC_UNDO[0]} is gone already"
  elif ((EC_ROOT)); then
    ec_root "${EC_UNDO[@]}" || EC_UNDO_FAILED=1
  else
    ec_run "${EC_UNDO[@]}" || EC_UNDO_FAILED=1
  fi
}
