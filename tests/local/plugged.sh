#!/usr/bin/env bash
# Run by local-aws after a successful AttachVolume: VOLUME DEVICE INSTANCE. Plugs the volume's file into the running QEMU
# as an NVMe disk, whose serial is the volume's id as on EC2.
set -euo pipefail

readonly volume=$1 home=$LOCAL_CLOUD/current
image=$(<"$LOCAL_CLOUD/volumes/$volume")
readonly image disk=$home/disks/${volume/-/}
[[ ! -e $disk ]] || exit 0
python3 "${BASH_SOURCE[0]%/*}/qmp.py" "$home" plug "${volume/-/}" "$image"
ln -s -- "$image" "$disk"
