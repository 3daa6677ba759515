# shellcheck shell=bash
# What the driver steps of every Linux system call: state before action, kernels, Secure Boot, nouveau, activation.
#
# One package manager's part (apt.sh, dnf.sh with rpm.sh, ...) follows this one and has, under the same names:
#   ec_owned_by_package PATH        does a package own this file?
#   ec_packages_installed NAME...   are these all installed? (a check of steps)
#   ec_packages_offered NAME        would the archives give it?
#   ec_packages_expect BRANCH NAME...  would they give that branch? Else stop, before anything is installed
#   ec_packages_install NAME...     for functions whose list only the machine knows; records, then installs
#   ec_packages_record COMMAND...   before a step's command runs as root: refuse what must not happen, and write down
#                                   "package STEP NAME" and "removed STEP NAME=VERSION" for what it will add and take
#   ec_packages_settle              optional: called after such a command, whether it ended well or not
#   ec_packages_failed CODE COMMAND...  optional: did the command do its work all the same? Else return CODE
#   ec_undo_packages STEP...        takes away what those steps added, brings back what they took, nothing else (apt also:
#                                   puts back parts of a driver that they upgraded, where the older version can be had)
#   ec_packages_hint NAME...        the command by which a person installs these
#   ec_kernel_headers, ec_have_kernel_headers   for every kernel that can boot
#   ec_desktop                      is there a graphical session that needs the driver's display half?
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# ec_any_installed NAME...: is one of these packages?
ec_any_installed() {
  local name
  for name in "$@"; do
    if ec_packages_installed "$name"; then return 0; fi
  done
  return 1
}

# ec_driver_ready BRANCH FLAVOUR: is a driver of this branch and module flavour (open, proprietary) loaded?
ec_driver_ready() {
  local here
  here=$(cat "$EC_SYSROOT/sys/module/nvidia/version" 2>/dev/null) || return 1
  if [[ ${here%%.*} != "$1" ]]; then return 1; fi
  # The userspace must be there and agree: "API mismatch" after an update is cured by a reboot, not by a reinstallation.
  ec_nvidia_smi -L | grep -q UUID || return 1
  if [[ $2 == open ]]; then grep -qs 'Open Kernel Module' "$EC_SYSROOT/proc/driver/nvidia/version"; fi
}

# ec_ready_or BRANCH FLAVOUR CHECK...: done where the driver is in force already, else as the check says.
ec_ready_or() {
  if ec_driver_ready "$1" "$2"; then return 0; fi
  shift 2
  "$@"
}

# ec_driver_preflight BRANCH FLAVOUR signed|dkms MOK-CERTIFICATE: everything that must be known before a change.
ec_driver_preflight() {
  if ec_in_container; then
    ec_refuse "this is a container: the driver belongs to the host that runs it"
  elif ec_in_wsl; then
    ec_refuse "this is WSL: the driver is the one on Windows, none may be installed in here"
  fi
  ec_driver_is_ours
  ec_no_unmanaged_driver
  ec_no_gpu_processes
  if [[ $3 == dkms ]]; then ec_secure_boot_key "$4"; fi
  ec_log "found: driver $(ec_driver_version) ($(ec_driver_state "$1" "$2")), kernels $(ec_kernels | tr '\n' ' ')"
}

ec_driver_is_ours() {
  local owner
  owner=$(ec_driver_owner)
  if [[ -n $owner ]]; then ec_refuse "$owner. Nothing was changed; a plan that keeps the driver: envcheck plan --no-driver-change"; fi
}

# Like ec_die 11, but a dry run goes on.
ec_refuse() {
  if ((EC_DRY_RUN)); then ec_log "would stop with exit code 11: $*"; else ec_die 11 "$*"; fi
}

# A driver of NVIDIA's .run file and packages overwrite each other's files.
ec_no_unmanaged_driver() {
  if ec_unmanaged_driver; then
    ec_refuse "a driver of NVIDIA's .run installer is here, and packages must not be laid over it. Remove it first: sudo nvidia-uninstall --silent, reboot, then run this script again"
  fi
}

ec_no_gpu_processes() {
  local found
  found=$(ec_nvidia_smi --query-compute-apps=pid,process_name --format=csv,noheader) || found=''
  if [[ -n $found ]]; then
    ec_refuse "programs are using the GPU and would fail when the driver changes: $(printf '%s' "$found" | tr '\n' ';'). End them, then run this script again"
  fi
}

# --- kernels ---

# Every kernel that can boot, oldest first. RHEL's rescue kernel has no modules of its own and is none of them.
ec_kernels() {
  local place
  for place in "$EC_SYSROOT"/lib/modules/*; do
    if [[ -e $EC_SYSROOT/boot/vmlinuz-${place##*/} || -e $place/vmlinuz ]]; then printf '%s\n' "${place##*/}"; fi
  done | sort -V
}

# What the boot loader starts, where it says so: on Red Hat's family an older or another kernel may be the default.
ec_default_kernel() {
  local file
  if ! ec_have_command grubby; then return 0; fi
  file=$(grubby --default-kernel 2>/dev/null) || return 0
  file=${file##*/vmlinuz-}
  if [[ -n $file && -d $EC_SYSROOT/lib/modules/$file ]]; then printf '%s\n' "$file"; fi
}

# The kernels without which the machine would come up without a GPU: the running one, the newest and the default.
ec_needed_kernels() {
  {
    uname -r
    ec_kernels | tail -n 1
    ec_default_kernel
  } | sort -u
}

ec_all_kernels() {
  {
    ec_needed_kernels
    ec_kernels
  } | sort -u
}

# ec_module_of KERNEL BRANCH FLAVOUR: is a module of that branch and flavour there? Debian calls the file nvidia-current.
ec_module_of() {
  local file flavour found=1
  while IFS= read -r file; do
    if [[ $(modinfo -F version "$file" 2>/dev/null) != "$2".* ]]; then continue; fi
    flavour=open
    if [[ $(modinfo -F license "$file" 2>/dev/null) == NVIDIA ]]; then flavour=proprietary; fi
    if [[ $3 == "$flavour" ]]; then found=0; fi
  done < <(ec_module_files "$1")
  return "$found"
}

# ec_module_files KERNEL
ec_module_files() {
  find "$EC_SYSROOT/lib/modules/$1" \( -name 'nvidia.ko*' -o -name 'nvidia-current*.ko*' \) \
    ! -name '*-drm.ko*' ! -name '*-modeset.ko*' ! -name '*-uvm.ko*' ! -name '*-peermem.ko*' 2>/dev/null || true
}

# ec_modules_built BRANCH FLAVOUR: for every kernel that must have one, and every other that has its headers.
ec_modules_built() {
  local kernel seen=0
  while IFS= read -r kernel; do
    if ! ec_module_of "$kernel" "$1" "$2"; then return 1; fi
    seen=1
  done < <(ec_kernels_with_headers)
  ((seen))
}

ec_kernels_with_headers() {
  local kernel
  {
    ec_needed_kernels
    while IFS= read -r kernel; do
      if [[ -e $EC_SYSROOT/lib/modules/$kernel/build/Makefile ]]; then printf '%s\n' "$kernel"; fi
    done < <(ec_kernels)
  } | sort -u
}

# DKMS builds for the running kernel, and the reboot may start another one.
ec_build_modules() {
  local kernel
  while IFS= read -r kernel; do
    if ec_module_of "$kernel" "$1" "$2"; then continue; fi
    ec_root dkms autoinstall -k "$kernel" ||
      ec_die 1 "DKMS could not build the module for kernel $kernel (its log: /var/lib/dkms/nvidia*/*/build/make.log). A kernel newer than the driver is the usual cause: remove that kernel or boot and keep an older one, then run this script again"
  done < <(ec_kernels_with_headers)
}

# --- Secure Boot ---

# What a distribution's mokutil wants besides the certificate.
EC_MOK_OPTION=''

# The firmware's own variable: 4 bytes of attributes, then 1 where Secure Boot is in force. No variable: no Secure Boot.
ec_secure_boot() {
  local file=$EC_SYSROOT/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  [[ -r $file && $(od -An -t u1 -j 4 -N 1 "$file" | tr -d ' ') == 1 ]]
}

# ec_secure_boot_key CERTIFICATE: off and enrolled go on, queued wants a reboot, absent wants a person at the firmware's
# screen. A script cannot finish that, so it stops before it changes anything.
ec_secure_boot_key() {
  local key=$1 make tools=(mokutil openssl)
  if ! ec_secure_boot; then return 0; fi
  case $key in
    */shim-signed/*) make='sudo update-secureboot-policy --new-key' ;;
    */akmods/*) make='sudo kmodgenca -a' tools+=(akmods) ;;
    *) make='sudo dkms generate_mok' tools+=(dkms) ;;
  esac
  if [[ -e $EC_SYSROOT$key ]] && ec_have_command mokutil; then
    if LC_ALL=C mokutil --test-key "$EC_SYSROOT$key" 2>&1 | grep -q 'already enrolled'; then return 0; fi
    if LC_ALL=C mokutil --list-new 2>/dev/null | grep -q 'SHA1 Fingerprint\|Subject:'; then
      if ((EC_DRY_RUN)); then return 0; fi
      EC_NOW=''
      ec_log "Secure Boot is on and a key is waiting: reboot, choose \"Enroll MOK\" on the blue screen, type the password that was set at the import, then run this script again"
      exit 10
    fi
  fi
  ec_refuse "Secure Boot is on, this driver's module is built here, and its key is not enrolled: the kernel would refuse it. Nothing was changed. Do this once, with a screen at the machine: 1. $(ec_packages_hint "${tools[@]}"); 2. if $key is missing: $make; 3. sudo mokutil --import $key${EC_MOK_OPTION:+ $EC_MOK_OPTION} (set a password); 4. reboot, choose \"Enroll MOK\", type it; 5. run this script again. Or turn Secure Boot off in the firmware"
}

# --- files and downloads of root ---

# ec_root_file PATH LINE...: written once; a file that is there and reads otherwise stays, and the script stops.
ec_root_file() {
  local path=$1
  shift
  ec_log "+ write $path"
  if ((EC_DRY_RUN)) || ec_root_file_is "$path" "$@"; then return 0; fi
  if [[ -e $EC_SYSROOT$path ]]; then ec_die 11 "$path is there and holds something else: move it away, envcheck does not change it"; fi
  printf '%s\n' "$@" >"$EC_TMP/file"
  ec_state_add "file $(ec_sha256 "$EC_TMP/file") $path"
  ec_root_quietly install -D -m 0644 -- "$EC_TMP/file" "$EC_SYSROOT$path"
}

ec_root_file_is() {
  local path=$1
  shift
  ec_file_is "$EC_SYSROOT$path" "$@"
}

# ec_undo_file PATH: only if this script wrote it and nobody changed it since.
ec_undo_file() {
  local line sum=''
  while IFS= read -r line; do
    if [[ ${line#* } == "$1" ]]; then sum=${line%% *}; fi
  done < <(ec_state_values file)
  if [[ -z $sum || ! -f $EC_SYSROOT$1 ]]; then return 0; fi
  if [[ $(ec_sha256 "$EC_SYSROOT$1") != "$sum" ]]; then
    ec_log "  $1 was changed since, it stays"
    return 1
  fi
  # a package that came later may have brought the very same file
  if ec_owned_by_package "$1"; then return 0; fi
  ec_root rm -f -- "$EC_SYSROOT$1"
}

# ec_fetch URL SHA256 DESTINATION: into root's own directory, under its name only when the sum is right.
ec_fetch() {
  local url=$1 sum=$2 destination=$3 part=$3.part
  ec_download "$url" "$part"
  if ((EC_DRY_RUN)); then return 0; fi
  if [[ $(ec_sha256 "$part") != "$sum" ]]; then
    ec_root_quietly rm -f -- "$part"
    ec_die 1 "$url is not the file that was expected (SHA-256 differs from $sum). Nothing of it was used"
  fi
  ec_state_add "fetched $sum $destination"
  ec_root_quietly mv -- "$part" "$destination"
}

# ec_download URL FILE: https only. Whoever calls it checks what came.
ec_download() {
  local url=$1 part=$2
  if [[ $url != https://* ]]; then ec_die 11 "$url is not https"; fi
  if ((!EC_DRY_RUN)); then
    ec_state_root_dir
    ec_root_quietly mkdir -p -- "$(dirname -- "$part")"
  fi
  if ec_have_command curl; then
    ec_root curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --retry 3 --max-time 300 -o "$part" "$url"
  elif ec_have_command wget; then
    ec_root wget --https-only --quiet --tries=3 --timeout=60 -O "$part" "$url"
  else
    ec_root python3 -c 'import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as answer:
    data = answer.read()
if not answer.geturl().startswith("https://"):
    sys.exit("redirected away from https")
open(sys.argv[2], "wb").write(data)' "$url" "$part"
  fi
}

# ec_fetched SHA256 DESTINATION
ec_fetched() { [[ -f $2 && $(ec_sha256 "$2") == "$1" ]]; }

ec_undo_fetch() {
  if [[ -n $(ec_state_values fetched) && -f $1 ]]; then ec_root rm -f -- "$1"; fi
}

# --- nouveau ---

ec_nouveau_blocked() {
  grep -Eqs '^[[:space:]]*(blacklist|install)[[:space:]]+nouveau' "$EC_SYSROOT"/etc/modprobe.d/*.conf \
    "$EC_SYSROOT"/lib/modprobe.d/*.conf "$EC_SYSROOT"/usr/lib/modprobe.d/*.conf
}

# The packages blacklist nouveau; the initial ram disk must learn of it. /etc/default/grub is not touched.
ec_block_nouveau() {
  if ! ec_nouveau_blocked; then
    ec_root_file /etc/modprobe.d/envcheck-nouveau.conf 'blacklist nouveau' 'options nouveau modeset=0'
  fi
  ec_rebuild_initramfs
}

# For every kernel, by the tool that this system has.
ec_rebuild_initramfs() {
  if ec_have_command update-initramfs; then
    ec_root update-initramfs -u -k all
  elif ec_have_command mkinitcpio; then
    ec_root mkinitcpio -P
  elif ec_have_command reinstall-kernels; then
    # EndeavourOS: dracut's images have names of kernel-install there
    ec_root reinstall-kernels
  elif ec_have_command dracut; then
    ec_root dracut --force --regenerate-all
  else
    ec_log "no tool for initial ram disks is here: where this system has one, build it anew by hand"
  fi
}

ec_unblock_nouveau() {
  ec_undo_file /etc/modprobe.d/envcheck-nouveau.conf || return 1
  ec_rebuild_initramfs
}

# --- desktops ---

# A machine with a graphical session loses it where only the compute half of a driver is installed.
# ec_display_done PACKAGE...
ec_display_done() { ! ec_desktop || ec_packages_installed "$@"; }

ec_display_install() {
  if ec_desktop; then ec_packages_install "$@"; fi
}

# --- activation ---

# Where neither the old driver nor nouveau holds the card, the module can be loaded now and no reboot is needed.
ec_driver_activate() {
  if [[ ! -d $EC_SYSROOT/sys/module/nouveau && ! -d $EC_SYSROOT/sys/module/nvidia ]]; then
    ec_root modprobe nvidia || ec_log "the module does not load yet"
  else
    ec_log "another driver holds the card: the new one takes over with the next boot"
  fi
}
