# shellcheck shell=bash
# What the steps of Arch Linux call: driver.sh's interface of package managers on pacman, and which of Arch's packages
# make the driver. Never: pacman -Sy with a package (a partial upgrade), pacman -Syu (the user's own decision), the AUR.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# Seconds that pacman's lock is waited for.
EC_PACMAN_WAIT=300

ec_packages_hint() { printf 'sudo pacman -S --needed %s\n' "$*"; }

ec_owned_by_package() { pacman -Qo "$1" >/dev/null 2>&1; }

# ec_packages_installed PACKAGE...
ec_packages_installed() { pacman -Q "$@" >/dev/null 2>&1; }

ec_packages_offered() { pacman -Si "$1" >/dev/null 2>&1; }

# The driver version that the lists have: 1:615.71.09-3 is 615.71.09.
ec_pacman_offered() {
  LC_ALL=C pacman -Si "$1" 2>/dev/null | sed -n 's/^Version *: *//p' | head -n 1 | sed 's/^[0-9]*://; s/-[^-]*$//'
}

# ec_packages_expect BRANCH PACKAGE...: a rolling system has one branch, and it moves on.
ec_packages_expect() {
  local branch=$1 name version versions=''
  shift
  for name in "$@"; do
    version=$(ec_pacman_offered "$name")
    if [[ $version != "$branch".* ]]; then
      ec_refuse "pacman's lists have $name ${version:-(nothing)} here, and the plan needs branch $branch. If the lists are old: bring the system up to date with sudo pacman -Syu, which upgrades everything and is your own decision, reboot, then run this script again. If they are newer than the plan: sudo pacman -S $*, reboot, then envcheck plan, which keeps a driver that serves"
    fi
    versions+="$version"$'\n'
  done
  if [[ $(printf '%s' "$versions" | sort -u | grep -c .) -gt 1 ]]; then
    ec_refuse "pacman's lists have $* in different versions: the mirror is in the middle of an update. Try again later"
  fi
}

# ec_module_packages FLAVOUR: for the state that a run finds.
ec_module_packages() {
  local name
  for name in nvidia-open nvidia-open-lts nvidia-open-dkms nvidia nvidia-lts nvidia-dkms nvidia-580xx-dkms; do
    case $1-$name in
      open-nvidia-open* | proprietary-nvidia | proprietary-nvidia-[ld5]*)
        if ec_packages_installed "$name"; then printf '%s\n' "$name"; fi
        ;;
    esac
  done
}

# --- running pacman ---

ec_pacman_wait() {
  local waited=0 lock=$EC_SYSROOT/var/lib/pacman/db.lck
  if ((EC_DRY_RUN)); then return 0; fi
  while [[ -e $lock ]]; do
    if ((waited >= EC_PACMAN_WAIT)); then
      ec_die 11 "pacman is locked ($lock) for $EC_PACMAN_WAIT seconds: let the other program end; where there is none, a broken run left the file, and it is yours to remove"
    fi
    if ((!waited)); then ec_log "pacman is busy: waiting for it"; fi
    sleep 1
    waited=$((waited + 1))
  done
}

# Arch supports whole systems only: packages of newer lists beside older ones of the system may not work together.
ec_pacman_whole() {
  local behind
  if [[ -z $(ec_pacman_offered pacman) ]]; then
    ec_refuse "pacman has no package lists here: sudo pacman -Syu, which upgrades everything and is your own decision, reboot, then run this script again"
    return 0
  fi
  behind=$(LC_ALL=C pacman -Qu 2>/dev/null | grep -v '\[ignored\]$' | sed 's/ .*//' | tr '\n' ' ') || behind=''
  if [[ -n $behind ]]; then
    ec_refuse "the lists are newer than this system ($(printf '%s' "$behind" | wc -w | tr -d ' ') packages, such as ${behind%% *}): an installation now would be a partial upgrade, which Arch does not support. sudo pacman -Syu upgrades everything and is your own decision; then reboot and run this script again"
  fi
}

# ec_packages_record COMMAND...: what pacman would add, for undo. It takes nothing away by itself: a conflict stops it.
ec_packages_record() {
  local word name plan names=()
  if [[ $1 != pacman || ${2:-} != -S || $EC_DRY_RUN == 1 ]]; then return 0; fi
  shift 2
  for word in "$@"; do
    if [[ $word != -* ]]; then names+=("$word"); fi
  done
  plan=$(LC_ALL=C pacman -S --print --print-format %n --needed "${names[@]}" </dev/null) ||
    ec_die 1 "pacman cannot resolve this: pacman -S ${names[*]}"
  while IFS= read -r name; do
    if [[ -n $name ]] && ! ec_packages_installed "$name"; then ec_state_add "package $EC_ID $name"; fi
  done <<<"$plan"
}

# ec_packages_install PACKAGE...
ec_packages_install() {
  if ((!$#)); then return 0; fi
  ec_pacman_wait
  ec_packages_record pacman -S --noconfirm --needed "$@"
  ec_root pacman -S --noconfirm --needed "$@"
}

# ec_packages_drop PACKAGE...: pacman itself refuses where something else needs one of them.
ec_packages_drop() {
  local name
  if ((!$#)); then return 0; fi
  ec_pacman_wait
  for name in "$@"; do ec_state_add "removed $EC_ID $name"; done
  ec_root pacman -R --noconfirm "$@"
}

# 1:615.71.09-3 is 615.71.09.
ec_packages_version() {
  if ec_packages_installed "$1"; then pacman -Q "$1" | sed 's/^[^ ]* //; s/^[0-9]*://; s/-[^-]*$//'; fi
}

# The lists have one version alone.
ec_packages_exact() {
  if [[ -n $2 && $(ec_pacman_offered "$1") == "$2" ]]; then printf '%s\n' "$1"; fi
}

# ec_undo_packages STEP...: takes away what those steps added, brings back what they took away, and nothing else.
ec_undo_packages() {
  local step line gone=() back=()
  for step in "$@"; do
    while IFS= read -r line; do
      if [[ $line == "$step "* ]] && ec_packages_installed "${line#* }"; then gone+=("${line#* }"); fi
    done < <(ec_state_values package)
    while IFS= read -r line; do
      if [[ $line == "$step "* ]] && ! ec_packages_installed "${line#* }"; then back+=("${line#* }"); fi
    done < <(ec_state_values removed)
  done
  ec_pacman_wait
  if ((${#gone[@]})); then
    if ! pacman -R --print "${gone[@]}" >/dev/null 2>&1 </dev/null; then
      ec_log "  something that was not installed by this script needs ${gone[*]}: everything stays. Remove it first"
      return 1
    fi
    ec_root pacman -R --noconfirm "${gone[@]}"
  fi
  if ((${#back[@]})); then ec_root pacman -S --noconfirm --needed "${back[@]}"; fi
}

# --- kernels and which driver packages they want ---

# PACKAGE KERNEL for each kernel that can boot: linux 7.2.6-arch2-1.
ec_arch_kernels() {
  local kernel base
  while IFS= read -r kernel; do
    base=$(cat "$EC_SYSROOT/lib/modules/$kernel/pkgbase" 2>/dev/null) || base=''
    if [[ $base =~ ^[a-z0-9@._+-]+$ ]]; then printf '%s %s\n' "$base" "$kernel"; fi
  done < <(ec_kernels)
}

# Arch builds the module for linux and linux-lts. For any other kernel all of them get one of DKMS: the two cannot be
# installed beside each other.
ec_arch_modules() {
  local base kernel found=()
  if ec_packages_installed nvidia-open-dkms; then
    printf 'nvidia-open-dkms\n'
    return 0
  fi
  while IFS=' ' read -r base kernel; do
    case $base in
      linux) found+=(nvidia-open) ;;
      linux-lts) found+=(nvidia-open-lts) ;;
      *) found=(nvidia-open-dkms) && break ;;
    esac
  done < <(ec_arch_kernels)
  if ((!${#found[@]})); then found=(nvidia-open-dkms); fi
  printf '%s\n' "${found[@]}" | sort -u
}

ec_arch_dkms() { [[ $(ec_arch_modules) == nvidia-open-dkms ]]; }

# ec_kernel_headers: for every kernel that can boot, where a module is built here.
ec_kernel_headers() {
  local base kernel wanted=()
  if ! ec_arch_dkms; then return 0; fi
  while IFS=' ' read -r base kernel; do
    if ec_packages_installed "$base-headers"; then continue; fi
    if ec_packages_offered "$base-headers"; then
      wanted+=("$base-headers")
    elif ec_needed_kernels | grep -Fxq -- "$kernel"; then
      ec_refuse "pacman's lists have no $base-headers, so no module can be built for kernel $kernel. Install them from where this kernel came from, or boot a kernel of the distribution"
    else
      ec_log "kernel $kernel has no headers here: booted, it will have no NVIDIA driver"
    fi
  done < <(ec_arch_kernels)
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

ec_have_kernel_headers() {
  local base kernel
  if ! ec_arch_dkms; then return 0; fi
  while IFS=' ' read -r base kernel; do
    if ec_needed_kernels | grep -Fxq -- "$kernel" && ! ec_packages_installed "$base-headers"; then return 1; fi
  done < <(ec_arch_kernels)
}

# --- the driver ---

ec_arch_preflight() {
  local running
  running=$(uname -r)
  if [[ ! -d $EC_SYSROOT/lib/modules/$running ]]; then
    ec_log "the kernel that runs ($running) was replaced by an update and its modules are gone: reboot, then run this script again"
    if ((!EC_DRY_RUN)); then
      EC_NOW=''
      exit 10
    fi
  fi
  # Arch's kernel takes unsigned modules under Secure Boot too, unless it was told otherwise.
  if grep -qs -e '\[integrity\]' -e '\[confidentiality\]' "$EC_SYSROOT/sys/kernel/security/lockdown" ||
    grep -qsx Y "$EC_SYSROOT/sys/module/module/parameters/sig_enforce"; then
    ec_refuse "this kernel is locked down and takes signed modules only, and Arch does not sign NVIDIA's: take lockdown= or module.sig_enforce from its command line, or sign the modules yourself"
  fi
  ec_pacman_wait
  ec_pacman_whole
  ec_driver_preflight "$@"
}

# Module packages that cannot stay beside those that are wanted.
ec_arch_strangers() {
  local name wanted
  wanted=$(ec_arch_modules)
  for name in nvidia nvidia-lts nvidia-dkms nvidia-open nvidia-open-lts; do
    if ! grep -Fxq -- "$name" <<<"$wanted" && ec_packages_installed "$name"; then printf '%s\n' "$name"; fi
  done
}

# What no archive of pacman's could bring back: a person built it.
ec_arch_foreign() { LC_ALL=C pacman -Qqm 2>/dev/null | grep -e '^nvidia-' -e '^lib32-nvidia-' | tr '\n' ' ' || true; }

# ec_arch_expect BRANCH: asked before anything is installed.
ec_arch_expect() {
  local name names=() foreign
  foreign=$(ec_arch_foreign)
  if [[ -n $foreign ]]; then
    ec_refuse "packages from outside of pacman's archives are part of the driver here (${foreign% }): remove them yourself (sudo pacman -R ${foreign% }), then run this script again"
  fi
  while IFS= read -r name; do names+=("$name"); done < <(ec_arch_modules)
  ec_packages_expect "$1" "${names[@]}" nvidia-utils
}

# ec_arch_install: module and libraries in one transaction; each depends on the other's exact version.
ec_arch_install() {
  local name names=() old=()
  while IFS= read -r name; do names+=("$name"); done < <(ec_arch_modules)
  while IFS= read -r name; do old+=("$name"); done < <(ec_arch_strangers)
  ec_packages_drop ${old[@]+"${old[@]}"}
  ec_packages_install "${names[@]}" nvidia-utils
}

# ec_arch_installed BRANCH
ec_arch_installed() {
  local name version
  while IFS= read -r name; do
    version=$(pacman -Q "$name" 2>/dev/null | sed 's/^[^ ]* //; s/^[0-9]*://') || return 1
    if [[ $version != "$1".* ]]; then return 1; fi
  done < <(
    ec_arch_modules
    printf 'nvidia-utils\n'
  )
  [[ -z $(ec_arch_strangers) ]]
}

# ec_arch_build BRANCH FLAVOUR: pacman's hook builds where there are headers; a prebuilt module is there or is not.
ec_arch_build() {
  if ec_arch_dkms; then
    ec_build_modules "$@"
  elif ((!EC_DRY_RUN)) && ! ec_modules_built "$@"; then
    ec_die 11 "Arch's module is installed and is not for the kernels that are installed: lists and system are of different days. sudo pacman -Syu upgrades everything and is your own decision; then reboot and run this script again"
  fi
}

# nvidia-utils brings the display half too.
ec_desktop() { return 1; }
