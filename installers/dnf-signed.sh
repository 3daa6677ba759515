# shellcheck shell=bash
# Modules that the distribution built and signed: Red Hat's (rhel-drivers) and AlmaLinux's. Read after dnf-lock.sh.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# The newest version of a branch that Red Hat's archives have.
ec_rhel_version() {
  local list
  if ((EUID == 0)); then list=$(ec_deadline 300 rhel-drivers list --available </dev/null 2>/dev/null) || list=''; else
    list=$(ec_deadline 300 sudo -- rhel-drivers list --available </dev/null 2>/dev/null) || list=''
  fi
  grep -Eo 'nvidia:[0-9.]+' <<<"$list" | sed 's/^nvidia://' | grep "^$1\\." | sort -V | tail -n 1 || true
}

# ec_rhel_drivers BRANCH: a version is named, since the newest would be another branch.
ec_rhel_drivers() {
  local version
  if ((EC_DRY_RUN)); then
    ec_show rhel-drivers install --batch "nvidia:$1.*"
    return 0
  fi
  version=$(ec_rhel_version "$1")
  if [[ -z $version ]]; then
    ec_refuse "Red Hat's archives have no NVIDIA driver of branch $1 here (rhel-drivers list --available). Make a plan with another --driver-branch"
  fi
  ec_packages_record rhel-drivers install
  ec_root rhel-drivers install --batch "nvidia:$version"
  ec_packages_settle
}

# ec_signed_modules BRANCH FLAVOUR: they come with the packages; a kernel newer than they are has none.
ec_signed_modules() {
  local kernel
  if ((EC_DRY_RUN)); then return 0; fi
  while IFS= read -r kernel; do
    if ! ec_module_of "$kernel" "$1" "$2"; then
      ec_die 1 "kernel $kernel has no signed NVIDIA module of branch $1 yet, and would boot without a GPU: boot the newest kernel that has one (ls /lib/modules/*/*/nvidia* -d; sudo grubby --set-default), then run this script again"
    fi
  done < <(ec_needed_kernels)
}

ec_signed_modules_there() {
  local kernel seen=0
  while IFS= read -r kernel; do
    if ! ec_module_of "$kernel" "$1" "$2"; then return 1; fi
    seen=1
  done < <(ec_needed_kernels)
  ((seen))
}
