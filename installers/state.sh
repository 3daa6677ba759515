# shellcheck shell=bash
# Whose the driver of this machine is, and in what state: asked before anything changes. Read before driver.sh.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# A package manager's part that can do these takes the place of them:
#   ec_module_packages FLAVOUR      installed packages that bring a kernel module of this flavour
#   ec_packages_drop NAME...        takes these away, recorded like an installation
#   ec_packages_version NAME        the installed upstream version, empty for none
#   ec_packages_exact NAME VERSION  how to name this package in exactly that upstream version, empty where it is not offered
ec_module_packages() { :; }
ec_packages_drop() { ec_refuse "these must go first, by hand: $*"; }
ec_packages_version() { :; }
ec_packages_exact() { :; }

# Who else brings the driver of this machine, and how it is changed there; nothing where it is the machine's own.
# Marks: shared images of the clouds say so by a folder, agents by their state; DMI alone tells the cloud, not the owner.
ec_driver_owner() {
  local top=$EC_SYSROOT
  if [[ -e $top/etc/nv_tegra_release ]] || grep -aqs 'nvidia,tegra' "$top/proc/device-tree/compatible"; then
    printf 'this is a Jetson: its driver is part of L4T, and JetPack brings another one\n'
  elif [[ -e $top/etc/dgx-release ]]; then
    printf "this is DGX OS: NVIDIA's own repositories bring its driver, its kernel and its fabric manager together (its user guide names the upgrade)\n"
  elif [[ -e $top/run/ostree-booted ]]; then
    printf 'this system is an image (ostree): its driver is layered or comes with another image\n'
  elif [[ -d $top/opt/aws/dlami ]]; then
    printf 'this is an AWS Deep Learning AMI: its image owns the driver, a newer AMI has a newer one\n'
  elif [[ -e $top/opt/deeplearning/driver-version.sh ]]; then
    printf 'this is a Google Deep Learning VM: /opt/deeplearning/install-driver.sh brings its driver\n'
  elif [[ -d $top/opt/google/cuda-installer ]]; then
    printf "the driver here is that of Google's cuda_installer (/opt/google/cuda-installer): run it again for another branch\n"
  elif ec_azure_extension; then
    printf 'the NVIDIA GPU Driver Extension of Azure owns the driver here: change it there, or remove the extension first\n'
  elif ec_vgpu_guest; then
    printf 'this is a guest with a vGPU: its GRID driver comes from whoever runs the host, and no other one works here\n'
  else
    ec_image_system
  fi
}

ec_image_system() {
  case $(ec_os_release ID) in
    cos) printf "this is Google's Container-Optimized OS: sudo cos-extensions install gpu\n" ;;
    bottlerocket | flatcar | talos)
      printf 'this system is an image: its driver comes with the image or with its own extensions\n'
      ;;
  esac
}

# The agent's folder is root's alone, so root is asked where this run may ask for it.
ec_azure_extension() {
  local agent=$EC_SYSROOT/var/lib/waagent
  if [[ ! -d $agent ]] || ((EUID != 0 && EC_DRY_RUN)); then return 1; fi
  [[ -n $(ec_root_quietly find "$agent" -maxdepth 1 -iname 'Microsoft.HpcCompute.NvidiaGpuDriverLinux*' 2>/dev/null) ]]
}

# The GRID driver leaves its licence client; a driver that runs says it itself.
ec_vgpu_guest() {
  if [[ -e $EC_SYSROOT/etc/nvidia/gridd.conf || -x $EC_SYSROOT/usr/bin/nvidia-gridd ]]; then return 0; fi
  ec_nvidia_smi -q | grep -Eq 'Virtualization Mode +: +VGPU'
}

# A driver of NVIDIA's .run file: its uninstaller is there and no package's.
ec_unmanaged_driver() {
  local tool
  for tool in nvidia-uninstall nvidia-installer; do
    if [[ -x $EC_SYSROOT/usr/bin/$tool ]] && ! ec_owned_by_package "/usr/bin/$tool"; then return 0; fi
  done
  return 1
}

# ec_driver_state BRANCH FLAVOUR: in-force, unmanaged, mixed, broken, reboot-pending, managed or missing.
ec_driver_state() {
  local open proprietary
  if ec_driver_ready "$1" "$2"; then
    printf 'in-force\n'
    return 0
  fi
  open=$(ec_module_packages open) proprietary=$(ec_module_packages proprietary)
  if ec_unmanaged_driver; then
    printf 'unmanaged\n'
  elif [[ -n $open && -n $proprietary ]]; then
    printf 'mixed\n'
  elif [[ -z $open$proprietary ]]; then
    printf 'missing\n'
  elif [[ -z $(ec_module_files "$(uname -r)") ]]; then
    printf 'broken\n'
  elif ec_modules_built "$1" "$2"; then
    printf 'reboot-pending\n'
  else
    printf 'managed\n'
  fi
}

# --- one flavour of the kernel module ---

ec_other_flavour() { if [[ $1 == open ]]; then printf 'proprietary\n'; else printf 'open\n'; fi; }

# ec_one_flavour FLAVOUR: nothing of the other flavour is installed. Both together leave it to chance which one loads.
ec_one_flavour() { [[ -z $(ec_module_packages "$(ec_other_flavour "$1")") ]]; }

ec_drop_other_flavour() {
  local name names=()
  while IFS= read -r name; do
    if [[ -n $name ]]; then names+=("$name"); fi
  done < <(ec_module_packages "$(ec_other_flavour "$1")")
  if ((${#names[@]})); then ec_packages_drop "${names[@]}"; fi
}

# --- services ---

ec_service_there() { ec_have_command systemctl && systemctl cat -- "$1" >/dev/null 2>&1; }

# ec_service_serves NAME: there, and on.
ec_service_serves() { ec_service_there "$1" && ec_service_is_on "$1"; }

# ec_service_is_on NAME: starts with every boot, and runs where the driver does. No unit of that name: nothing to start.
ec_service_is_on() {
  if ! ec_service_there "$1"; then return 0; fi
  systemctl is-enabled --quiet -- "$1" || return 1
  [[ ! -e $EC_SYSROOT/sys/module/nvidia/version ]] || systemctl is-active --quiet -- "$1"
}

ec_service_on() {
  if ! systemctl is-enabled --quiet -- "$1"; then
    ec_state_add "service $1"
    ec_root systemctl enable -- "$1"
  fi
  if [[ -e $EC_SYSROOT/sys/module/nvidia/version ]]; then ec_root systemctl start -- "$1"; fi
}

# ec_undo_service NAME: only if this script enabled it.
ec_undo_service() {
  if ec_state_has "service $1" && ec_service_there "$1"; then ec_root systemctl disable --now -- "$1"; fi
}

# --- fabric manager ---

# ec_load_with_boot PATH MODULE: now too, so that what needs it can start without a reboot.
ec_load_with_boot() {
  ec_root_file "$1" "$2"
  ec_root modprobe "$2" || ec_log "  $2 cannot be loaded now (a cloud's small kernel has it in linux-modules-extra): the fabric manager will wait for it"
}

# ec_fabric_version DRIVER-PACKAGE: the version that it must have; "loaded": that of the driver which runs.
ec_fabric_version() {
  if [[ $1 == loaded ]]; then
    cat "$EC_SYSROOT/sys/module/nvidia/version" 2>/dev/null || true
  else
    ec_packages_version "$1"
  fi
}

# ec_fabric_is_exact DRIVER-PACKAGE NAME...: is the fabric manager, by whichever of its names, of the driver's version?
ec_fabric_is_exact() {
  local version name
  version=$(ec_fabric_version "$1")
  shift
  for name in "$@"; do
    if [[ -n $version && $(ec_packages_version "$name") == "$version" ]]; then return 0; fi
  done
  return 1
}

# ec_fabric_install DRIVER-PACKAGE NAME...: of exactly the driver's version, or none: with another one CUDA does not start
# (error 802, while nvidia-smi looks healthy).
ec_fabric_install() {
  local version name exact
  version=$(ec_fabric_version "$1")
  if ((EC_DRY_RUN)) && [[ -z $version ]]; then
    ec_log "  the fabric manager ($2) of the driver's own version would be installed"
    return 0
  fi
  shift
  for name in "$@"; do
    exact=$(ec_packages_exact "$name" "$version")
    if [[ -n $exact ]]; then
      ec_packages_install "$exact"
      return 0
    fi
  done
  ec_refuse "the archives have no fabric manager ($*) of the driver's version ${version:-(unknown)}, and one of another version does not start. The driver is in; without it CUDA fails with error 802 on this machine"
}
