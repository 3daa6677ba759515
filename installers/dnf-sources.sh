# shellcheck shell=bash
# Where dnf takes a driver from: keys that are checked before rpm sees them, archives, module streams, locks, and one
# source alone. Read after dnf.sh.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

EC_RPM_KEYS=/etc/pki/rpm-gpg/RPM-GPG-KEY-envcheck

# --- keys ---

# ec_rpm_key NAME URL PROOF: fetched, compared, and only then where an archive's entry names it. The proof is the
# fingerprint (40 digits), the SHA-256 of the file without its Version line (64), or a bare key id (8), which proves
# nothing: then the fingerprint is shown, and the plan says unverified.
ec_rpm_key() {
  local file=$EC_RPM_KEYS-$1 part=$EC_STATE_ROOT/downloads/key-$1
  if ((!EC_DRY_RUN)); then ec_state_root_dir; fi
  ec_download "$2" "$part"
  if ((EC_DRY_RUN)); then return 0; fi
  if ! ec_key_holds "$part" "$3"; then
    ec_root_quietly rm -f -- "$part"
    ec_die 1 "$2 is not the key that was expected ($3). Nothing was imported"
  fi
  if ((${#3} == 8)); then
    ec_log "unverified: nobody told envcheck the fingerprint of this key. It came over https from $2 and is $(ec_key_fingerprint "$part"); compare it with what NVIDIA publishes"
  fi
  ec_state_add "file $(ec_sha256 "$part") $file"
  ec_root_quietly install -D -m 0644 -- "$part" "$EC_SYSROOT$file"
  ec_root_quietly rm -f -- "$part"
}

# ec_rpm_key_there NAME PROOF
ec_rpm_key_there() { [[ -f $EC_SYSROOT$EC_RPM_KEYS-$1 ]] && ec_key_holds "$EC_SYSROOT$EC_RPM_KEYS-$1" "$2"; }

ec_key_holds() {
  local found
  if ((${#2} == 64)); then
    sed '/^Version/d' "$1" >"$EC_TMP/key"
    [[ $(ec_sha256 "$EC_TMP/key") == "$2" ]]
    return
  fi
  if ! ec_have_command gpg; then ec_die 11 "gpg is not installed, and the key of an archive must be looked at: $(ec_packages_hint gnupg2)"; fi
  found=$(ec_key_fingerprint "$1")
  [[ -n $found && ${found:${#found}-${#2}} == "$2" ]]
}

# The fingerprint, where the file holds one key and no other beside it.
ec_key_fingerprint() {
  GNUPGHOME=$EC_TMP gpg --batch --show-keys --with-colons "$1" 2>/dev/null |
    awk -F: '$1 == "pub" {keys++; want = 1} $1 == "fpr" && want {print $10; want = 0} END {exit keys != 1}' || true
}

# --- archives ---

# The identifiers of entries that dnf knows: "all" or "enabled".
ec_dnf_repos() { ec_dnf_ask -q repolist "--$1" | awk 'NR > 1 || $1 != "repo" {print $1}'; }

# ec_dnf_enabled ID...: is one of these enabled?
ec_dnf_enabled() {
  local id known
  known=$(ec_dnf_repos enabled)
  for id in "$@"; do
    if grep -Fxq -- "$id" <<<"$known"; then return 0; fi
  done
  return 1
}

# ec_dnf_enable ID...: the first of these that this machine knows: one archive has other names on a registered RHEL, in
# a cloud, and on each rebuild.
ec_dnf_enable() {
  local id known
  if ((EC_DRY_RUN)); then
    ec_log "+ enable one of the archives $*"
    return 0
  fi
  known=$(ec_dnf_repos all)
  for id in "$@"; do
    if ! grep -Fxq -- "$id" <<<"$known"; then continue; fi
    ec_state_add "enabled $EC_ID $id"
    ec_dnf_switch enable "$id"
    return 0
  done
  ec_refuse "dnf knows none of the archives $*: on RHEL register the machine first (sudo subscription-manager register)"
}

# ec_dnf_switch enable|disable ID: subscription-manager owns RHEL's entries; dnf 5 has other words than dnf 4.
ec_dnf_switch() {
  if [[ $2 == *-rpms && $2 != *rhui* ]] && ec_have_command subscription-manager; then
    ec_root subscription-manager repos "--$1=$2"
  elif ec_dnf_is_5; then
    ec_root dnf config-manager setopt "$2.enabled=$([[ $1 == enable ]] && echo 1 || echo 0)"
  else
    ec_dnf_plugins
    ec_root dnf config-manager "--set-${1}d" "$2"
  fi
}

ec_dnf_is_5() { [[ $(dnf --version 2>/dev/null | head -n 1) == *dnf5* ]]; }

ec_dnf_plugins() {
  if ! ec_packages_installed dnf-plugins-core; then ec_packages_install dnf-plugins-core; fi
}

# ec_undo_enable STEP
ec_undo_enable() {
  local line
  while IFS= read -r line; do
    if [[ $line == "$1 "* ]] && ec_dnf_enabled "${line#* }"; then ec_dnf_switch disable "${line#* }" || return 1; fi
  done < <(ec_state_values enabled)
  ec_undo_packages "$1"
}

# ec_epel RELEASE PROOF: dkms is in EPEL. The distribution's own package brings its key where there is one; RHEL has none.
ec_epel() {
  local name
  if ((EC_DRY_RUN)); then
    ec_log "+ enable EPEL, by the distribution's package or by an entry of its own"
    return 0
  fi
  for name in epel-release "oracle-epel-release-el$1"; do
    if ec_packages_offered "$name"; then
      ec_packages_install "$name"
      return 0
    fi
  done
  ec_rpm_key epel "https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-$1" "$2"
  # shellcheck disable=SC2016  # dnf's own variable
  ec_root_file /etc/yum.repos.d/envcheck-epel.repo '[envcheck-epel]' "name=EPEL $1" \
    "metalink=https://mirrors.fedoraproject.org/metalink?repo=epel-$1&arch=\$basearch" \
    enabled=1 gpgcheck=1 "gpgkey=file://$EC_RPM_KEYS-epel"
}

ec_dkms_offered() { ec_packages_installed dkms || ec_packages_offered dkms; }

# ec_undo_epel STEP
ec_undo_epel() {
  ec_undo_packages "$1" || return 1
  ec_undo_file /etc/yum.repos.d/envcheck-epel.repo || return 1
  ec_undo_file "$EC_RPM_KEYS-epel"
}

# ec_cuda_repo REPOSITORY ARCHITECTURE: an entry of our own for NVIDIA's repository, unless the machine has one.
ec_cuda_repo() {
  local url="https://developer.download.nvidia.com/compute/cuda/repos/$1/$2" file
  file=$(ec_cuda_repo_file "$1" "$2")
  if [[ -n $file && $file != */envcheck-cuda.repo ]]; then
    ec_log "NVIDIA's repository is there already: $file"
    return 0
  fi
  ec_root_file /etc/yum.repos.d/envcheck-cuda.repo "[cuda-$1-$2]" "name=NVIDIA $1 $2" "baseurl=$url" \
    enabled=1 gpgcheck=1 "gpgkey=file://$EC_RPM_KEYS-nvidia"
}

# ec_cuda_repo_file [REPOSITORY ARCHITECTURE]: the file of an enabled entry for it.
ec_cuda_repo_file() {
  local file
  for file in "$EC_SYSROOT"/etc/yum.repos.d/*.repo; do
    if [[ $file == */envcheck-cuda-toolkit.repo ]]; then continue; fi # it leaves out every driver
    if grep -Eqs "^[[:space:]]*baseurl[[:space:]]*=.*developer\\.download\\.nvidia\\.(com|cn)/compute/cuda/repos/${1:-}${2:+/$2}" "$file" &&
      ! grep -Eq '^[[:space:]]*enabled[[:space:]]*=[[:space:]]*(0|no|false)' "$file"; then
      printf '%s\n' "$file"
      return 0
    fi
  done
}

ec_cuda_repo_there() {
  local file
  file=$(ec_cuda_repo_file "$1" "$2")
  [[ -n $file ]]
}

# --- one source alone ---

# ec_one_source WANTED: distribution, almalinux, nvidia or rpmfusion. Halves of a driver from two sources never fit.
ec_one_source() {
  local other file
  ec_dnf_wait
  for other in almalinux negativo17 rpmfusion nvidia; do
    if [[ $other == "$1" ]] || ! ec_source_there "$other"; then continue; fi
    if [[ $1 == almalinux && $other == nvidia ]] && ec_packages_installed almalinux-release-nvidia-driver; then continue; fi
    ec_refuse "this machine takes its driver from another source ($other), and two sources mix its halves: $(ec_source_hint "$other")"
  done
  file=$(ec_cuda_repo_file)
  if [[ -n $file ]] && grep -Eq '^[[:space:]]*gpgcheck[[:space:]]*=[[:space:]]*(0|no|false)' "$file"; then
    ec_refuse "$file takes unsigned packages from NVIDIA's repository (gpgcheck=0): set it to 1"
  fi
}

ec_source_there() {
  local name
  case $1 in
    almalinux) ec_packages_installed almalinux-release-nvidia-driver ;;
    negativo17)
      for name in "$EC_SYSROOT"/etc/yum.repos.d/epel-nvidia*.repo "$EC_SYSROOT"/etc/yum.repos.d/fedora-nvidia*.repo; do
        if [[ -e $name ]]; then return 0; fi
      done
      return 1
      ;;
    rpmfusion)
      while IFS=' ' read -r name _; do
        case $name in akmod-nvidia* | kmod-nvidia-*xx* | xorg-x11-drv-nvidia*) return 0 ;; esac
      done < <(ec_rpms)
      return 1
      ;;
    nvidia)
      name=$(ec_cuda_repo_file)
      [[ -n $name && $name != */envcheck-cuda.repo ]]
      ;;
  esac
}

ec_source_hint() {
  case $1 in
    almalinux) printf 'remove almalinux-release-nvidia-driver and its packages, or plan with the branch that it has\n' ;;
    negativo17) printf 'remove the negativo17 repository and its packages\n' ;;
    rpmfusion) printf "remove RPM Fusion's packages (sudo dnf remove 'akmod-nvidia*' 'xorg-x11-drv-nvidia*')\n" ;;
    nvidia) printf "disable NVIDIA's repository in %s and remove its packages\n" "$(ec_cuda_repo_file)" ;;
  esac
}

# ec_driver_clear BRANCH KERNEL-MODULE-PACKAGE: takes away what cannot stay beside it: another branch, or the other flavour.
ec_driver_clear() {
  local name gone=()
  while IFS= read -r name; do
    gone+=("$name")
    case $name in
      nvidia-fabric* | nvidia-imex-* | libnvidia-nscq-* | libnvsdm-*) ec_state_add "companion ${name%-*-*}" ;;
    esac
  done < <(ec_driver_wrong "$1" "$2")
  ec_packages_drop ${gone[@]+"${gone[@]}"}
}

# ec_companions: what must be of exactly the driver's version, and was here before: NVSwitch's fabric manager, IMEX.
ec_companions() {
  local names=()
  while IFS= read -r name; do names+=("$name"); done < <(ec_state_values companion)
  ec_packages_install ${names[@]+"${names[@]}"}
}

ec_companions_done() {
  local name
  while IFS= read -r name; do
    if ! ec_packages_installed "$name"; then return 1; fi
  done < <(ec_state_values companion)
}

ec_driver_clean() { [[ -z $(ec_driver_wrong "$1" "$2") ]]; }

# One wrong module package takes the right one along: DKMS knows both by one name, and forgets it with the first that goes.
ec_driver_wrong() {
  local name version modules=() wrong=0
  while IFS=' ' read -r name version; do
    if ! ec_is_driver_package "$name"; then continue; fi
    case $name in
      kmod-nvidia* | akmod-nvidia* | dkms-nvidia)
        modules+=("$name-$version")
        # one that akmods or the distribution built has the kernel's version in its name
        if [[ $version != "$1".* || ($name != "$2" && ($name != "${2#a}"-* || $name == *-dkms)) ]]; then wrong=1; fi
        ;;
      *) if [[ $version =~ ^[0-9]{3}\. && $version != "$1".* ]]; then printf '%s-%s\n' "$name" "$version"; fi ;;
    esac
  done < <(ec_rpms)
  if ((wrong)); then printf '%s\n' "${modules[@]}"; fi
}

# --- module streams: RHEL 8 and 9 ---

ec_stream_enabled() {
  local file=$EC_SYSROOT/etc/dnf/modules.d/nvidia-driver.module
  if grep -qs '^state=enabled' "$file"; then sed -n 's/^stream=//p' "$file"; fi
}

# ec_stream NAME: a stream holds its branch. dnf refuses to switch one, so the old one is reset first.
ec_stream() {
  local old offered
  old=$(ec_stream_enabled)
  if [[ $old == "$1" ]]; then return 0; fi
  if ((!EC_DRY_RUN)); then
    offered=$(ec_dnf_ask -q module list nvidia-driver | awk '$1 == "nvidia-driver" {print $2}')
    if ! grep -Fxq -- "$1" <<<"$offered"; then
      ec_refuse "NVIDIA's repository has no module stream nvidia-driver:$1 here (it has: $(tr '\n' ' ' <<<"$offered")). Make a plan with another --driver-branch"
    fi
    if [[ -z $(ec_state_values stream) ]]; then ec_state_add "stream ${old:-none}"; fi
  fi
  if [[ -n $old ]]; then ec_dnf module reset -y nvidia-driver; fi
  ec_dnf module enable -y "nvidia-driver:$1"
}

ec_stream_is() { [[ $(ec_stream_enabled) == "$1" ]]; }

ec_undo_stream() {
  local old
  old=$(ec_state_values stream | head -n 1)
  if [[ -z $old || $(ec_stream_enabled) == "$old" ]]; then return 0; fi
  if [[ -n $(ec_stream_enabled) ]]; then ec_dnf module reset -y nvidia-driver || return 1; fi
  if [[ $old != none ]]; then ec_dnf module enable -y "nvidia-driver:$old"; fi
}
