# shellcheck shell=bash
# What the steps of SLES and openSUSE call: driver.sh's interface of package managers on zypper and rpm, repositories and
# their keys. Locks, and which packages make a driver, are suse.sh's.
# Never: --no-gpg-checks, --gpg-auto-import-keys, a yum .repo file (zypper cannot read NVIDIA's), zypper up or dup.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# SUSE's mokutil takes root's password for the firmware's question.
EC_MOK_OPTION='--root-pw'

# NVIDIA's repository, where a recipe adds it: SLES has dkms from nowhere else.
EC_ZYPPER_URL=''

ec_packages_hint() {
  if [[ " $* " == *" dkms "* && -n $EC_ZYPPER_URL ]] && ! ec_packages_offered dkms; then
    printf 'sudo zypper addrepo %s cuda, then ' "$EC_ZYPPER_URL"
  fi
  printf 'sudo zypper install %s\n' "$*"
}

ec_desktop() { ec_any_installed xorg-x11-server gdm sddm lightdm xwayland; }

# ec_zypper_editions NAME: version-release of all that the repositories hold. Asked once until zypper changes something.
ec_zypper_editions() {
  local file=$EC_TMP/zypper-$1
  if [[ ! -e $file ]]; then
    LC_ALL=C zypper --non-interactive --no-refresh --xmlout search --details --match-exact --type package "$1" 2>/dev/null |
      tr '<' '\n' | grep '^solvable ' | grep -v 'repository="(System Packages)"' | sed -n 's/.* edition="\([^"]*\)".*/\1/p' |
      sort -u >"$file" || true
  fi
  cat -- "$file"
}

ec_packages_offered() { [[ -n $(ec_zypper_editions "$1") ]]; }

# ec_zypper_driver_version EDITION: 595.71.05_k6.4.0_150700.53.40-150700.16.8.1 is 595.71.05.
ec_zypper_driver_version() {
  local version=${1%%-*}
  printf '%s\n' "${version%%_k*}"
}

# ec_zypper_of_branch NAME BRANCH: the driver versions of that branch which the repositories hold of NAME.
ec_zypper_of_branch() {
  local edition
  while IFS= read -r edition; do
    if [[ $edition == "$2".* ]]; then ec_zypper_driver_version "$edition"; fi
  done < <(ec_zypper_editions "$1") | sort -u
}

# ec_packages_expect BRANCH PACKAGE...
ec_packages_expect() {
  local branch=$1 name
  shift
  for name in "$@"; do
    if [[ -z $(ec_zypper_of_branch "$name" "$branch") ]]; then
      ec_refuse "the repositories here hold $name $(ec_zypper_editions "$name" | sort -V | tail -n 1 | sed 's/^$/(nothing)/'), and the plan needs branch $branch: they have moved on, or a repository is off (zypper search --details $name). Make a plan with another --driver-branch"
    fi
  done
}

# ec_module_packages FLAVOUR: for the state that a run finds.
ec_module_packages() {
  local pattern='^nvidia-(driver-G0|gfxG0)'
  if [[ $1 == open ]]; then pattern='^nvidia-open-(driver-G0|gfxG0)'; fi
  rpm -qa --queryformat '%{NAME}\n' 2>/dev/null | grep -E -- "$pattern" || true
}

# --- running zypper ---

# zypper's lock is waited for, its notices are no failures: 102 and 103 say that something wants a restart, 106 that a
# repository could not be refreshed, 107 that a package's own script failed (the steps' checks tell what is missing).
ec_zypper() {
  local code=0
  rm -f -- "$EC_TMP"/zypper-*
  ec_root env ZYPP_LOCK_TIMEOUT=300 zypper --non-interactive "$@" || code=$?
  case $code in
    0 | 102 | 103) return 0 ;;
    106 | 107) ec_log "zypper ended with notice $code, see above; what it left undone is asked for again" ;;
    7) ec_die 11 "another program has used zypper's lock for five minutes: let it end, then run this script again" ;;
    *) return "$code" ;;
  esac
}

# ec_zypper_plan OPTION... : "install NAME EDITION" or "remove NAME EDITION" for each change that zypper would make.
ec_zypper_plan() {
  local text line kind='' code=0
  text=$(LC_ALL=C ec_root_quietly env ZYPP_LOCK_TIMEOUT=300 zypper --non-interactive --no-refresh --xmlout install \
    --dry-run "$@" </dev/null) || code=$?
  case $code in
    0 | 102 | 103 | 106) ;;
    *)
      printf '%s\n' "$text" | tr '<' '\n' | sed -n 's/^message [^>]*>//p' >&2
      return 1
      ;;
  esac
  while IFS= read -r line; do
    case $line in
      to-install*) kind=install ;;
      to-remove*) kind=remove ;;
      to-*) kind=other ;;
      /to-*) kind='' ;;
      solvable*)
        if [[ $kind == install || $kind == remove ]]; then
          printf '%s %s\n' "$kind" "$(printf '%s\n' "$line" | sed 's/.* name="\([^"]*\)".* edition="\([^"]*\)".*/\1 \2/')"
        fi
        ;;
    esac
  done < <(printf '%s\n' "$text" | tr '<' '\n')
}

# ec_packages_would NAME: the packages that would come with it.
ec_packages_would() { ec_zypper_plan --auto-agree-with-licenses "$1" | sed -n 's/^install \([^ ]*\) .*/\1/p'; }

# ec_packages_record COMMAND...: what a zypper command with "install" would add and take away, for undo.
ec_packages_record() {
  if ((EC_DRY_RUN)) || [[ $1 != zypper || " $* " != *" install "* ]]; then return 0; fi
  while [[ $1 != install ]]; do shift; done
  shift
  ec_zypper_record "$@"
}

ec_zypper_record() {
  local plan word name edition
  if ((EC_DRY_RUN)); then return 0; fi
  plan=$(ec_zypper_plan "$@") || ec_die 1 "zypper cannot resolve this: zypper install $*"
  while IFS=' ' read -r word name edition; do
    if [[ $word == remove && ! $name =~ nvidia|cuda|^nv-prefer ]]; then
      ec_die 11 "zypper would remove $name, which is no part of the driver: look at sudo zypper install --dry-run $*"
    fi
  done <<<"$plan"
  while IFS=' ' read -r word name edition; do
    case $word in
      install)
        # kernels and their headers are installed in several versions, of which others may be the user's
        if [[ $name == kernel-* ]]; then name+="=$edition"; fi
        ec_state_add "package $EC_ID $name"
        ;;
      remove) ec_state_add "removed $EC_ID $name=$edition" ;;
    esac
  done <<<"$plan"
}

# ec_packages_install PACKAGE...; !NAME goes in the same transaction. NVIDIA's packages ask for their licence to be
# taken: whoever lets this script go on takes it.
ec_packages_install() {
  if ((!$#)); then return 0; fi
  ec_zypper_record --auto-agree-with-licenses --oldpackage "$@"
  ec_zypper install --auto-agree-with-licenses --oldpackage "$@"
}

ec_packages_drop() { ec_packages_install "${@/#/!}"; }

ec_packages_version() {
  local edition
  if ! ec_packages_installed "$1"; then return 0; fi
  edition=$(ec_rpm_version "$1")
  ec_zypper_driver_version "$edition"
}

ec_packages_exact() {
  local edition
  while IFS= read -r edition; do
    if [[ -n $2 && $(ec_zypper_driver_version "$edition") == "$2" ]]; then
      printf '%s\n' "$1=$edition"
      return 0
    fi
  done < <(ec_zypper_editions "$1" | sort -rV)
}

# ec_undo_packages STEP...: takes away what those steps added, brings back what they took away, and nothing else.
ec_undo_packages() {
  local step line name word edition words=() gone=' ' plan
  for step in "$@"; do
    while IFS= read -r line; do
      if [[ $line != "$step "* ]]; then continue; fi
      name=${line#* }
      if ec_packages_installed "${name/=/-}"; then words+=("!$name") gone+="${name%%=*} "; fi
    done < <(ec_state_values package)
    while IFS= read -r line; do
      if [[ $line != "$step "* ]]; then continue; fi
      line=${line#* } name=${line%%=*}
      if ec_packages_installed "$name"; then continue; fi
      if ec_zypper_editions "$name" | grep -Fxq -- "${line#*=}"; then
        words+=("$line")
      elif ec_packages_offered "$name"; then
        words+=("$name")
      else
        ec_log "  no repository holds $name any more: it cannot be brought back"
      fi
    done < <(ec_state_values removed)
  done
  if ((!${#words[@]})); then return 0; fi
  plan=$(ec_zypper_plan --auto-agree-with-licenses --oldpackage "${words[@]}") || return 1
  while IFS=' ' read -r word name edition; do
    if [[ $word == remove && $gone != *" $name "* ]]; then
      ec_log "  $name needs what would go and was not installed by this script: everything stays. Remove it first"
      return 1
    fi
  done <<<"$plan"
  ec_zypper install --auto-agree-with-licenses --oldpackage "${words[@]}"
}

# --- repositories and keys ---

# ec_zypper_key_fetch URL FINGERPRINT FILE: the file stays only if it is the key of this fingerprint.
ec_zypper_key_fetch() {
  local found
  ec_download "$1" "$3"
  if ((EC_DRY_RUN)); then return 0; fi
  mkdir -p "$EC_TMP/gnupg" && chmod 0700 "$EC_TMP/gnupg"
  found=$(gpg --homedir "$EC_TMP/gnupg" --batch --with-colons --show-keys "$3" 2>/dev/null |
    sed -n 's/^fpr:*\([0-9A-F]\{40\}\):.*/\1/p' | head -n 1) || found=''
  if [[ $found != "$2" ]]; then
    ec_root_quietly rm -f -- "$3"
    ec_die 1 "$1 holds the key ${found:-(none)}, and $2 was expected. Nothing of it was used"
  fi
}

# ec_zypper_key URL FINGERPRINT FILE: rpm trusts what this key signs.
ec_zypper_key() {
  ec_zypper_key_fetch "$@"
  ec_zypper_trust "$2" "$3"
}

# ec_zypper_trust FINGERPRINT FILE: of a file that was compared before.
ec_zypper_trust() {
  ec_state_add "key $1"
  ec_root rpm --import "$2"
}

# rpm names a key by its last eight digits (rpm 4) or by all of them (rpm 6).
ec_zypper_keys_of() { rpm -qa 'gpg-pubkey*' 2>/dev/null | grep -i -- "${1:32}" || true; }

ec_zypper_key_known() { [[ -n $(ec_zypper_keys_of "$1") ]]; }

# ec_undo_zypper_key FINGERPRINT FILE
ec_undo_zypper_key() {
  local name
  if [[ -f $2 ]]; then ec_root rm -f -- "$2"; fi
  if ! ec_state_has "key $1"; then return 0; fi
  while IFS= read -r name; do
    ec_root rpm -e --allmatches "$name" || return 1
  done < <(ec_zypper_keys_of "$1")
}

# ADDRESS ALIAS of every enabled repository.
ec_zypper_repos() {
  local file line alias address on
  for file in "$EC_SYSROOT"/etc/zypp/repos.d/*.repo; do
    if [[ ! -r $file ]]; then continue; fi
    alias='' address='' on=1
    while IFS= read -r line; do
      case $line in
        \[*\])
          if [[ -n $address && $on == 1 ]]; then printf '%s %s\n' "$address" "$alias"; fi
          alias=${line#\[} address='' on=1
          alias=${alias%\]}
          ;;
        enabled=*) on=${line#enabled=} ;;
        baseurl=*)
          address=${line#baseurl=}
          address=${address%/}
          ;;
      esac
    done < <(cat -- "$file" && printf '\n[]\n')
  done
}

# ec_zypper_alias URL: the alias of an enabled repository of this address, whoever added it.
ec_zypper_alias() { ec_zypper_repos | sed -n "s|^${1%/} ||p" | head -n 1; }

ec_zypper_has_repo() { [[ -n $(ec_zypper_alias "$1") ]]; }

# ec_zypper_add_repo URL ALIAS [PRIORITY]: by its address, with signatures checked. 99 is what every other one has, and a
# greater number comes after them.
ec_zypper_add_repo() {
  ec_state_add "repository $2"
  ec_zypper addrepo --gpgcheck ${3:+--priority "$3"} "$1" "$2"
}

ec_undo_zypper_repo() {
  if ec_state_has "repository $1" && [[ -e $EC_SYSROOT/etc/zypp/repos.d/$1.repo ]]; then
    ec_zypper removerepo "$1"
  fi
}

# ec_zypper_refresh URL: this repository alone; the system's own are refreshed as they are set.
ec_zypper_refresh() {
  local alias
  alias=$(ec_zypper_alias "$1")
  ec_zypper refresh "${alias:-$1}"
}

# --- headers ---

# ec_suse_devel KERNEL: the package of its headers with its version. 6.4.0-150600.23.65-default is of
# kernel-default 6.4.0-150600.23.65.1.
ec_suse_devel() {
  local edition flavour=${1##*-}
  while IFS= read -r edition; do
    if [[ $edition == "${1%-*}" || $edition == "${1%-*}".* ]]; then
      printf 'kernel-%s-devel=%s\n' "$flavour" "$edition"
      return 0
    fi
  done < <(rpm -q --queryformat '%{VERSION}-%{RELEASE}\n' "kernel-$flavour" 2>/dev/null)
}

# ec_kernel_headers: for every kernel that can boot, of exactly its version.
ec_kernel_headers() {
  local kernel devel wanted=()
  while IFS= read -r kernel; do
    devel=$(ec_suse_devel "$kernel")
    if [[ -n $devel ]] && ec_packages_installed "${devel/=/-}"; then continue; fi
    if [[ -n $devel ]] && ec_zypper_editions "${devel%%=*}" | grep -Fxq -- "${devel#*=}"; then
      wanted+=("$devel")
    elif ec_needed_kernels | grep -Fxq -- "$kernel"; then
      ec_refuse "the repositories hold no headers of kernel $kernel, so no module can be built for it. Boot a kernel of the distribution, or bring the system up to date first (which is your own decision) and reboot"
    else
      ec_log "kernel $kernel has no headers here: booted, it will have no NVIDIA driver"
    fi
  done < <(ec_all_kernels)
  if ((${#wanted[@]})); then ec_packages_install "${wanted[@]}"; fi
}

ec_have_kernel_headers() {
  local kernel devel seen=0
  while IFS= read -r kernel; do
    devel=$(ec_suse_devel "$kernel")
    if [[ -z $devel ]] || ! ec_packages_installed "${devel/=/-}"; then return 1; fi
    seen=1
  done < <(ec_needed_kernels)
  ((seen))
}
