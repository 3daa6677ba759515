# shellcheck shell=bash
# dnf's versionlock: what holds a branch where the archive has no module streams. Read after dnf-sources.sh.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# dnf 4 keeps one line a lock, dnf 5 blocks of TOML.
EC_LOCKS_4=/etc/dnf/plugins/versionlock.list
EC_LOCKS_5=/etc/dnf/versionlock.toml

# The locks of dnf 4 as they stand, and the names that dnf 5 locks with their versions.
ec_locks() {
  if ec_dnf_is_5; then
    awk -F'"' '/^name/ {name = $2} /^value/ {print name " " $2}' "$EC_SYSROOT$EC_LOCKS_5" 2>/dev/null || true
  else
    grep -Ev '^[[:space:]]*(#|$)' "$EC_SYSROOT$EC_LOCKS_4" 2>/dev/null || true
  fi
}

# ec_lock BRANCH: before the driver comes. The pattern is NVIDIA's own, and takes in what is not installed yet: on a
# host whose installed packages alone are locked, nvidia-imex brings the next branch.
ec_lock() {
  local line
  ec_no_other_lock "$1"
  if ec_dnf_is_5; then
    ec_lock_5 "$1"
    return 0
  fi
  if ! ec_packages_installed python3-dnf-plugin-versionlock; then ec_packages_install python3-dnf-plugin-versionlock; fi
  if ((!EC_DRY_RUN)) && ! ec_state_has "locks known"; then
    while IFS= read -r line; do ec_state_add "locked-before $line"; done < <(ec_locks)
    ec_state_add "locks known"
  fi
  ec_root dnf versionlock add "*nvidia*$1*"
}

# dnf 5 takes a range of versions for a pattern of names (its manual has this very example), in a file of our own where
# there is none; another's file is changed by dnf alone.
ec_lock_5() {
  local lines=('version = "1.0"' '[[packages]]' 'name = "*nvidia*"' "comment = \"envcheck: branch $1\"")
  # the epoch of NVIDIA's own packages and of RPM Fusion's is 3
  lines+=('[[packages.conditions]]' 'key = "evr"' 'comparator = ">="' "value = \"3:$1\"")
  lines+=('[[packages.conditions]]' 'key = "evr"' 'comparator = "<"' "value = \"3:$(($1 + 1))\"")
  if [[ -e $EC_SYSROOT$EC_LOCKS_5 ]] && ! ec_root_file_is "$EC_LOCKS_5" "${lines[@]}"; then
    ec_state_add "locks-by-dnf $1"
    ec_root dnf versionlock add "*nvidia*$1*"
  else
    ec_root_file "$EC_LOCKS_5" "${lines[@]}"
  fi
}

# ec_locked BRANCH: both generations write the version behind the epoch.
ec_locked() { ec_locks | grep -Eq "nvidia.*[ :-]$1(\\.|\$)"; }

# Images of clouds lock their drivers; somebody chose that.
ec_no_other_lock() {
  local other
  other=$(ec_locks | grep -E '^(kmod-|lib)?nvidia|^\*?nvidia' | grep -Ev "[ :-]($1(\\.|\$)|$(($1 + 1))\$)" | head -n 3) || other=''
  if [[ -n $other ]]; then
    ec_refuse "dnf versionlock holds another branch here ($(tr '\n' ' ' <<<"$other")): this image pins its driver. Take the lock away first (dnf versionlock list, dnf versionlock delete), or plan with its branch"
  fi
}

ec_undo_lock() {
  local line branch
  branch=$(ec_state_values locks-by-dnf | head -n 1)
  if ec_dnf_is_5; then
    if [[ -n $branch ]] && ec_locked "$branch"; then ec_root dnf versionlock delete "*nvidia*$branch*" || return 1; fi
    ec_undo_file "$EC_LOCKS_5"
    return
  fi
  if ! ec_state_has "locks known"; then return 0; fi
  while IFS= read -r line; do
    if [[ $line != *nvidia* ]] || ec_state_has "locked-before $line"; then continue; fi
    ec_root dnf versionlock delete "$line" || return 1
  done < <(ec_locks)
}
