# shellcheck shell=bash
# Sourced by scripts/launch-local: the archive of cloudformation/assets, as the operators' commands make it.
# shellcheck disable=SC2154 # $repo is the script's

# make_assets FILE
make_assets() {
    PYTHONPATH=$repo/scripts python3 -B -c '
import sys
from theta_edge.artifacts import assets_archive

with open(sys.argv[1], "wb") as file:
    file.write(assets_archive())' "$1"
}
