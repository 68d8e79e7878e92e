#!/usr/bin/env bash
# Run by launch-local: release-late.sh REQUESTS NUMBER COMMAND… waits until EC2 was asked about volumes so often from now
# on, as REQUESTS records it, and then runs the command that lets go of one.
set -euo pipefail

readonly requests=$1 number=$2
shift 2
asked=0
while ((asked < number)) && read -r request; do
    [[ $request != *'"call":"DescribeVolumes"'* ]] || asked=$((asked + 1))
done < <(tail --lines 0 --follow "$requests")
exec "$@"
