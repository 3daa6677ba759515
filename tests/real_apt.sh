#!/usr/bin/env bash
# The recipes of Debian and Ubuntu for real, without a GPU: debootstrap makes a machine, a script of `envcheck plan`
# installs the distribution's own driver in it, and the modules that are there then are read back. Not run by pytest.
#
# usage: bash tests/real_apt.sh bookworm|trixie|jammy|noble|resolute FOLDER MIRROR
#
# ONE_KERNEL=1 leaves a second, older kernel out, and with it on Debian half of the compiling.
# KERNELS='linux-image-... linux-image-...' installs these, the older first, instead of the newest by its metapackage.
# BRANCH=595 takes that branch of the driver; PASCAL=1 puts a GTX 1080 in, which the proprietary module alone drives.
# HGX=1 puts an H100 and four NVSwitches in, which want the fabric manager (Ubuntu).
# PRESENT='PACKAGE...' installs these before: another branch or flavour, or a desktop (xserver-xorg-core).
# KEYRING names the file of the distribution's keys where debootstrap does not find it by itself.
#
# Needs root, debootstrap, about 4 GB in FOLDER (which must be new), and the network. Exit code 0 only if all points
# hold; the report (markdown) goes to stdout, what the commands said to FOLDER/log.
#
# Points name functions in arguments, and single quotes keep words for the shell inside:
# shellcheck disable=SC2329,SC2016
set -Eeuo pipefail
suite=${1:-} folder=${2:?FOLDER, which must be new} mirror=${3:?MIRROR, the address above /debian and /debian-security, or /ubuntu}
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
envcheck=$here/.venv/bin/envcheck
# either module would drive this card; installers/debian-archive.json says why Debian's own is the proprietary one
card='NVIDIA GeForce RTX 4090' device=0x2684
# which debootstrap of Debian's does not know yet are made as gutsy is, like all of Ubuntu's
template=() headers=0 sources=debian
case $suite in
  bookworm) system=debian-12 branch=535 ;;
  trixie) system=debian-13 branch=550 ;;
  jammy) system=ubuntu-22.04 branch=580 ;;
  noble) system=ubuntu-24.04 branch=580 template=(gutsy) ;;
  resolute) system=ubuntu-26.04 branch=595 template=(gutsy) ;;
  *)
    echo "usage: bash tests/real_apt.sh bookworm|trixie|jammy|noble|resolute FOLDER MIRROR; not: $suite" >&2
    exit 2
    ;;
esac
branch=${BRANCH:-$branch}
case $system in
  debian-*)
    module=proprietary other=open image=linux-image-amd64 headers=1
    packages=(nvidia-kernel-dkms libcuda1 nvidia-smi nvidia-persistenced)
    ;;
  ubuntu-*)
    module=open other=proprietary image=linux-image-generic sources=ubuntu
    packages=("nvidia-headless-no-dkms-$branch-server-open" "nvidia-utils-$branch-server" "libnvidia-compute-$branch-server")
    if [[ -n ${PASCAL:-} ]]; then module=proprietary other=open packages[0]=${packages[0]%-open}; fi
    ;;
esac
if [[ -n ${PASCAL:-} ]]; then card='NVIDIA GeForce GTX 1080' device=0x1b80; fi
target=(--os "$system" --gpu "$card")
if [[ -n ${HGX:-} ]]; then
  card='NVIDIA H100 80GB HBM3' device=0x2330
  packages+=("nvidia-fabricmanager-$branch")
fi
mkdir -- "$folder"
folder=$(cd -- "$folder" && pwd)
root=$folder/machine log=$folder/log failed=0

# In mount and PID namespaces of its own: nothing stays mounted and nothing stays running, whatever happens.
inside() {
  unshare --mount --pid --fork --kill-child bash -c \
    'mount -t proc proc "$0/proc" && mount -t devpts devpts "$0/dev/pts" && exec chroot "$0" "$@"' "$root" \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@" </dev/null
}

quietly() { "$@" >>"$log" 2>&1; }

# point TEXT COMMAND...: one line of the report.
point() {
  local text=$1 code=0
  shift
  "$@" >>"$log" 2>&1 || code=$?
  if ((code)); then
    failed=1
    printf '| %s | DOES NOT HOLD |\n' "$text"
  else
    printf '| %s | holds |\n' "$text"
  fi
}

# kernel_of VERSION: the image that this version of the metapackage stands for.
kernel_of() { inside apt-cache show "$image=$1" | sed -n 's/^Depends: .*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1; }

# archive ADDRESS SUITES
archive() {
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n\n' "$1" "$2" "$components" "$signer"
}

make_machine() {
  local signer components
  quietly debootstrap --variant=minbase ${KEYRING:+--keyring="$KEYRING"} "$suite" "$root" "$mirror/$sources" ${template[@]+"${template[@]}"}
  rm -f -- "$root/etc/apt/sources.list"
  # time alone: no power cut is to be survived here, and no initial ram disk to be small
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  mkdir -p -- "$root/etc/initramfs-tools/conf.d"
  printf 'COMPRESS=gzip\nCOMPRESSLEVEL=1\n' >"$root/etc/initramfs-tools/conf.d/fast"
  signer=/usr/share/keyrings/$sources-archive-keyring.gpg
  if [[ $sources == debian ]]; then
    components='main non-free-firmware'
    {
      archive "$mirror/debian" "$suite $suite-updates"
      archive "$mirror/debian-security" "$suite-security"
    } >"$root/etc/apt/sources.list.d/debian.sources"
  else
    components='main restricted universe multiverse'
    archive "$mirror/ubuntu" "$suite $suite-updates $suite-security" >"$root/etc/apt/sources.list.d/ubuntu.sources"
  fi
  quietly inside apt-get update
  local older newest kernels=() present=()
  if [[ -n ${KERNELS:-} ]]; then
    read -ra kernels <<<"$KERNELS"
    older=${kernels[0]}
  else
    newest=$(kernel_of "$(inside apt-cache policy "$image" | awk '/Candidate:/ { print $2 }')")
    older=$(kernel_of "$(inside apt-cache madison "$image" | awk 'END { print $3 }')")
    if [[ -n ${ONE_KERNEL:-} ]]; then older=$newest; fi
    kernels=("$older" "$image")
  fi
  quietly inside env DEBIAN_FRONTEND=noninteractive apt-get install -y "${kernels[@]}"
  read -ra present <<<"${PRESENT:-}"
  if ((${#present[@]})); then quietly inside env DEBIAN_FRONTEND=noninteractive apt-get install -y "${present[@]}"; fi
  running=${older#linux-image-}
  # what a boot of that kernel would answer, and the card that sysfs would show
  printf '#!/bin/sh\nif [ "$*" = -r ]; then echo %s; else exec /bin/uname "$@"; fi\n' "$running" >"$root/usr/local/bin/uname"
  chmod 0755 "$root/usr/local/bin/uname"
  local slot=$root/sys/bus/pci/devices/0000:01:00.0
  mkdir -p -- "$slot"
  printf '0x10de\n' >"$slot/vendor"
  printf '%s\n' "$device" >"$slot/device"
  printf '0x030000\n' >"$slot/class"
}

listed() { inside dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'; }

# Files of the machine without what every use of apt and dkms leaves: caches, lists, logs, backups of dpkg's status.
files() {
  (cd -- "$root" && find . -xdev \( -path ./proc -o -path ./var/cache -o -path ./var/lib/apt -o -path ./var/log \
    -o -path ./var/lib/dpkg -o -path ./var/backups -o -path ./tmp -o -path ./root/install.sh \) -prune -o -type f -print | sort)
}

# script WORDS...: the install script; its output is kept as FOLDER/said.
script() {
  local code=0
  inside bash /root/install.sh "$@" >"$folder/said" 2>&1 || code=$?
  cat -- "$folder/said" >>"$log"
  printf '%s\n' "$code" >"$folder/code"
}

ended() { [[ $(cat "$folder/code") == "$1" ]]; }
ran_nothing() { ! grep -q '^envcheck: + ' "$folder/said"; }

# check FUNCTION ARGUMENT...: one of the script's own checks, as the script calls it.
check() {
  inside bash -c 'source /root/functions.sh; exec 3>&2; ec_plan_constants; EC_TMP=$(mktemp -d); "$@"' bash "$@"
}

fails() { ! "$@"; }
same() { diff -- "$1" "$2"; }

# Every package in its very version, but for those of which undo said that they stay.
as_before() {
  local stay left
  stay=$(sed -n 's/^envcheck:   \([^ ]*\) stays.*/\1/p' "$folder/said" | tr '\n' ' ')
  left=$(diff -- "$folder/packages-before" "$folder/packages-after" | grep '^[<>]' |
    awk -v stay=" $stay" 'index(stay, " " $2 " ") == 0' || true)
  printf 'undo left: %s\n' "$left"
  [[ -z $left ]]
}
kernels() { (cd -- "$root/boot" && printf '%s\n' vmlinuz-*) | sed 's/^vmlinuz-//' | sort -V; }
module_files() { (cd -- "$root" && find "lib/modules/$1" \( -name 'nvidia-current.ko*' -o -name 'nvidia.ko*' \) ! -name '*.sig'); }

make_machine
if [[ -n ${HGX:-} ]]; then
  printf '{"schema": "envcheck.snapshot/1", "machine": {"os": {"id": "ubuntu", "version": "%s", "family": "debian",
  "arch": "x86_64", "platform": "linux"}, "driver": {"state": "missing"}, "gpus": [{"index": 0, "name": "%s",
  "pci_id": "10de:%s", "compute_capability": "9.0"}], "facts": {"pci": {"readable": true, "nvswitches": 4}}}}' \
    "${system#ubuntu-}" "$card" "${device#0x}" >"$folder/machine.json"
  target=(--machine "$folder/machine.json")
fi
"$envcheck" plan --torch latest "${target[@]}" --driver-branch "$branch" \
  -o "$root/root/install.sh" 2>>"$log"
sed '$d' "$root/root/install.sh" | sed '/^{ ec_main/d' >"$folder/functions.sh"

printf '## %s (%s), %s module of branch %s, %s\n\n' "$system" "$suite" "$module" "$branch" "$(date -u +%Y-%m-%d)"
if [[ -n ${PRESENT:-} ]]; then printf 'here before: %s\n\n' "$PRESENT"; fi
printf 'GPU: %s\n\nkernels: %s; "running": %s\n\n' "$card" "$(kernels | tr '\n' ' ' | sed 's/ $//')" "$running"
listed >"$folder/packages-before"
printf '| point | |\n|---|---|\n'
files >"$folder/files-before"
script --stage system --dry-run
point 'dry run: exit code 0' ended 0
files >"$folder/files-dry"
point 'dry run: not one file changed' same "$folder/files-before" "$folder/files-dry"
cp -- "$folder/functions.sh" "$root/root/functions.sh"
point 'before: the checks see no package' fails check ec_packages_installed "${packages[@]}"
point 'before: the checks see no module' fails check ec_modules_built "$branch" "$module"
rm -f -- "$root/root/functions.sh"
script --stage system --yes
point 'first run: exit code 10 (a reboot is needed: no module can be loaded here)' ended 10
point 'the archives were added and the packages resolved, downloaded and installed' grep -q "install -y .*${packages[0]}" "$folder/said"
cp -- "$folder/functions.sh" "$root/root/functions.sh"
point "ec_packages_installed sees ${packages[*]}" check ec_packages_installed "${packages[@]}"
if ((headers)); then
  point 'ec_have_kernel_headers sees the headers of the running and of the newest kernel' check ec_have_kernel_headers
fi
point "ec_modules_built sees branch $branch, $module, for every kernel" check ec_modules_built "$branch" "$module"
point 'and does not take them for another branch' fails check ec_modules_built 999 "$module"
point "nor for the $other flavour" fails check ec_modules_built "$branch" "$other"
point 'ec_nouveau_blocked sees the blacklist of the packages' check ec_nouveau_blocked
point 'ec_driver_ready says no: nothing is loaded' fails check ec_driver_ready "$branch" "$module"
point 'libcuda.so.1 is in the loader cache' bash -c "chroot '$root' ldconfig -p | grep -q 'libcuda\.so\.1 '"
for kernel in $(kernels); do
  for file in $(module_files "$kernel"); do
    printf '| modinfo of %s for %s: version, license, vermagic | %s, %s, %s |\n' "${file##*/}" "$kernel" \
      "$(inside modinfo -F version "/$file")" "$(inside modinfo -F license "/$file")" "$(inside modinfo -F vermagic "/$file" | cut -d' ' -f1)"
  done
done
rm -f -- "$root/root/functions.sh"
listed >"$folder/packages-with"
script --stage system --yes
point 'second run: exit code 10 again, the reboot is still to come' ended 10
point 'second run: not one command' ran_nothing
listed >"$folder/packages-second"
cat -- "$root"/var/lib/envcheck/*/state | sed -n 's/^upgraded //p' | tr '\n' ' ' >"$folder/upgraded"
point 'second run: not one package changed' same "$folder/packages-with" "$folder/packages-second"
script --stage undo --yes
point 'undo: exit code 0' ended 0
listed >"$folder/packages-after"
files >"$folder/files-after"
point 'undo: dpkg knows the very packages of before in their very versions, but for what undo said stays' as_before
printf '\npackages: %s before, %s with the driver, %s after undo\n' \
  "$(wc -l <"$folder/packages-before")" "$(wc -l <"$folder/packages-with")" "$(wc -l <"$folder/packages-after")"
printf 'installed: %s\n' "$(grep -E "^($(IFS='|'; echo "${packages[*]}")|linux-modules-nvidia-.*|dkms|gcc) [^ ]* ii" "$folder/packages-with" | awk '{ printf "%s%s %s", s, $1, $2; s = ", " }')"
printf '\nupgraded beside it and recorded: %s\n' "$(cat "$folder/upgraded")"
printf 'packages that undo left (`<` gone, `>` new): %s\n' "$(diff "$folder/packages-before" "$folder/packages-after" | grep '^[<>]' | tr '\n' ' ' || true)"
printf '\nfiles that undo left (`<` gone, `>` new; caches, lists and logs not counted):\n\n```\n%s\n```\n\n' "$(diff "$folder/files-before" "$folder/files-after" | grep '^[<>]' || true)"
exit "$failed"
