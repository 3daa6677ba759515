# shellcheck shell=bash
# What the user stage's steps call: questions to an environment, files, directories of wheels.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

# ec_have PYTHON REQUIREMENT...: are these installed there? Asks the metadata, imports none of them.
ec_have() {
  local python=$1
  shift
  ec_ask_python "$python" have "$@"
}

# ec_same_build PYTHON DISTRIBUTION VERSION...: absent, or exactly one of these versions, local part included.
ec_same_build() {
  local python=$1
  shift
  if ! ec_have_command "$python"; then return 0; fi
  ec_ask_python "$python" same "$@"
}

ec_ask_python() {
  local python=$1
  shift
  if ! ec_have_command "$python"; then return 1; fi
  ec_have_text >"$EC_TMP/have.py"
  ec_deadline 120 "$python" "$EC_TMP/have.py" "$@" </dev/null
}

# ec_have_in TOOL ENVIRONMENT REQUIREMENT...: the same of a conda environment that is known by its name.
ec_have_in() {
  local tool=$1 place=$2
  shift 2
  ec_have_text >"$EC_TMP/have.py"
  ec_deadline 300 "$tool" run -n "$place" python "$EC_TMP/have.py" have "$@" </dev/null
}

# ec_python_version COMMAND...: "3.11", or "3.13t" where it is free-threaded.
ec_python_version() {
  ec_deadline 300 "$@" -c 'import sys
sys.path[:] = [p for p in sys.path if p]
import sysconfig
free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print("%d.%d%s" % (sys.version_info[0], sys.version_info[1], free))' </dev/null 2>/dev/null
}

# ec_have_python PYTHON VERSION PLACE: an environment of another Python, or somebody's directory, is never built over.
ec_have_python() {
  local found=''
  if ec_have_command "$1"; then found=$(ec_python_version "$1") || found=''; fi
  if [[ $found == "$2" ]]; then return 0; fi
  if [[ -n $found ]]; then
    ec_die 11 "the environment $3 is there with Python $found, and this plan needs $2: remove it, or name another place (--venv, --prefix)"
  fi
  if [[ -e $3 && (! -d $3 || -n $(ls -A -- "$3")) ]] && ! ec_state_has "created $3"; then
    ec_die 11 "$3 is there and is no environment with a working Python: remove it, or name another place (--venv, --prefix)"
  fi
  return 1
}

ec_have_python_in() {
  local tool=$1 place=$2 version=$3 found
  if ! found=$(ec_python_version "$tool" run -n "$place" python); then
    # `create -y` deletes an environment of that name with all that is in it
    if "$tool" env list 2>/dev/null | awk '{print $1}' | grep -Fxq -- "$place" && ! ec_state_has "created $place"; then
      ec_die 11 "the environment $place is there and has no working Python: remove it, or name another (--prefix)"
    fi
    return 1
  fi
  if [[ $found == "$version" ]]; then return 0; fi
  ec_die 11 "the environment $place is there with Python $found, and this plan needs $version: remove it, or name another (--prefix)"
}

# ec_file_exists PATH...: one of them.
ec_file_exists() {
  local path
  for path in "$@"; do
    if [[ -f $path ]]; then return 0; fi
  done
  return 1
}

# ec_file_is PATH LINE...
ec_file_is() {
  local path=$1
  shift
  [[ -f $path ]] && printf '%s\n' "$@" | cmp -s - "$path"
}

# ec_write_file PATH LINE...: a new file; one that is there and reads otherwise is somebody's work and stays.
ec_write_file() {
  local path=$1 parent
  shift
  ec_log "+ write $path"
  if ((EC_DRY_RUN)); then return 0; fi
  if ec_file_is "$path" "$@"; then return 0; fi
  if [[ -e $path || -L $path ]]; then
    ec_die 11 "$path is there and holds something else: move it away, envcheck does not change it"
  fi
  parent=$(dirname -- "$path")
  if [[ ! -d $parent ]]; then
    ec_state_add "directory $parent"
    mkdir -p -- "$parent"
  fi
  printf '%s\n' "$@" >"$EC_TMP/written"
  mv -- "$EC_TMP/written" "$path"
}

# ec_remove_created PATH: only what was not there before this script made it.
ec_remove_created() {
  local parent
  if ! ec_state_has "created $1"; then
    ec_log "  $1 was there before, it stays"
    return 0
  fi
  case $1 in
    / | . | .. | */. | */.. | "${HOME:-/}") ec_log "  $1 is not removed"; return 1 ;;
  esac
  ec_run rm -rf -- "$1" || return 1
  parent=$(dirname -- "$1")
  if ((!EC_DRY_RUN)) && ec_state_has "directory $parent"; then rmdir -- "$parent" 2>/dev/null || true; fi
}

# --- directories of wheels ---

# ec_sha256_manifest DIRECTORY: SHA256SUMS in the form of sha256sum.
ec_sha256_manifest() {
  local file
  ec_log "+ write $1/SHA256SUMS"
  if ((EC_DRY_RUN)); then return 0; fi
  for file in "$1"/*; do
    if [[ -f $file && ${file##*/} != SHA256SUMS ]]; then printf '%s  %s\n' "$(ec_sha256 "$file")" "${file##*/}"; fi
  done >"$EC_TMP/SHA256SUMS"
  mv -- "$EC_TMP/SHA256SUMS" "$1/SHA256SUMS"
}

# ec_offline_filled DIRECTORY: the manifest, and the end of this run: the rest belongs to another machine.
ec_offline_filled() {
  ec_sha256_manifest "$1"
  if ((EC_DRY_RUN)); then return 0; fi
  ec_state_add "done $EC_ID"
  EC_NOW=''
  ec_log "$1 is filled. Carry it and this script to the target, and run the script there in the directory that holds it"
  exit 0
}

# ec_have_wheels DIRECTORY NAME...: a wheel of each. With the manifest there, the comparison with it has the word.
ec_have_wheels() {
  local folder=$1 name file
  shift
  if [[ -f $folder/SHA256SUMS ]]; then return 0; fi
  for name in "$@"; do
    for file in "$folder/$name"-*.whl; do
      if [[ -f $file ]]; then continue 2; fi
    done
    return 1
  done
}

# ec_have_locked_wheels DIRECTORY LOCK: a wheel of each name==version that the lock file pins.
ec_have_locked_wheels() {
  local line start file seen=1
  if [[ -f $1/SHA256SUMS ]]; then return 0; fi
  if [[ ! -f $2 ]]; then return 1; fi
  while IFS= read -r line; do
    if [[ ! $line =~ ^([A-Za-z0-9._-]+)==([^[:space:]\\\;]+) ]]; then continue; fi
    start=$(printf '%s' "${BASH_REMATCH[1]}" | tr '[:upper:].-' '[:lower:]__')-${BASH_REMATCH[2]}-
    seen=0
    for file in "$1"/*.whl; do
      if [[ $(printf '%s' "${file##*/}" | tr '[:upper:]' '[:lower:]') == "$start"* ]]; then continue 2; fi
    done
    return 1
  done <"$2"
  return "$seen"
}

# ec_sha256_check DIRECTORY: each file as it was written down, and none besides. Asked as a check it only answers.
ec_sha256_check() {
  local wrong
  if ((EC_DRY_RUN && !EC_CHECKING)); then
    ec_log "+ compare $1 with $1/SHA256SUMS"
    return 0
  fi
  wrong=$(ec_sha256_wrong "$1")
  if [[ -z $wrong ]]; then return 0; fi
  if ((EC_CHECKING)); then return 1; fi
  ec_die 11 "$wrong: carry or fill the directory again"
}

ec_sha256_wrong() {
  local sum name file
  if [[ ! -s $1/SHA256SUMS ]]; then
    printf '%s\n' "$1/SHA256SUMS is missing or empty"
    return 0
  fi
  while IFS=' ' read -r sum name; do
    if [[ $name == */* || ! -f $1/$name ]]; then
      printf '%s\n' "$1: $name of SHA256SUMS is missing"
      return 0
    fi
    if [[ $(ec_sha256 "$1/$name") != "$sum" ]]; then
      printf '%s\n' "$1/$name is not the file that was written down (SHA-256 differs)"
      return 0
    fi
  done <"$1/SHA256SUMS"
  for file in "$1"/*; do
    name=${file##*/}
    if [[ $name != SHA256SUMS ]] && ! grep -Eq -- "^[0-9a-f]{64}  $(printf '%s' "$name" | sed 's/[][\.*^$+?(){}|]/\\&/g')\$" "$1/SHA256SUMS"; then
      printf '%s\n' "$file is not in SHA256SUMS"
      return 0
    fi
  done
}
