# shellcheck shell=bash
# Which packages make NVIDIA's driver on SLES and openSUSE: SUSE's prebuilt, signed module or NVIDIA's for DKMS, and the
# libraries of exactly its version. After zypper.sh. Sources: the blog of SUSE's packager of these drivers.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# GENERATION is SUSE's name of a group of branches (G06: up to 580, G07: from 590), KIND signed or dkms.
EC_SUSE_VERSION='' EC_SUSE_PACKAGES=()

# Flavours of the kernels that can boot: default, 64kb, azure, longterm.
ec_suse_flavours() { ec_all_kernels | sed 's/.*-//' | sort -u; }

# Those without which the machine would come up without a GPU.
ec_suse_needed_flavours() { ec_needed_kernels | sed 's/.*-//' | sort -u; }

# ec_suse_module GENERATION KIND: the module's package, without the kernel's flavour.
ec_suse_module() {
  case $2 in
    signed) printf 'nvidia-open-driver-%s-signed-cuda-kmp\n' "$1" ;;
    dkms) printf 'nvidia-driver-%s\n' "$1" ;;
  esac
}

# ec_suse_modules_wanted GENERATION KIND: for each flavour that needs one.
ec_suse_modules_wanted() {
  local flavour module
  module=$(ec_suse_module "$1" "$2")
  if [[ $2 == dkms ]]; then
    printf '%s\n' "$module"
    return 0
  fi
  while IFS= read -r flavour; do printf '%s-%s\n' "$module" "$flavour"; done < <(ec_suse_needed_flavours)
}

# ec_suse_choose GENERATION BRANCH KIND: the newest version of the branch in which the module and the libraries both
# exist, and the packages that bring it. SUSE's module comes later than NVIDIA's libraries, so the newest of each differ.
ec_suse_choose() {
  local name flavour edition common='' first=1 libraries=("nvidia-compute-utils-$1" nvidia-persistenced)
  EC_SUSE_VERSION='' EC_SUSE_PACKAGES=()
  while IFS= read -r name; do
    if ((first)); then
      common=$(ec_zypper_of_branch "$name" "$2")
      first=0
    else
      common=$(comm -12 <(printf '%s\n' "$common") <(ec_zypper_of_branch "$name" "$2"))
    fi
  done < <(
    ec_suse_modules_wanted "$1" "$3"
    printf '%s\n' "${libraries[@]}"
  )
  EC_SUSE_VERSION=$(printf '%s\n' "$common" | sort -V | tail -n 1)
  if [[ -z $EC_SUSE_VERSION ]]; then return 1; fi
  if [[ $3 == dkms ]]; then
    EC_SUSE_PACKAGES+=("$(ec_suse_module "$1" dkms)=$EC_SUSE_VERSION")
  else
    while IFS= read -r flavour; do
      name=$(ec_suse_module "$1" signed)-$flavour
      edition=$(ec_zypper_editions "$name" | grep -e "^${EC_SUSE_VERSION//./\\.}[_-]" | sort -V | tail -n 1) || edition=''
      if [[ -n $edition ]]; then EC_SUSE_PACKAGES+=("$name=$edition"); fi
    done < <(ec_suse_flavours)
  fi
  for name in "${libraries[@]}"; do EC_SUSE_PACKAGES+=("$name=$EC_SUSE_VERSION"); done
  name=nvidia-video-$1
  if ec_desktop && ec_zypper_of_branch "$name" "$2" | grep -Fxq -- "$EC_SUSE_VERSION"; then
    EC_SUSE_PACKAGES+=("$name=$EC_SUSE_VERSION")
  fi
}

# ec_suse_expect GENERATION BRANCH KIND: asked before anything is installed.
ec_suse_expect() {
  local name names=()
  while IFS= read -r name; do names+=("$name"); done < <(ec_suse_modules_wanted "$1" "$3")
  names+=("nvidia-compute-utils-$1" nvidia-persistenced)
  for name in "${names[@]}"; do
    if ec_zypper_locked "$name"; then
      ec_refuse "$name is locked, so zypper cannot install it: sudo zypper removelock $name, then run this script again"
    fi
  done
  if ec_suse_choose "$1" "$2" "$3"; then
    ec_log "zypper has driver $EC_SUSE_VERSION: ${EC_SUSE_PACKAGES[*]}"
  elif ((EC_DRY_RUN)); then
    ec_log "  asked when the repositories are there: ${names[*]} of one version of branch $2"
  else
    ec_packages_expect "$2" "${names[@]}"
    ec_refuse "module and libraries of branch $2 are here in no common version (zypper search --details ${names[*]}): the one waits for the other. Try again later, or make a plan with another --driver-branch"
  fi
}

# ec_suse_strangers GENERATION KIND: installed parts of a driver that cannot stay beside this one.
ec_suse_strangers() {
  local name module
  module=$(ec_suse_module "$1" "$2")
  while IFS= read -r name; do
    case $name in
      *container* | kernel-firmware-*) ;;
      "$module" | "$module"-*) ;;
      nvidia-*driver-G0[0-9]* | nvidia-*gfxG0[0-9]*) printf '%s\n' "$name" ;;
      *"$1"*) ;;
      *nvidia*G0[0-9]* | nv-prefer-signed-open-driver*) printf '%s\n' "$name" ;;
    esac
  done < <(rpm -qa --queryformat '%{NAME}\n' 2>/dev/null | sort -u)
}

# ec_suse_install GENERATION BRANCH KIND: one transaction, so that no state lies between the old driver and the new one.
ec_suse_install() {
  local name words=()
  if ! ec_suse_choose "$1" "$2" "$3"; then
    if ((EC_DRY_RUN)); then
      ec_show zypper install "$(ec_suse_module "$1" "$3")-FLAVOUR=VERSION" "nvidia-compute-utils-$1=VERSION" nvidia-persistenced=VERSION
      ec_log "VERSION is asked of the repositories when they are there: the newest of branch $2 of which all of these exist"
      return 0
    fi
    ec_die 11 "the repositories hold no whole driver of branch $2 any more: make a plan with another --driver-branch"
  fi
  while IFS= read -r name; do words+=("!$name"); done < <(ec_suse_strangers "$1" "$3")
  ec_packages_install "${EC_SUSE_PACKAGES[@]}" ${words[@]+"${words[@]}"}
}

# ec_suse_installed GENERATION BRANCH KIND: all of one version, of that branch, and no other driver beside it.
ec_suse_installed() {
  local name version versions=''
  while IFS= read -r name; do
    version=$(ec_rpm_version "$name")
    version=${version%%_k*}
    if [[ $version != "$2".* ]]; then return 1; fi
    versions+="$version"$'\n'
  done < <(
    ec_suse_modules_wanted "$1" "$3"
    printf '%s\n' "nvidia-compute-utils-$1" nvidia-persistenced
  )
  [[ $(printf '%s' "$versions" | sort -u | grep -c .) == 1 && -z $(ec_suse_strangers "$1" "$3") ]]
}

# --- after the installation ---

# SUSE builds a module for one kernel. On SLES and Leap it serves the later kernels of the service pack too (their
# interface is kept, the module is linked into them); on Tumbleweed it does not.
# ec_suse_next_has_module BRANCH FLAVOUR: for the kernel that boots next.
ec_suse_next_has_module() { ec_module_of "$(ec_kernels | tail -n 1)" "$1" "$2"; }

ec_suse_modules() {
  local kernel newest
  newest=$(ec_kernels | tail -n 1)
  while IFS= read -r kernel; do
    if ((EC_DRY_RUN)) || ec_module_of "$kernel" "$1" "$2"; then continue; fi
    if [[ $kernel == "$newest" ]]; then
      ec_die 11 "SUSE's module is installed and is not for kernel $kernel, the one that boots next: kernel and module in the repositories are of different days. Bring the system up to date (sudo zypper dup on Tumbleweed; your own decision), reboot, and run this script again"
    fi
    ec_log "kernel $kernel has no NVIDIA module; booted, it will have no NVIDIA driver"
  done < <(ec_all_kernels)
}

# ec_suse_hold_names GENERATION KIND: the parts of this driver that are installed.
ec_suse_hold_names() {
  local module
  module=$(ec_suse_module "$1" "$2")
  rpm -qa --queryformat '%{NAME}\n' 2>/dev/null | grep -E -e "^$module(-|\$)" -e "^nvidia-[a-z-]+-$1\$" \
    -e '^nvidia-(persistenced|modprobe)$' -e '^libnvidia-(ml|cfg|gpucomp|nscq)$' -e '^libnvsdm$' | grep -v container | sort -u || true
}

# NVIDIA's repository gets new libraries before SUSE has their module: the next update would part the two.
ec_suse_hold() {
  local name names=()
  while IFS= read -r name; do names+=("$name"); done < <(ec_suse_hold_names "$1" "$2")
  if ((${#names[@]})); then ec_zypper_lock "${names[@]}"; fi
}

ec_suse_held() {
  local name seen=0
  while IFS= read -r name; do
    if ! ec_zypper_locked "$name"; then return 1; fi
    seen=1
  done < <(ec_suse_hold_names "$1" "$2")
  ((seen))
}

# A root that is mounted read-only (a snapshot that was booted, a transactional server) forgets what zypper does to it.
# ec_suse_preflight BRANCH FLAVOUR KIND MOK-CERTIFICATE [URL]
ec_suse_preflight() {
  EC_ZYPPER_URL=${5:-}
  if grep -Eqs '^[^ ]+ / [^ ]+ ([^ ]*,)?ro[, ]' "$EC_SYSROOT/proc/mounts"; then
    ec_refuse "the root file system is read-only here: a booted snapshot (go back with sudo snapper rollback, then reboot) or a transactional server (its way is sudo transactional-update pkg install). zypper cannot change it"
  fi
  ec_driver_preflight "$1" "$2" "$3" "$4"
}

# --- locks ---

ec_zypper_locked() {
  local name
  for name in "$@"; do
    if ! grep -qsx "solvable_name: $name" "$EC_SYSROOT/etc/zypp/locks"; then return 1; fi
  done
}

# ec_zypper_lock PACKAGE...: those that are not locked yet.
ec_zypper_lock() {
  local name words=()
  for name in "$@"; do
    if ec_zypper_locked "$name"; then continue; fi
    ec_state_add "lock $EC_ID $name"
    words+=("$name")
  done
  if ((${#words[@]})); then ec_zypper addlock "${words[@]}"; fi
}

# A lock would keep zypper from taking an installed package away, so those come later.
ec_zypper_lock_absent() {
  local name words=()
  for name in "$@"; do
    if ! ec_packages_installed "$name"; then words+=("$name"); fi
  done
  if ((${#words[@]})); then ec_zypper_lock "${words[@]}"; fi
}

ec_zypper_absent_locked() {
  local name
  for name in "$@"; do
    if ! ec_packages_installed "$name" && ! ec_zypper_locked "$name"; then return 1; fi
  done
}

# ec_undo_zypper_lock STEP
ec_undo_zypper_lock() {
  local line words=()
  while IFS= read -r line; do
    if [[ $line == "$1 "* ]] && ec_zypper_locked "${line#* }"; then words+=("${line#* }"); fi
  done < <(ec_state_values lock)
  if ((${#words[@]})); then ec_zypper removelock "${words[@]}"; fi
}
