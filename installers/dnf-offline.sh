# shellcheck shell=bash
# For a driver that comes as a file: the machine's own archives may be out of reach, and dnf gives up at the first of
# them, whatever was asked of which. Tried with dnf 4.14. One that is reached (a mirror of the site) serves as ever.
# dnf.sh reads the variable:
# shellcheck disable=SC2034

EC_DNF_OPTIONS=('--setopt=*.skip_if_unavailable=1' --setopt=timeout=10 --setopt=retries=1)
