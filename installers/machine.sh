# shellcheck shell=bash
# Is this the machine that the plan was made for? And the last stage, which proves the installation.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# ec_differs WHAT HERE PLANNED
ec_differs() {
  local text="this is not the machine that the plan was made for: $1 is ${2:-absent} here and ${3:-absent} in the plan. Make a plan here: envcheck plan"
  if ((EC_DRY_RUN)); then
    ec_log "would stop with exit code 11: $text"
  else
    ec_die 11 "$text"
  fi
}

ec_os_release() {
  local line value file=$EC_SYSROOT/etc/os-release
  if [[ ! -r $file ]]; then file=$EC_SYSROOT/usr/lib/os-release; fi
  if [[ ! -r $file ]]; then return 0; fi
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ $line == "$1="* ]]; then
      value=${line#*=}
      value=${value#[\"\']}
      printf '%s\n' "${value%[\"\']}"
      return 0
    fi
  done <"$file"
}

# ec_bind_os ID VERSION ARCHITECTURE; an empty word was not known and is not compared.
ec_bind_os() {
  local id version arch
  case $(uname -s) in
    Darwin)
      id=macos
      version=$(sw_vers -productVersion 2>/dev/null || true)
      ;;
    *)
      id=$(ec_os_release ID)
      version=$(ec_os_release VERSION_ID)
      ;;
  esac
  arch=$(uname -m)
  if [[ $arch == arm64 ]]; then arch=aarch64; fi
  if [[ -n $1 && $id != "$1" ]]; then ec_differs "the system" "$id $version" "$1 $2"; fi
  if [[ -n $2 && $version != "$2" && $version != "$2".* ]]; then ec_differs "the system's version" "$version" "$2"; fi
  if [[ -n $3 && $arch != "${3/arm64/aarch64}" ]]; then ec_differs "the architecture" "$arch" "$3"; fi
}

# ec_bind_python VERSION COMMAND ENVIRONMENT-PYTHON: the interpreter that makes the environment, where that is not made.
ec_bind_python() {
  local found=''
  if [[ $2 != "$3" ]] && ec_have_command "$3"; then return 0; fi
  if ec_have_command "$2"; then found=$(ec_python_version "$2") || found=''; fi
  if [[ $found != "$1" ]]; then ec_differs "the Python of $2" "$found" "$1"; fi
}

# nvidia-smi, wherever it is: inside WSL it is often not on PATH, and a package's own in front of it cannot work.
# Its exit codes are NVML's: 14 tells of a damaged InfoROM beside an answer that is whole (doctor's to judge).
ec_nvidia_smi() {
  local tool code
  for tool in "$EC_SYSROOT/usr/lib/wsl/lib/nvidia-smi" nvidia-smi /usr/bin/nvidia-smi; do
    if ! ec_have_command "$tool"; then continue; fi
    code=0
    ec_deadline 30 "$tool" "$@" </dev/null 2>/dev/null || code=$?
    if ((code == 0 || code == 14)); then return 0; fi
  done
  return 1
}

# PCI ids of the GPUs, sorted, in one line. nvidia-smi knows which of them a container was given; sysfs needs no driver.
ec_gpu_ids() {
  local line device ids=''
  ids=$(ec_nvidia_smi --query-gpu=pci.device_id --format=csv,noheader | tr 'A-F' 'a-f' |
    sed -n 's/^[[:space:]]*0x\([0-9a-f]\{4\}\)10de[[:space:]]*$/10de:\1/p') || ids=''
  if [[ -z $ids ]]; then
    for device in "$EC_SYSROOT"/sys/bus/pci/devices/*; do
      if [[ $(cat "$device/vendor" 2>/dev/null) != 0x10de ]]; then continue; fi
      line=$(cat "$device/class" 2>/dev/null || true)
      case $line in
        0x0300* | 0x0302*) ids+="10de:$(sed 's/^0x//' "$device/device")"$'\n' ;;
      esac
    done
  fi
  printf '%s\n' "$ids" | sed '/^$/d' | sort | tr '\n' ' ' | sed 's/ $//'
}

ec_gpu_capabilities() {
  ec_nvidia_smi --query-gpu=compute_cap --format=csv,noheader | sed 's/[[:space:]]//g; /^$/d' | sort | tr '\n' ' ' |
    sed 's/ $//'
}

# ec_bind_gpus PCI-IDS CAPABILITIES: sorted, separated by blanks; the plan's ids may be unknown (--gpu NAME).
ec_bind_gpus() {
  local here
  here=$(ec_gpu_ids)
  if [[ -n $1 ]]; then
    if [[ $here != "$1" ]]; then ec_differs "the set of NVIDIA GPUs (PCI ids)" "$here" "$1"; fi
    return 0
  fi
  if [[ -z $here ]] && ! ec_in_wsl; then
    ec_differs "the set of NVIDIA GPUs" "no NVIDIA GPU" "one of compute capability $2"
    return 0
  fi
  here=$(ec_gpu_capabilities) || here=''
  if [[ -n $here && $here != "$2" ]]; then ec_differs "the set of GPUs (compute capabilities)" "$here" "$2"; fi
}

# Neither a card nor a driver that has one: torch's own words are the better answer then.
ec_no_gpu() { [[ -z $(ec_gpu_ids) ]] && ! ec_nvidia_smi -L | grep -q UUID; }

# The kernel module's version; never the banner of nvidia-smi, whose wording changes between branches.
ec_driver_version() {
  local version
  version=$(cat "$EC_SYSROOT/sys/module/nvidia/version" 2>/dev/null) || version=''
  if [[ -z $version ]]; then
    version=$(sed -n 's/^NVRM version:.* \([0-9]\{3\}\.[0-9.]*\) .*/\1/p' "$EC_SYSROOT/proc/driver/nvidia/version" 2>/dev/null) || version=''
  fi
  if [[ -z $version ]]; then
    version=$(ec_nvidia_smi --query-gpu=driver_version --format=csv,noheader | head -n 1) || version=''
  fi
  printf '%s\n' "$version"
}

# ec_bind_driver INSTALLED TARGET-BRANCH: as planned, or newer in the same branch, or already the branch to come.
ec_bind_driver() {
  local here
  here=$(ec_driver_version)
  if [[ $here == "$1" ]]; then return 0; fi
  if [[ -n $2 && ${here%%.*} == "$2" ]]; then return 0; fi
  if [[ -n $here && -n $1 && ${here%%.*} == "${1%%.*}" ]] &&
    [[ $(printf '%s\n%s\n' "$1" "$here" | sort -V | tail -n 1) == "$here" ]]; then
    ec_log "the driver is $here here and was $1 in the plan: same branch and newer, so the plan holds"
    return 0
  fi
  ec_differs "the NVIDIA driver" "$here" "$1"
}

# ec_driver_branch BRANCH: is a driver of this branch, or a newer one that works, in force?
ec_driver_branch() {
  local here
  here=$(ec_driver_version)
  here=${here%%.*}
  if [[ ! $here =~ ^[0-9]+$ ]]; then return 1; fi
  if ((here == $1)); then return 0; fi
  ((here > $1)) && ec_nvidia_smi -L | grep -q UUID
}

# ec_verify CPU-OR-GPU PYTHON...: the last stage, run by the interpreter that torch was installed for.
ec_verify() {
  local kind=$1
  shift
  if ((EC_DRY_RUN)); then
    ec_show "$@" verify.py "$kind"
    return 0
  fi
  ec_verify_text >"$EC_TMP/verify.py"
  ec_deadline 900 "$@" "$EC_TMP/verify.py" "$kind" --torch "$EC_TORCH" --cuda "$EC_CUDA" </dev/null
}
