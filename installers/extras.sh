# shellcheck shell=bash
# What stands beside the driver: container engines, the CUDA toolkit, and a driver from a file that the user brought.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# ec_root_copy SOURCE PATH: like ec_root_file, with the content of a file of root's.
ec_root_copy() {
  ec_log "+ copy $1 to $2"
  if ((EC_DRY_RUN)); then return 0; fi
  if [[ -e $EC_SYSROOT$2 ]]; then
    if [[ $(ec_sha256 "$EC_SYSROOT$2") == "$(ec_sha256 "$1")" ]]; then return 0; fi
    ec_die 11 "$2 is there and holds something else: move it away, envcheck does not change it"
  fi
  ec_state_add "file $(ec_sha256 "$1") $2"
  ec_root_quietly install -D -m 0644 -- "$1" "$EC_SYSROOT$2"
}

# ec_root_sum SHA256 PATH
ec_root_sum() { [[ -f $EC_SYSROOT$2 && $(ec_sha256 "$EC_SYSROOT$2") == "$1" ]]; }

ec_root_has() { [[ -s $EC_SYSROOT$1 ]]; }

# ec_keep_file FILE SHA256 DESTINATION: the user's file, copied to root's own place and used only from there.
ec_keep_file() {
  ec_log "+ copy $1 to $3"
  if ((EC_DRY_RUN)); then return 0; fi
  if [[ ! -r $1 ]]; then ec_die 11 "$1 cannot be read here: bring the file of the driver to this very place"; fi
  ec_state_root_dir
  ec_root_quietly install -D -m 0644 -- "$1" "$3.part"
  if [[ $(ec_sha256 "$3.part") != "$2" ]]; then
    ec_root_quietly rm -f -- "$3.part"
    ec_die 1 "$1 is not the file that was named (SHA-256 differs from $2). Nothing of it was used"
  fi
  ec_state_add "fetched $2 $3"
  ec_root_quietly mv -- "$3.part" "$3"
}

# --- CUDA toolkit ---

# ec_deb_member PACKAGE-FILE MEMBER PATH: one file out of a package, which is not installed.
ec_deb_member() {
  if ((!EC_DRY_RUN)); then dpkg-deb --fsys-tarfile "$1" | tar -xO "$2" >"$EC_TMP/member"; fi
  ec_root_copy "$EC_TMP/member" "$3"
}

# ec_toolkit_or PACKAGE CHECK...: nothing to add where an archive gives the toolkit already.
ec_toolkit_or() {
  if ec_packages_installed "$1" || ec_packages_offered "$1"; then return 0; fi
  shift
  "$@"
}

# ec_without_driver PACKAGE: what would come with it is ec_packages_would's word, of the package manager's part.
ec_without_driver() {
  local all found
  if ((EC_DRY_RUN)) && ! ec_packages_offered "$1"; then return 0; fi
  if ! ec_packages_offered "$1"; then
    ec_refuse "no archive here has $1: NVIDIA's repository keeps the toolkits since this system's release. Take another --cuda, or do without --with-toolkit"
    return 0
  fi
  all=$(ec_packages_would "$1") || all=''
  if ! grep -Fxq -- "$1" <<<"$all"; then
    ec_refuse "what $1 would bring along cannot be told ($(ec_packages_hint "$1") says why): without knowing that it is no driver it is not installed"
  fi
  found=$(grep -E '^(cuda-drivers|nvidia-(driver|open|dkms|kernel|kmod|headless)|a?kmod-nvidia|libnvidia-(compute|ml)|libcuda1|cuda$)|^nvidia-.*G0[0-9]' <<<"$all") || found=''
  if [[ -n $found ]]; then ec_refuse "$1 would bring a driver, which is no part of it: $(printf '%s' "$found" | tr '\n' ';')"; fi
}

# --- a driver from a file ---

ec_local_folder() {
  local place
  for place in "$EC_SYSROOT"/var/nvidia-driver-local-repo-*; do
    if [[ -d $place ]]; then printf '%s\n' "$place"; fi
  done
}

ec_local_repository() { [[ -n $(ec_local_folder) ]]; }

ec_local_keyring_there() {
  local place
  for place in "$EC_SYSROOT"/usr/share/keyrings/nvidia-driver-*-keyring.gpg; do
    if [[ -s $place ]]; then return 0; fi
  done
  return 1
}

ec_local_keyring() {
  local folder file found=0
  while IFS= read -r folder; do
    for file in "$folder"/*-keyring.gpg; do
      if [[ ! -s $file ]]; then continue; fi
      found=1
      if ((!EC_DRY_RUN)); then ec_state_add "keyring /usr/share/keyrings/${file##*/}"; fi
      ec_root_copy "$file" "/usr/share/keyrings/${file##*/}"
    done
  done < <(ec_local_folder)
  if ((!found && !EC_DRY_RUN)); then ec_die 1 "the local repository has no key (/var/nvidia-driver-local-repo-*/*-keyring.gpg), and without one apt must not use it"; fi
}

ec_undo_local_keyring() {
  local path code=0
  while IFS= read -r path; do
    ec_undo_file "$path" || code=1
  done < <(ec_state_values keyring)
  return "$code"
}

# Only the entry of the local repository: where there is no network the others cannot be read.
ec_local_lists() {
  local file
  for file in "$EC_SYSROOT"/etc/apt/sources.list.d/nvidia-driver-local-*; do
    if [[ -e $file ]]; then
      ec_root apt-get -o DPkg::Lock::Timeout=300 -o Dir::Etc::SourceList="$file" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0 update
      return 0
    fi
  done
  if ((!EC_DRY_RUN)); then ec_die 1 "the package brought no entry for apt (/etc/apt/sources.list.d/nvidia-driver-local-*): it is no local repository of NVIDIA's"; fi
}

# The entry of the local repository for dnf.
ec_local_entry() { grep -Els 'file:/+var/nvidia-driver-local-repo-' "$EC_SYSROOT"/etc/yum.repos.d/*.repo | head -n 1; }

# ec_local_signed: does dnf check what comes from there, with a key that is there?
ec_local_signed() {
  local file key
  file=$(ec_local_entry)
  if [[ -z $file ]] || ! grep -Eq '^[[:space:]]*gpgcheck[[:space:]]*=[[:space:]]*(1|yes|true)' "$file"; then return 1; fi
  key=$(sed -n 's|^[[:space:]]*gpgkey[[:space:]]*=[[:space:]]*file:/*\(/[^[:space:],]*\).*|\1|p' "$file" | head -n 1)
  [[ -n $key && -s $EC_SYSROOT$key ]]
}

ec_local_signatures() {
  if ((EC_DRY_RUN)) || ec_local_signed; then return 0; fi
  ec_die 11 "dnf would not check the packages of the local repository: its entry ($(ec_local_entry)) must have gpgcheck=1 and name a key that is there (gpgkey=file:///var/nvidia-driver-local-repo-.../*.pub)"
}

# ec_local_dkms WHERE COMMAND: dkms is not NVIDIA's: from an archive that this machine reaches, or brought by somebody,
# who finds it in WHERE and fetches it by COMMAND.
ec_local_dkms() {
  if ((EC_DRY_RUN)); then
    ec_log "+ install dkms from an archive that can be reached, where it is not here"
    return 0
  fi
  if ec_packages_offered dkms; then
    ec_packages_install dkms
  else
    ec_refuse "dkms is not installed, and no archive that this machine reaches has it (it is in $1): bring it with what it needs ($2, where there is a network), install it, and run this script again"
  fi
}

# Never a .run file over packages, nor the other way round.
ec_no_driver_packages() {
  local found
  found=$(ec_module_packages open)$(ec_module_packages proprietary)
  if [[ -n $found ]]; then ec_refuse "packages of a driver are installed ($(printf '%s' "$found" | tr '\n' ' ')), and a .run file must not be laid over them: remove them first, or bring a local repository package (.deb, .rpm)"; fi
}

# ec_run_file_in BRANCH FLAVOUR
ec_run_file_in() { [[ -x $EC_SYSROOT/usr/bin/nvidia-uninstall ]] && ec_module_of "$(uname -r)" "$1" "$2"; }

ec_undo_run_file() {
  if [[ -x $EC_SYSROOT/usr/bin/nvidia-uninstall ]]; then ec_root "$EC_SYSROOT/usr/bin/nvidia-uninstall" --silent; fi
}

# --- container engines ---

ec_engine_there() {
  if ec_have_command "$1"; then return 0; fi
  ec_refuse "$1 is not installed here: install it first, as its own documentation says, then run this script again"
}

ec_engine_config() {
  case $1 in
    docker) printf '/etc/docker/daemon.json\n' ;;
    containerd) printf '/etc/containerd/config.toml\n' ;;
  esac
}

# A run that ended between the configuration and the restart left an engine that does not know of it.
ec_engine_ready() {
  if [[ $(ec_state_values "engine-restart $1" | tail -n 1) == wanted ]]; then return 1; fi
  grep -qs nvidia-container-runtime "$EC_SYSROOT$(ec_engine_config "$1")" "$EC_SYSROOT/etc/$1/conf.d/99-nvidia.toml"
}

# The configuration as it was is kept, for undo. A restart stops containers that run, so it is made only where none does.
ec_engine_configure() {
  local file kept
  file=$(ec_engine_config "$1") kept=$EC_STATE_ROOT/$EC_PLAN_ID/$1.before
  if ((!EC_DRY_RUN)); then
    ec_state_root_dir
    # once begun, what lies there may be half ours
    if [[ -e $EC_SYSROOT$file && ! -e $kept ]] && ! ec_state_has "engine-restart $1 wanted"; then
      ec_root_quietly install -m 0600 -- "$EC_SYSROOT$file" "$kept"
    fi
    ec_state_add "engine-restart $1 wanted"
  fi
  ec_root nvidia-ctk runtime configure --runtime="$1"
  if ((!EC_DRY_RUN)) && [[ -e $EC_SYSROOT$file ]]; then ec_state_add "engine $1 $(ec_sha256 "$EC_SYSROOT$file")"; fi
  ec_engine_restart "$1"
  if ((!EC_DRY_RUN)); then ec_state_add "engine-restart $1 done"; fi
}

ec_engine_restart() {
  if ! ec_service_there "$1"; then
    ec_log "  restart $1 by your own means: it reads its configuration when it starts"
  elif [[ $1 == docker && -n $(ec_root_quietly docker ps -q 2>/dev/null) ]]; then
    ec_log "  containers are running, which a restart would stop: sudo systemctl restart docker when they may"
  else
    ec_root systemctl restart -- "$1"
  fi
}

# ec_undo_engine NAME: only if nobody changed the configuration since.
ec_undo_engine() {
  local file kept sum
  file=$(ec_engine_config "$1") kept=$EC_STATE_ROOT/$EC_PLAN_ID/$1.before
  sum=$(ec_state_values "engine $1" | tail -n 1)
  if [[ -z $sum || ! -e $EC_SYSROOT$file ]]; then return 0; fi
  if [[ $(ec_sha256 "$EC_SYSROOT$file") != "$sum" ]]; then
    ec_log "  $file was changed since, it stays"
    return 1
  fi
  if [[ -e $kept ]]; then
    ec_root cp -- "$kept" "$EC_SYSROOT$file"
  else
    ec_root rm -f -- "$EC_SYSROOT$file"
  fi
  ec_engine_restart "$1"
}

# Podman takes GPUs from a description that must be of the driver that runs: without one there is nothing to describe yet.
ec_cdi_ready() {
  [[ ! -e $EC_SYSROOT/sys/module/nvidia/version || -s $EC_SYSROOT/var/run/cdi/nvidia.yaml || -s $EC_SYSROOT/etc/cdi/nvidia.yaml ]]
}

ec_cdi_describe() {
  if ec_service_there nvidia-cdi-refresh.path; then
    ec_service_on nvidia-cdi-refresh.path
    ec_root systemctl start -- nvidia-cdi-refresh.service
  else
    if [[ ! -e $EC_SYSROOT/etc/cdi/nvidia.yaml ]]; then ec_state_add "cdi /etc/cdi/nvidia.yaml"; fi
    ec_root nvidia-ctk cdi generate --output="$EC_SYSROOT/etc/cdi/nvidia.yaml"
  fi
}

ec_undo_cdi() {
  ec_undo_service nvidia-cdi-refresh.path
  if [[ -n $(ec_state_values cdi) ]]; then ec_root rm -f -- "$EC_SYSROOT/etc/cdi/nvidia.yaml"; fi
}
