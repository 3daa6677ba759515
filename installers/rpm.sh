# shellcheck shell=bash
# What the managers of rpm packages (dnf.sh, zypper.sh) answer alike, since they ask rpm itself. Read before them.
#
# Steps name functions in arrays, which shellcheck cannot follow; variables are read in other parts:
# shellcheck disable=SC2329,SC2034

ec_owned_by_package() { rpm -qf "$1" >/dev/null 2>&1; }

# ec_packages_installed NAME...: a name, or a name with its version.
ec_packages_installed() {
  local name
  for name in "$@"; do
    if ! rpm -q "$name" >/dev/null 2>&1; then return 1; fi
  done
}

# ec_rpm_version NAME: the newest that is installed, empty where none is.
ec_rpm_version() {
  if ec_packages_installed "$1"; then rpm -q --qf '%{VERSION}\n' "$1" | sort -V | tail -n 1; fi
}
