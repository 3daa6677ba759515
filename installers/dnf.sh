# shellcheck shell=bash
# What the steps of Red Hat's family, Fedora and Amazon Linux call: driver.sh's interface of package managers on dnf
# (4 and 5) and rpm. Never: dnf upgrade, autoremove, --allowerasing, --nogpgcheck.
#
# What a command added and took away is read from rpm's own database, before and after: dnf's tables differ between
# its generations, and its exit code is non-zero when a scriptlet of DKMS failed though all packages are in.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# Options of every dnf that reads the archives' lists; dnf-offline.sh has some.
EC_DNF_OPTIONS=()

ec_dnf() { ec_root dnf ${EC_DNF_OPTIONS[@]+"${EC_DNF_OPTIONS[@]}"} "$@"; }

ec_packages_hint() { printf 'sudo dnf install %s\n' "$*"; }

ec_desktop() { ec_any_installed gdm sddm lightdm xorg-x11-server-Xorg xorg-x11-server-Xwayland; }

# RHEL's archives are readable by root alone, so a script that runs as a user asks through sudo.
ec_dnf_ask() {
  set -- dnf ${EC_DNF_OPTIONS[@]+"${EC_DNF_OPTIONS[@]}"} "$@"
  if ((EUID == 0 || EC_DRY_RUN)) || ! ec_have_command sudo; then
    LC_ALL=C ec_deadline 300 "$@" </dev/null 2>/dev/null
  else
    ec_deadline 300 sudo -- env LC_ALL=C "$@" </dev/null 2>/dev/null
  fi
}

# Every version of a package that the enabled archives have.
ec_dnf_versions() { ec_dnf_ask -q repoquery --available --qf '%{version}\n' "$1" | sed '/^$/d' || true; }

# The same whatever is locked. dnf 5's repoquery sees through its locks and knows no such plugin.
ec_dnf_versions_all() {
  local free=(--disableplugin=versionlock)
  if ec_dnf_is_5; then free=(); fi
  ec_dnf_ask -q ${free[@]+"${free[@]}"} repoquery --available --qf '%{version}\n' "$1" | sed '/^$/d' || true
}

ec_packages_offered() { [[ -n $(ec_dnf_versions "$1") ]]; }

ec_packages_expect() {
  local branch=$1 name found
  shift
  if ((EC_DRY_RUN)); then return 0; fi
  for name in "$@"; do
    found=$(ec_dnf_versions "$name")
    if ! grep -q "^$branch\\." <<<"$found"; then
      found=$(ec_dnf_versions_all "$name")
      ec_refuse "dnf has no $name of branch $branch here ($(sort -Vu <<<"${found:-none at all}" | tr '\n' ' ')): the archive has moved on, a module stream or a lock is in the way (dnf repoquery $name). Make a plan with another --driver-branch"
    fi
  done
}

# ec_dnf_branch BRANCH NAME...: are these installed, and of that branch?
ec_dnf_branch() {
  local branch=$1 name
  shift
  for name in "$@"; do
    if [[ $(rpm -q --qf '%{VERSION}\n' "$name" 2>/dev/null) != "$branch".* ]]; then return 1; fi
  done
}

ec_packages_install() {
  if ((!$#)); then return 0; fi
  ec_packages_record dnf install -y "$@"
  ec_dnf install -y "$@" || ec_packages_failed $? dnf install -y "$@"
  ec_packages_settle
}

# ec_packages_would NAME: the packages that would come with it, out of dnf's table. It breaks the line after a long name.
ec_packages_would() { { ec_dnf_ask install --assumeno "$1" || true; } | sed -n 's/^ \([a-zA-Z0-9][^ ]*\).*/\1/p'; }

ec_packages_drop() {
  if ((!$#)); then return 0; fi
  ec_packages_record dnf remove -y
  ec_dnf_remove "$@" || ec_die 11 "the old driver cannot be taken away, see above"
  ec_packages_settle
}

ec_packages_version() { ec_rpm_version "$1"; }

ec_packages_exact() {
  if [[ -n $2 ]] && ec_dnf_versions "$1" | grep -Fxq -- "$2"; then printf '%s-%s\n' "$1" "$2"; fi
}

# ec_module_packages FLAVOUR: by the names of NVIDIA and of the distributions (kmod-nvidia-open-dkms, kmod-nvidia-latest-dkms).
# What akmods and negativo17 build has no flavour in its name, and is open where a macro says so.
ec_module_packages() {
  local name flavour built=proprietary
  if grep -Eqs '^%_with_kmod_nvidia_open[[:space:]]+1' "$EC_SYSROOT"/etc/rpm/macros*nvidia-kmod; then built=open; fi
  while IFS=' ' read -r name _; do
    case $name in
      kmod-nvidia-open* | akmod-nvidia-open*) flavour=open ;;
      kmod-nvidia-latest*) flavour=proprietary ;;
      kmod-nvidia* | akmod-nvidia* | dkms-nvidia) flavour=$built ;;
      *) continue ;;
    esac
    if [[ $flavour == "$1" ]]; then printf '%s\n' "$name"; fi
  done < <(ec_rpms)
}

# --- what was added and taken away ---

ec_rpms() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}.%{ARCH}\n' | LC_ALL=C sort -u; }

ec_packages_record() {
  if ((EC_DRY_RUN)) || [[ $1 != dnf && $1 != rhel-drivers ]]; then return 0; fi
  ec_dnf_wait
  if [[ " $* " != *" install "* && " $* " != *" remove "* ]]; then return 0; fi
  ec_packages_settle # a run that was killed left its list
  ec_state_root_dir
  {
    printf '%s\n' "$EC_ID"
    ec_rpms
  } >"$EC_TMP/rpms"
  ec_root_quietly install -m 0644 -- "$EC_TMP/rpms" "$EC_STATE_ROOT/$EC_PLAN_ID/rpms"
}

# Compares with the list that was written before the command, and writes down the difference for undo.
ec_packages_settle() {
  local file=$EC_STATE_ROOT/$EC_PLAN_ID/rpms step name version
  if ((EC_DRY_RUN)) || [[ ! -f $file ]]; then return 0; fi
  step=$(head -n 1 "$file")
  sed 1d "$file" | LC_ALL=C sort -u >"$EC_TMP/before"
  ec_rpms >"$EC_TMP/after"
  LC_ALL=C comm -23 "$EC_TMP/before" "$EC_TMP/after" >"$EC_TMP/gone"
  while IFS=' ' read -r name version; do
    # an upgrade of something else stays: what depends on it is not the driver's alone
    if ec_is_driver_package "$name" || ! grep -q "^$name " "$EC_TMP/gone"; then ec_state_add "package $step $name-$version"; fi
  done < <(LC_ALL=C comm -13 "$EC_TMP/before" "$EC_TMP/after")
  while IFS=' ' read -r name version; do
    if ec_is_driver_package "$name"; then ec_state_add "removed $step $name=$version"; fi
  done <"$EC_TMP/gone"
  ec_root_quietly rm -f -- "$file"
}

# Packages of the driver itself; the container toolkit and archives' own packages are not.
ec_is_driver_package() {
  case $1 in
    nvidia-container-* | libnvidia-container* | nvidia-docker* | nvidia-release | nvidia-driver-assistant | *-release-*) return 1 ;;
    nvidia-* | libnvidia-* | kmod-nvidia* | akmod-nvidia* | dkms-nvidia | cuda-drivers* | xorg-x11-nvidia | xorg-x11-drv-nvidia*) ;;
    *) return 1 ;;
  esac
}

# ec_packages_failed CODE COMMAND...: the packages are asked, not the exit code. Whether a module was built is asked later.
ec_packages_failed() {
  local code=$1 word seen=0
  shift
  if [[ $1 != dnf || " $* " != *" install "* ]]; then return "$code"; fi
  for word in "$@"; do
    case $word in dnf | install | -*) continue ;; esac
    if ! ec_packages_installed "$word"; then return "$code"; fi
    seen=1
  done
  if ((!seen)); then return "$code"; fi
  ec_log "dnf ended with exit code $code, and yet the packages are in (a scriptlet of DKMS does that): the checks that follow decide"
}

# ec_undo_packages STEP...: takes away what those steps added, brings back what they took away.
ec_undo_packages() {
  local step line name gone=() back=() keys=() failed=0
  ec_packages_settle
  for step in "$@"; do
    while IFS= read -r line; do
      if [[ $line == "$step "* ]]; then
        line=${line#* } name=${line%%=*}
        if ! ec_packages_installed "$name-${line#*=}"; then back+=("$name-${line#*=}"); fi
      fi
    done < <(ec_state_values removed)
  done
  for step in "$@"; do
    while IFS= read -r line; do
      if [[ $line != "$step "* ]]; then continue; fi
      line=${line#* }
      # The kernel that runs is nobody's to remove.
      if [[ $line == kernel*-core-"$(uname -r)" || $line == kernel-"$(uname -r)" ]]; then continue; fi
      if [[ $line == gpg-pubkey-* ]]; then
        keys+=("${line%.*}")
      elif ec_packages_installed "$line"; then
        gone+=("$line")
      fi
    done < <(ec_state_values package)
  done
  ec_undo_holds || return 1
  if ((${#gone[@]})); then ec_dnf_remove "${gone[@]}" || return 1; fi
  if ((${#back[@]})); then ec_dnf install -y "${back[@]}" || failed=1; fi
  for name in ${keys[@]+"${keys[@]}"}; do
    if ec_packages_installed "$name"; then ec_root rpm -e "$name" || ec_log "  the key $name stays in rpm's database"; fi
  done
  return "$failed"
}

# A stream or a lock would keep what was there from coming back.
ec_undo_holds() {
  if [[ $(type -t ec_undo_stream) == function ]]; then ec_undo_stream || return 1; fi
  if [[ $(type -t ec_undo_lock) == function ]]; then ec_undo_lock || return 1; fi
}

# ec_dnf_remove PACKAGE...: exactly these. rpm says who else needs one of them; dnf would take those along without a word.
ec_dnf_remove() {
  local needed
  if ((!EC_DRY_RUN)) && ! needed=$(LC_ALL=C rpm -e --test "$@" 2>&1); then
    ec_log "  others need what would go, and were not installed by this script: everything stays. $(tr '\n' ';' <<<"$needed")"
    return 1
  fi
  ec_root dnf remove -y --setopt=clean_requirements_on_remove=False "$@"
}

# --- dnf that is busy ---

# Waits for another dnf, five minutes at most: dnf itself would wait for ever.
ec_dnf_wait() {
  local waited=0 who
  if ((EC_DRY_RUN)); then return 0; fi
  while who=$(ec_dnf_holder); do
    if ((waited >= 300)); then ec_die 11 "$who has held the package database for five minutes: let it end, then run this script again"; fi
    if ((!waited)); then ec_log "$who holds the package database: waiting"; fi
    sleep 15
    waited=$((waited + 15))
  done
}

ec_dnf_holder() {
  local file pid inode
  for file in "$EC_SYSROOT"/var/run/dnf.pid "$EC_SYSROOT"/var/lib/dnf/rpmdb_lock.pid "$EC_SYSROOT"/var/cache/dnf/metadata_lock.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if [[ $pid =~ ^[0-9]+$ && -e $EC_SYSROOT/proc/$pid/comm ]]; then
      printf '%s (process %s)\n' "$(cat "$EC_SYSROOT/proc/$pid/comm")" "$pid"
      return 0
    fi
  done
  for file in "$EC_SYSROOT"/run/dnf/rpmtransaction.lock "$EC_SYSROOT"/usr/lib/sysimage/rpm/.rpm.lock "$EC_SYSROOT"/var/lib/rpm/.rpm.lock; do
    inode=$(stat -c %i "$file" 2>/dev/null) || continue
    pid=$(awk -v inode=":$inode\$" '$4 == "WRITE" && $6 ~ inode {print $5; exit}' "$EC_SYSROOT/proc/locks" 2>/dev/null)
    if [[ -n $pid ]]; then
      printf 'process %s\n' "$pid"
      return 0
    fi
  done
  return 1
}

# --- kernels ---

# The package that a kernel is from, without -core: kernel, kernel-uek (Oracle), kernel6.12 (Amazon), kernel-64k.
ec_kernel_package() {
  local file name
  for file in "/lib/modules/$1/vmlinuz" "/boot/vmlinuz-$1"; do
    name=$(rpm -qf --qf '%{NAME}\n' "$file" 2>/dev/null | head -n 1) || continue
    if [[ $name == kernel* ]]; then
      printf '%s\n' "${name%-core}"
      return 0
    fi
  done
  if [[ $1 == *uek* ]]; then printf 'kernel-uek\n'; else printf 'kernel\n'; fi
}

# ec_kernel_parts KERNEL [PART...]: its packages of headers (devel) and these besides, with the kernel's own version.
ec_kernel_parts() {
  local kernel=$1 base part
  base=$(ec_kernel_package "$kernel")
  shift
  for part in devel "$@"; do printf '%s-%s-%s\n' "$base" "$part" "${kernel%%+*}"; done
}

# ec_kernel_headers [PART...]: for every kernel that can boot. kernel-devel-matched of the newest makes the next kernel
# bring its headers; without its version it would bring another kernel now.
ec_kernel_headers() {
  local kernel name newest wanted=()
  newest=$(ec_kernels | tail -n 1)
  if [[ -n $newest && $(ec_kernel_package "$newest") == kernel ]] && ((!EC_DRY_RUN)) && ec_packages_offered "kernel-devel-matched-$newest"; then
    wanted+=("kernel-devel-matched-$newest")
  fi
  while IFS= read -r kernel; do
    while IFS= read -r name; do
      if ec_packages_installed "$name"; then continue; fi
      if ((EC_DRY_RUN)) || ec_packages_offered "$name"; then
        wanted+=("$name")
      elif ec_needed_kernels | grep -Fxq -- "$kernel"; then
        ec_refuse "kernel $kernel has no package $name in the enabled archives (mirrors keep the newest alone), so no module can be built for it. Update the kernel (sudo dnf upgrade 'kernel*'), reboot, and run this script again"
      else
        ec_log "kernel $kernel has no $name here: booted, it will have no NVIDIA driver"
      fi
    done < <(ec_kernel_parts "$kernel" "$@")
  done < <(ec_all_kernels)
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

ec_have_kernel_headers() {
  local kernel name seen=0
  while IFS= read -r kernel; do
    while IFS= read -r name; do
      if ! ec_packages_installed "$name"; then return 1; fi
      seen=1
    done < <(ec_kernel_parts "$kernel" "$@")
  done < <(ec_needed_kernels)
  ((seen))
}
