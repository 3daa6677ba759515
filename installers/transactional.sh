# shellcheck shell=bash
# What the steps of MicroOS, Leap Micro and SUSE Linux Micro call beside zypper.sh and suse.sh. Their root is read-only:
# transactional-update makes the change in a new snapshot, which the next boot starts. Until then the running system
# does not know of it. DKMS cannot build in there, so only SUSE's prebuilt module serves.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# Changes of this script go on in one snapshot, the newest.
ec_transaction() {
  rm -f -- "$EC_TMP"/zypper-*
  ec_root env ZYPP_LOCK_TIMEOUT=300 transactional-update --non-interactive --continue "$@"
}

# A snapshot that waits for its boot does not know of repositories that are added now.
ec_transactional_preflight() {
  ec_need_command transactional-update 'this system is not the transactional one that the plan was made for'
  if [[ -e $EC_SYSROOT/run/reboot-needed ]] && ! ec_state_has 'ran driver-key'; then
    ec_log "an update of this system waits for its reboot: reboot, then run this script again"
    if ((!EC_DRY_RUN)); then
      EC_NOW=''
      exit 10
    fi
  fi
  ec_driver_preflight "$@"
}

# ec_transactional_key URL FINGERPRINT FILE: the key is kept under /etc, which the snapshot has too.
ec_transactional_key() {
  local file=/etc/pki/rpm-gpg/envcheck-nvidia-$2.asc
  ec_zypper_key_fetch "$1" "$2" "$3"
  ec_log "+ write $file"
  if ((!EC_DRY_RUN)); then
    ec_state_add "file $(ec_sha256 "$3") $file"
    ec_root_quietly install -D -m 0644 -- "$3" "$EC_SYSROOT$file"
    if ! ec_zypper_key_known "$2"; then ec_state_add "key $2"; fi
  fi
  ec_transaction run rpm --import "$file"
}

# ec_undo_transactional_key FINGERPRINT FILE: in the snapshot, where alone the key may be.
ec_undo_transactional_key() {
  if [[ -f $2 ]]; then ec_root rm -f -- "$2"; fi
  ec_undo_file "/etc/pki/rpm-gpg/envcheck-nvidia-$1.asc" || return 1
  if [[ $(ec_state_values key) != "$1" ]]; then return 0; fi
  # shellcheck disable=SC2016  # for the shell in the snapshot
  ec_transaction run sh -c 'rpm -qa "gpg-pubkey*" | grep -i -- "$1" | xargs -r rpm -e --allmatches' sh "${1:32}"
}

# ec_transactional_refresh URL: in the snapshot, which knows the key; the lists are shared.
ec_transactional_refresh() {
  local alias
  alias=$(ec_zypper_alias "$1")
  ec_transaction run zypper --non-interactive refresh "${alias:-$1}"
}

# ec_transactional_install GENERATION BRANCH
ec_transactional_install() {
  local name
  if ! ec_suse_choose "$1" "$2" signed; then
    if ((!EC_DRY_RUN)); then
      ec_die 11 "the repositories hold no whole driver of branch $2 any more: make a plan with another --driver-branch"
    fi
    EC_SUSE_PACKAGES=("$(ec_suse_module "$1" signed)-FLAVOUR=VERSION" "nvidia-compute-utils-$1=VERSION" nvidia-persistenced=VERSION)
    ec_log "VERSION is asked of the repositories when they are there: the newest of branch $2 of which all of these exist"
  fi
  if [[ -n $(ec_suse_strangers "$1" signed) ]]; then
    ec_refuse "parts of another driver are installed: $(ec_suse_strangers "$1" signed | tr '\n' ' '). Take them away first: sudo transactional-update pkg remove those names, reboot, then run this script again"
  fi
  for name in "${EC_SUSE_PACKAGES[@]}"; do ec_state_add "package $EC_ID ${name%%=*}"; done
  ec_transaction pkg install --auto-agree-with-licenses "${EC_SUSE_PACKAGES[@]}"
}

# ec_undo_transactional STEP: those that the step named, and what came for them and nothing else needs; in the newest
# snapshot, so before a reboot too.
ec_undo_transactional() {
  local line words=()
  while IFS= read -r line; do
    if [[ $line == "$1 "* ]]; then words+=("${line#* }"); fi
  done < <(ec_state_values package)
  if ((${#words[@]})); then
    ec_transaction pkg remove --clean-deps "${words[@]}" || return 1
    ec_log "  they are gone after the next boot"
  fi
}

ec_transactional_activate() { ec_log "the new snapshot with the driver becomes the system with the next boot"; }
