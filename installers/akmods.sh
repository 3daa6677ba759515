# shellcheck shell=bash
# Fedora: NVIDIA's repository, or RPM Fusion where the machine takes its packages from there already; never both.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

EC_NAMES=()
EC_AKMODS_KEY=/etc/pki/akmods/certs/public_key.der

# rpmfusion or nvidia. Fedora's own package of third-party entries has one for RPM Fusion's driver too, disabled.
ec_fedora_source() {
  local file
  for file in "$EC_SYSROOT"/etc/yum.repos.d/rpmfusion-nonfree.repo "$EC_SYSROOT"/etc/yum.repos.d/rpmfusion-nonfree-updates.repo \
    "$EC_SYSROOT"/etc/yum.repos.d/rpmfusion-nonfree-nvidia-driver.repo; do
    if grep -Eqs '^[[:space:]]*enabled[[:space:]]*=[[:space:]]*(1|yes|true)' "$file"; then
      printf 'rpmfusion\n'
      return 0
    fi
  done
  printf 'nvidia\n'
}

# ec_fedora_preflight BRANCH FLAVOUR
ec_fedora_preflight() {
  local source key=/var/lib/dkms/mok.pub
  source=$(ec_fedora_source)
  if [[ $source == rpmfusion ]]; then key=$EC_AKMODS_KEY; fi
  ec_log "the driver comes from $source"
  ec_driver_preflight "$1" "$2" dkms "$key"
  ec_one_source "$source"
}

# ec_if_nvidia FUNCTION...: a step that NVIDIA's repository alone needs.
ec_if_nvidia() { [[ $(ec_fedora_source) == rpmfusion ]] || "$@"; }

# ec_fedora_packages BRANCH FLAVOUR [display]: one a line. RPM Fusion keeps older branches under names of their own.
ec_fedora_packages() {
  local kmod=kmod-nvidia-latest-dkms suffix=''
  if [[ $(ec_fedora_source) == nvidia ]]; then
    if [[ $2 == open ]]; then kmod='kmod-nvidia-open-dkms'; fi
    printf '%s\n' nvidia-driver-cuda "$kmod" ${3:+nvidia-driver}
    return 0
  fi
  if ec_packages_installed "akmod-nvidia-$1xx" || ec_packages_offered "akmod-nvidia-$1xx"; then suffix=-$1xx; fi
  printf '%s\n' "akmod-nvidia$suffix" "xorg-x11-drv-nvidia$suffix-cuda" ${3:+"xorg-x11-drv-nvidia$suffix"}
}

ec_fedora_names() {
  local name
  EC_NAMES=()
  while IFS= read -r name; do EC_NAMES+=("$name"); done < <(ec_fedora_packages "$@")
}

ec_fedora_kmod() { ec_fedora_packages "$1" "$2" | grep kmod; }

# ec_fedora_expect BRANCH FLAVOUR
ec_fedora_expect() {
  if ((EC_DRY_RUN)); then return 0; fi
  ec_fedora_names "$1" "$2"
  ec_packages_expect "$1" "${EC_NAMES[@]}"
}

# ec_fedora_clear and ec_fedora_clean BRANCH FLAVOUR
ec_fedora_clear() { ec_driver_clear "$1" "$(ec_fedora_kmod "$1" "$2")"; }
ec_fedora_clean() { ec_driver_clean "$1" "$(ec_fedora_kmod "$1" "$2")"; }

# ec_fedora_install BRANCH FLAVOUR [display]. RPM Fusion's akmod builds the open flavour where this macro says so.
ec_fedora_install() {
  if [[ $(ec_fedora_source) == rpmfusion && $2 == open ]] && ! grep -qs '_with_kmod_nvidia_open' "$EC_SYSROOT"/etc/rpm/macros*nvidia-kmod; then
    ec_root_file /etc/rpm/macros.envcheck-nvidia-kmod '%_with_kmod_nvidia_open 1'
  fi
  ec_fedora_names "$@"
  ec_packages_install "${EC_NAMES[@]}"
}

ec_fedora_installed() {
  ec_fedora_names "$@"
  ec_dnf_branch "$1" "${EC_NAMES[@]}"
}

ec_fedora_display() { if ec_desktop; then ec_fedora_install "$1" "$2" display; fi; }
ec_fedora_display_done() { ! ec_desktop || ec_fedora_installed "$1" "$2" display; }

# ec_fedora_modules BRANCH FLAVOUR: akmods starts in the background when its package comes, and takes minutes.
ec_fedora_modules() {
  local kernel
  if [[ $(ec_fedora_source) == nvidia ]]; then
    ec_build_modules "$1" "$2"
    return 0
  fi
  ec_wait_akmods
  while IFS= read -r kernel; do
    if ! ec_module_of "$kernel" "$1" "$2"; then ec_root timeout -k 60 1800 akmods --force --kernels "$kernel"; fi
  done < <(ec_kernels_with_headers)
}

# ec_undo_modules: what akmods built from a package that this script brought; no other package names it.
ec_undo_modules() {
  local line name version gone=()
  while IFS= read -r line; do
    if [[ $line != *" akmod-nvidia"* ]]; then continue; fi
    line=${line#* a} line=${line%-*-*}
    while IFS=' ' read -r name version; do
      if [[ $name == "$line"-[0-9]*.[0-9]* ]]; then gone+=("$name-$version"); fi
    done < <(ec_rpms)
  done < <(ec_state_values package)
  if ((${#gone[@]})); then ec_dnf_remove "${gone[@]}"; fi
}

# Half an hour at most: builds take five to fifteen minutes.
ec_wait_akmods() {
  local waited=0
  if ((EC_DRY_RUN)); then return 0; fi
  while grep -qsx 'akmods\|akmodsbuild' "$EC_SYSROOT"/proc/[0-9]*/comm; do
    if ((!waited)); then ec_log "akmods builds the module in the background: waiting"; fi
    if ((waited >= 1800)); then ec_die 1 "akmods has been building for half an hour: look at /var/cache/akmods, then run this script again"; fi
    sleep 30
    waited=$((waited + 30))
  done
}
