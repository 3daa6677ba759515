# shellcheck shell=bash
# What the steps of Debian and Ubuntu call: driver.sh's interface of package managers on apt and dpkg, and archives.
# Never: apt upgrade, autoremove, trusted=yes, a change of others' files.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

ec_packages_hint() { printf 'sudo apt-get install %s\n' "$*"; }

ec_desktop() { ec_any_installed xserver-xorg-core gdm3 xwayland; }

ec_owned_by_package() { dpkg-query -S "$1" >/dev/null 2>&1; }

# ec_packages_installed PACKAGE...
ec_packages_installed() {
  local name
  for name in "$@"; do
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) != installed ]]; then return 1; fi
  done
}

# The version that apt would install, empty where there is none.
ec_apt_candidate() {
  LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '^(none)$' || true
}

ec_packages_offered() { [[ -n $(ec_apt_candidate "$1") ]]; }

# ec_packages_expect BRANCH PACKAGE...: names and archives change, so the branch is asked for before anything is installed,
# and whether apt can install them at all: a security update of a driver may leave out the module's package.
ec_packages_expect() {
  local branch=$1 name candidate
  shift
  for name in "$@"; do
    candidate=$(ec_apt_candidate "$name")
    if ((EC_DRY_RUN)) && [[ -z $candidate ]]; then
      ec_log "  apt knows no $name yet: its branch is asked for once its archive is there"
    elif [[ ${candidate#*:} != "$branch"[.-]* ]]; then
      ec_refuse "apt would install $name ${candidate:-(nothing)} here, and the plan needs branch $branch: the archive has moved on or a pin is in the way (apt-cache policy $name). Make a plan with another --driver-branch"
    fi
  done
  if ((EC_DRY_RUN)) || LC_ALL=C apt-get -s install -y "$@" </dev/null >"$EC_TMP/resolved" 2>&1; then return 0; fi
  ec_refuse "apt cannot install $* here: $(grep -e Depends: -e '^E:' "$EC_TMP/resolved" | tr -s '[:space:]' ' ')"
}

# ec_packages_record COMMAND...: what it would add, take away and upgrade ("upgraded STEP NAME OLD NEW"), written down so
# that undo takes back only this.
ec_packages_record() {
  local plan line word name version
  if [[ $1 != apt-get ]] || ((EC_DRY_RUN)); then return 0; fi
  ec_apt_sound
  if [[ " $* " != *" install "* ]]; then return 0; fi
  shift
  plan=$(LC_ALL=C apt-get -s "$@" </dev/null) || ec_die $? "apt cannot resolve this: apt-get $*"
  while IFS=' ' read -r word name version line; do
    if [[ $word == Remv && ! $name =~ nvidia|cuda|xnvctrl ]]; then
      ec_die 11 "apt would remove $name, which is no part of the driver: look at apt-get -s $*"
    fi
  done <<<"$plan"
  while IFS=' ' read -r word name version line; do
    case $word in
      Inst) ec_apt_record_one "$name" "$version" "$line" ;;
      Remv)
        version=${version#\[}
        ec_state_add "removed $EC_ID $name=${version%%\]*}"
        ;;
    esac
  done <<<"$plan"
}

# ec_apt_record_one NAME WORD REST: of "Inst NAME (NEW ...)" a package that is added, of "Inst NAME [OLD] (NEW ...)" one
# that is upgraded. What an earlier removal left in /etc is not this script's to purge.
ec_apt_record_one() {
  local older newer
  if [[ $2 == \[* ]]; then
    older=${2#\[} newer=${3#\(}
    ec_state_add "upgraded $EC_ID $1 ${older%%\]*} ${newer%% *}"
    return 0
  fi
  if ! ec_state_has "package $EC_ID $1" && [[ $(ec_apt_status "$1") == config-files ]]; then
    ec_state_add "configured-before $1"
  fi
  ec_state_add "package $EC_ID $1"
}

# not-installed, config-files (removed and not purged), ..., half-configured, installed; empty where dpkg knows none
ec_apt_status() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1 || true; }

ec_apt_sound() {
  local found
  found=$(dpkg --audit 2>/dev/null) || true
  if [[ $found == *-dkms* ]]; then
    ec_die 11 "the kernel module of a package could not be built (sudo dpkg --audit names the package, /var/lib/dkms/*/*/build/make.log says why). A kernel newer than the driver is the usual cause: remove that kernel, sudo dpkg --configure -a, then this script again. Or take everything back: --stage undo"
  elif [[ -n $found ]]; then
    ec_die 11 "an earlier installation was interrupted: run sudo dpkg --configure -a, then this script again"
  fi
}

# ec_packages_install PACKAGE...: for functions whose list of packages only the machine knows.
ec_packages_install() {
  if ((!$#)); then return 0; fi
  ec_packages_record apt-get -o DPkg::Lock::Timeout=300 install -y "$@"
  ec_root apt-get -o DPkg::Lock::Timeout=300 install -y "$@"
}

# ec_packages_would NAME: the packages that would come with it.
ec_packages_would() { LC_ALL=C apt-get -s install -y "$1" </dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p'; }

ec_packages_drop() { ec_packages_install "${@/%/-}"; }

# The upstream version of an installed package: 580.95.05 of 580.95.05-0ubuntu0.24.04.1.
ec_packages_version() {
  local version
  if ! ec_packages_installed "$1"; then return 0; fi
  version=$(dpkg-query -W -f '${Version}' "$1" 2>/dev/null)
  version=${version#*:}
  printf '%s\n' "${version%%-*}"
}

ec_packages_exact() {
  local name=$1 version
  while IFS= read -r version; do
    if [[ -n $2 && ${version#*:} == "$2"-* || ${version#*:} == "$2" ]]; then
      printf '%s\n' "$name=$version"
      return 0
    fi
  done < <(LC_ALL=C apt-cache madison "$name" 2>/dev/null | awk -F '|' '{ gsub(/ /, "", $2); print $2 }')
}

# ec_module_packages FLAVOUR: by the names of Debian, of Canonical (nvidia-dkms-580-server-open) and of NVIDIA.
ec_module_packages() {
  local name pattern
  for pattern in 'nvidia-*' 'linux-modules-nvidia-*'; do
    dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$pattern" 2>/dev/null || true
  done | sed -n 's/ installed$//p' | while IFS= read -r name; do
    case $name in
      nvidia-open-kernel-dkms | nvidia-kernel-open-dkms | nvidia-dkms*-open | linux-modules-nvidia-*-open-*)
        if [[ $1 == open ]]; then printf '%s\n' "$name"; fi
        ;;
      nvidia-kernel-dkms | nvidia-tesla-*-kernel-dkms | nvidia-dkms | nvidia-dkms-* | linux-modules-nvidia-*)
        if [[ $1 == proprietary ]]; then printf '%s\n' "$name"; fi
        ;;
    esac
  done
}

# ec_undo_packages STEP...: dpkg's selections as they were before these steps. What they added is purged, what they took
# away comes back, a part of a driver that apt upgraded goes back where its older version can still be had; what stays is said.
ec_undo_packages() {
  local step words=() gone=() purged=() older=() automatic=() failed=''
  for step in "$@"; do
    ec_apt_undo_added "$step"
    ec_apt_undo_removed "$step"
    ec_apt_undo_upgraded "$step"
  done
  if ((${#older[@]})); then
    failed=$(ec_apt_undo_blocked ${words[@]+"${words[@]}"} "${older[@]}")
    if [[ -n $failed ]]; then
      ec_apt_say_once "  not put back: ${older[*]} ($failed)"
    else
      words+=("${older[@]}")
      IFS=$'\n' read -r -d '' -a automatic < <(apt-mark showauto "${older[@]%%=*}" 2>/dev/null) || true
    fi
  fi
  if ((!${#words[@]})); then return 0; fi
  failed=$(ec_apt_undo_blocked "${words[@]}")
  if [[ -n $failed ]]; then
    ec_log "  everything stays: $failed. Remove it first"
    return 1
  fi
  ec_apt_undo_run || return 1
  # naming a version makes a package count as asked for by a person
  if ((${#automatic[@]})); then ec_root apt-mark auto "${automatic[@]}"; fi
}

# A package whose configuration was here before is removed and not purged; apt knows only one way for all it is given.
ec_apt_undo_run() {
  local name rest=() how=(--purge)
  if ((${#purged[@]} < ${#gone[@]})); then how=(); fi
  ec_root apt-get -o DPkg::Lock::Timeout=300 ${how[@]+"${how[@]}"} --allow-downgrades install -y "${words[@]}" || return 1
  if ((${#how[@]} || !${#purged[@]})); then return 0; fi
  for name in "${purged[@]}"; do
    if [[ -n $(ec_apt_left "$name") ]]; then rest+=("$name-"); fi
  done
  if ((${#rest[@]})); then ec_root apt-get -o DPkg::Lock::Timeout=300 --purge install -y "${rest[@]}"; fi
}

# Installed, or half (a module that could not be built, an undo that broke off), or removed and not yet purged.
ec_apt_left() { ec_apt_status "$1" | grep -v -x not-installed || true; }

# Several steps name the same group, and each of them is taken back.
EC_APT_SAID=''
ec_apt_say_once() {
  if [[ $EC_APT_SAID == *"$1"* ]]; then return 0; fi
  EC_APT_SAID+="$1;"
  ec_log "$1"
}

# These three add to the arrays of ec_undo_packages.
ec_apt_undo_added() {
  local line name left
  while IFS= read -r line; do
    if [[ $line != "$1 "* ]]; then continue; fi
    name=${line#* } left=$(ec_apt_left "${line#* }")
    # The kernel that runs is nobody's to remove.
    if [[ -z $left || $name == *"$(uname -r)" && $name == linux-image-* ]]; then continue; fi
    # dkms recommends it, and its prerm refuses to go where root has no password: half of the rest would stay behind.
    if [[ $name == sudo ]]; then
      ec_apt_say_once "  sudo stays: remove it yourself if nobody needs it"
    elif ! ec_state_has "configured-before $name"; then
      words+=("$name-") gone+=("$name") purged+=("$name")
    elif [[ $left != config-files ]]; then
      words+=("$name-") gone+=("$name")
    fi
  done < <(ec_state_values package)
}

ec_apt_undo_removed() {
  local line
  while IFS= read -r line; do
    if [[ $line != "$1 "* ]]; then continue; fi
    line=${line#* }
    if ec_packages_installed "${line%%=*}"; then continue; fi
    if LC_ALL=C apt-cache show "$line" >/dev/null 2>&1; then words+=("$line"); else words+=("${line%%=*}"); fi
  done < <(ec_state_values removed)
}

# Parts of a driver alone, and only from the version that came with these steps: what was upgraded again since is not this
# script's, and an older library of the system's (dkms once brought a new glibc) may lack what was mended since.
ec_apt_undo_upgraded() {
  local step name old new
  while IFS=' ' read -r step name old new; do
    if [[ $step != "$1" ]] || ! dpkg-query -W -f '${Version}\n' "$name" 2>/dev/null | grep -Fxq -- "$new"; then continue; fi
    if [[ ! $name =~ nvidia|cuda|xnvctrl ]]; then
      ec_apt_say_once "  $name stays at $new (it was $old): it is no part of the driver, and the newer one is the safer one"
    elif LC_ALL=C apt-cache show "$name=$old" >/dev/null 2>&1; then
      older+=("$name=$old")
    else
      ec_apt_say_once "  $name stays at $new: no archive here has $old any more"
    fi
  done < <(ec_state_values upgraded)
}

# ec_apt_undo_blocked WORD...: says what keeps apt from doing this; nothing where it can.
ec_apt_undo_blocked() {
  local plan line name
  if ! plan=$(LC_ALL=C apt-get -s --purge --allow-downgrades install -y "$@" </dev/null 2>"$EC_TMP/blocked"); then
    printf 'apt finds no way: %s\n' "$(grep '^E:' "$EC_TMP/blocked" | tr -s '[:space:]' ' ')"
    return 0
  fi
  while IFS=' ' read -r line name _; do
    if [[ $line != Remv && $line != Purg ]]; then continue; fi
    case " ${gone[*]+${gone[*]}} " in
      *" $name "*) ;;
      *)
        printf '%s needs what would go and was not installed by this script\n' "$name"
        return 0
        ;;
    esac
  done <<<"$plan"
}

# --- headers and modules ---

# Installed kernels' metapackages without their prefix: amd64, generic, generic-hwe-24.04, aws.
ec_kernel_flavours() {
  dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'linux-image-*' 2>/dev/null |
    sed -n 's/^linux-image-\([a-z][a-z0-9.-]*\) installed$/\1/p' | grep -v -e '^unsigned-' -e '-dbg$' -e '^extra-' || true
}

# ec_kernel_headers: for every kernel that can boot, and for those to come (dkms of Debian 13 recommends none).
ec_kernel_headers() {
  local kernel flavour wanted=()
  while IFS= read -r flavour; do
    if ec_packages_offered "linux-headers-$flavour"; then wanted+=("linux-headers-$flavour"); fi
  done < <(ec_kernel_flavours)
  while IFS= read -r kernel; do
    if ec_packages_installed "linux-headers-$kernel"; then continue; fi
    if ec_packages_offered "linux-headers-$kernel"; then
      wanted+=("linux-headers-$kernel")
    elif ec_needed_kernels | grep -Fxq -- "$kernel"; then
      ec_refuse "kernel $kernel has no package linux-headers-$kernel in the configured archives, so no module can be built for it. Boot a kernel of the distribution, or add the archive that this one came from"
    else
      ec_log "kernel $kernel has no headers here: booted, it will have no NVIDIA driver"
    fi
  done < <(ec_all_kernels)
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

ec_have_kernel_headers() {
  local kernel seen=0
  while IFS= read -r kernel; do
    if ! ec_packages_installed "linux-headers-$kernel"; then return 1; fi
    seen=1
  done < <(ec_needed_kernels)
  ((seen))
}

# ec_ubuntu_modules VARIANT MOK-CERTIFICATE: Canonical's signed modules for each kernel and each kernel metapackage
# ("580-server-open"); only a kernel that Canonical builds none for gets one of DKMS.
ec_ubuntu_modules() {
  local kernel flavour wanted=() own=()
  while IFS= read -r flavour; do
    if ec_packages_offered "linux-modules-nvidia-$1-$flavour"; then wanted+=("linux-modules-nvidia-$1-$flavour"); fi
  done < <(ec_kernel_flavours)
  while IFS= read -r kernel; do
    if ec_packages_offered "linux-modules-nvidia-$1-$kernel"; then
      wanted+=("linux-modules-nvidia-$1-$kernel")
    elif ec_needed_kernels | grep -Fxq -- "$kernel"; then
      own+=("$kernel")
    fi
  done < <(ec_all_kernels)
  if ((${#own[@]})); then
    ec_log "Canonical has no signed module of $1 for ${own[*]}: it is built here"
    ec_secure_boot_key "$2"
    ec_kernel_headers
    wanted+=("nvidia-dkms-$1")
  fi
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

# Kernels without InfiniBand: clouds install the small half of Ubuntu's modules, and mlx5_ib is in the other one.
ec_kernels_without_infiniband() {
  local kernel
  while IFS= read -r kernel; do
    if [[ -n $(find "$EC_SYSROOT/lib/modules/$kernel" -name 'mlx5_ib.ko*' 2>/dev/null | head -n 1) ]]; then continue; fi
    if ec_packages_offered "linux-modules-extra-$kernel"; then printf '%s\n' "$kernel"; fi
  done < <(ec_needed_kernels)
}

ec_have_infiniband() { [[ -z $(ec_kernels_without_infiniband) ]]; }

ec_infiniband_modules() {
  local kernel wanted=()
  while IFS= read -r kernel; do wanted+=("linux-modules-extra-$kernel"); done < <(ec_kernels_without_infiniband)
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

# --- archives ---

# ec_debian_components COMPONENT...: an archive entry of its own beside Debian's, on the mirrors that are in use here,
# for the components that are not on. No file of Debian's or of the user's is edited.
ec_debian_components() {
  local site suite known name missing lines=() stanza=() parts=$EC_TMP/sources
  mkdir -p "$parts"
  cp -- "$EC_SYSROOT"/etc/apt/sources.list.d/*.* "$parts"/ 2>/dev/null || true
  rm -f -- "$parts"/envcheck-debian.sources
  if [[ -z $(ec_debian_archives "$parts") ]]; then ec_root apt-get -o DPkg::Lock::Timeout=300 update; fi
  known=$(ec_debian_archives "$parts")
  while IFS='|' read -r site suite name; do
    if [[ $name != main || ! $site =~ ^(https?|mirror\+https?|mirror)://[A-Za-z0-9./:_~%@+-]+$ || ! $suite =~ ^[a-z0-9./-]+$ ]]; then continue; fi
    missing=''
    for name in "$@"; do
      if ! grep -Fxq -- "$site|$suite|$name" <<<"$known"; then missing+=" $name"; fi
    done
    if [[ -z $missing ]]; then continue; fi
    stanza=("Types: deb" "URIs: $site" "Suites: $suite" "Components:$missing")
    if ec_apt_signer "$parts/envcheck-debian.sources" "${lines[@]+"${lines[@]}"}" "${stanza[@]}"; then
      lines+=("${stanza[@]}")
      if [[ -n $EC_SIGNER ]]; then lines+=("Signed-By: $EC_SIGNER"); fi
      lines+=('')
    fi
  done <<<"$known"
  if ((!${#lines[@]})); then
    ec_refuse "apt has no archive of Debian's here to which $* could be added (or its lists are missing: sudo apt-get update): add $* by hand"
    return 0
  fi
  ec_root_file /etc/apt/sources.list.d/envcheck-debian.sources "${lines[@]}"
}

# ec_debian_archives FOLDER: Debian's own archives as the entries of this folder have them: address|suite|component. Known
# from their signed Release files, not from their names.
ec_debian_archives() {
  # shellcheck disable=SC2016  # apt's own variables
  LC_ALL=C apt-get -o Dir::Etc::SourceParts="$1" indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' \
    "Created-By: Packages" "Origin: Debian" | sort -u
}

# ec_apt_signer FILE LINE...: sets EC_SIGNER to the Signed-By with which apt takes these lines. apt refuses two entries
# of one archive that differ in it, and installations differ: none, Debian's .gpg, Debian's .pgp, a key of the site's own.
ec_apt_signer() {
  local file=$1
  shift
  while IFS= read -r EC_SIGNER; do
    printf '%s\n' "$@" >"$file"
    if [[ -n $EC_SIGNER ]]; then printf 'Signed-By: %s\n' "$EC_SIGNER" >>"$file"; fi
    if apt-get -o Dir::Etc::SourceParts="${file%/*}" indextargets --format x >/dev/null 2>&1; then return 0; fi
  done < <(
    printf '\n'
    cat -- "$EC_SYSROOT"/etc/apt/sources.list "${file%/*}"/* 2>/dev/null |
      sed -n -e 's#^[Ss]igned-[Bb]y:[[:space:]]*\(/[A-Za-z0-9._/-]*\)[[:space:]]*$#\1#p' \
        -e 's#^deb .*signed-by=\(/[A-Za-z0-9._/-]*\).*#\1#p' | sort -u
  )
  EC_SIGNER=''
  return 1
}
