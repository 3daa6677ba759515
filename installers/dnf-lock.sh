# shellcheck shell=bash
# dnf's versionlock: what holds a branch where the archive has no module streams. Read after dnf-sources.sh.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# dnf 4 keeps one line a lock, dnf 5 blocks of TOML.
EC_LOCKS_4=/etc/dnf/plugins/versionlock.list
EC_LOCKS_5=/etc/dnf/versionlock.toml
# The driver's own packages. Not *nvidia*: a lock excludes every other version of each name that it fits, and the
# container toolkit (1.x) could not be installed any more.
EC_LOCK_NAMES=(nvidia-driver 'nvidia-driver-*' 'kmod-nvidia*' 'akmod-nvidia*' nvidia-kmod-common nvidia-open nvidia-modprobe
  nvidia-persistenced nvidia-settings nvidia-xconfig 'nvidia-libXNVCtrl*' libnvidia-cfg libnvidia-fbc
  libnvidia-gpucomp libnvidia-ml 'libnvidia-nscq*' 'libnvsdm*' 'nvidia-fabric*' 'nvidia-imex*' 'cuda-drivers*'
  nvidia-open-kmod 'xorg-x11-nvidia*' 'xorg-x11-drv-nvidia*')

# The locks of dnf 4 as they stand, and the names that dnf 5 locks with their versions.
ec_locks() {
  if ec_dnf_is_5; then
    awk -F'"' '/^name/ {name = $2} /^value/ {print name " " $2}' "$EC_SYSROOT$EC_LOCKS_5" 2>/dev/null || true
  else
    grep -Ev '^[[:space:]]*(#|$)' "$EC_SYSROOT$EC_LOCKS_4" 2>/dev/null || true
  fi
}

# ec_lock BRANCH: before the driver comes. Patterns as they stand (--raw): dnf would else look among what is installed
# first, and lock that alone, so that `dnf install nvidia-imex` brings the next branch. Tried with dnf 4.14.
ec_lock() {
  local line name wanted=()
  ec_no_other_lock "$1"
  if ec_dnf_is_5; then
    ec_lock_5 "$1"
    return 0
  fi
  if ! ec_packages_installed python3-dnf-plugin-versionlock; then ec_packages_install python3-dnf-plugin-versionlock; fi
  if ((!EC_DRY_RUN)) && [[ -z $(ec_state_values lock) ]]; then
    while IFS= read -r line; do ec_state_add "locked-before $line"; done < <(ec_locks)
    ec_state_add "lock $1"
  fi
  for name in "${EC_LOCK_NAMES[@]}"; do wanted+=("$name-$1.*"); done
  ec_root dnf versionlock add --raw "${wanted[@]}"
}

# dnf 5 takes a range of versions for a pattern of names, in a file of our own where there is none; another's file is
# changed by dnf alone. Both epochs, 3 as NVIDIA's drivers have it and none, since blocks of one name are alternatives.
ec_lock_5() {
  local name epoch lines=('version = "1.0"')
  for name in "${EC_LOCK_NAMES[@]}"; do
    for epoch in 3 0; do
      lines+=('[[packages]]' "name = \"$name\"" "comment = \"envcheck: branch $1\"")
      lines+=('[[packages.conditions]]' 'key = "evr"' 'comparator = ">="' "value = \"$epoch:$1\"")
      lines+=('[[packages.conditions]]' 'key = "evr"' 'comparator = "<"' "value = \"$epoch:$(($1 + 1))\"")
    done
  done
  if [[ -e $EC_SYSROOT$EC_LOCKS_5 ]] && ! ec_root_file_is "$EC_LOCKS_5" "${lines[@]}"; then
    ec_state_add "locks-by-dnf $1"
    ec_root dnf versionlock add "*nvidia*$1*"
  else
    ec_root_file "$EC_LOCKS_5" "${lines[@]}"
  fi
}

# ec_locked BRANCH: both generations write the version behind the epoch, or behind a pattern of names.
ec_locked() { ec_locks | grep -Eq "^nvidia-driver.*[ :-]$1(\\.|\$)"; }

# Images of clouds lock their drivers; somebody chose that.
ec_no_other_lock() {
  local other
  other=$(ec_locks | grep -E '^(a?kmod-|lib)?nvidia' | grep -Ev '^(lib)?nvidia-container' |
    grep -Ev "[ :-]($1(\\.|\$)|$(($1 + 1))\$)" | head -n 3) || other=''
  if [[ -n $other ]]; then
    ec_refuse "dnf versionlock holds another branch here ($(tr '\n' ' ' <<<"$other")): this image pins its driver. Take the lock away first (dnf versionlock list, dnf versionlock delete), or plan with its branch"
  fi
}

ec_undo_lock() {
  local branch name gone=()
  if ec_dnf_is_5; then
    branch=$(ec_state_values locks-by-dnf | head -n 1)
    if [[ -n $branch ]] && ec_locked "$branch"; then ec_root dnf versionlock delete "*nvidia*$branch*" || return 1; fi
    ec_undo_file "$EC_LOCKS_5"
    return
  fi
  branch=$(ec_state_values lock | head -n 1)
  if [[ -z $branch ]]; then return 0; fi
  for name in "${EC_LOCK_NAMES[@]}"; do
    name="$name-$branch.*"
    if ec_locks | grep -Fxq -- "$name" && ! ec_state_has "locked-before $name"; then gone+=("$name"); fi
  done
  if ((${#gone[@]})); then ec_root dnf versionlock delete "${gone[@]}"; fi
}
