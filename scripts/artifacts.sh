# shellcheck shell=bash
# Sourced by scripts/launch-local: the archive of a folder of assets, as the operators' commands make it.
# shellcheck disable=SC2154 # $repo is the script's

# make_assets FOLDER FILE
make_assets() {
    PYTHONPATH=$repo/scripts python3 -B -c '
import pathlib
import sys
from theta_edge.artifacts import assets_archive

pathlib.Path(sys.argv[2]).write_bytes(assets_archive(pathlib.Path(sys.argv[1])))' "$@"
}
