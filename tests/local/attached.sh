#!/usr/bin/env bash
# Run by local-aws after a successful AttachVolume: VOLUME DEVICE INSTANCE. Makes a loop device of the
# volume's file and tells the guest, whose local-disks service then makes the device node and links.
set -euo pipefail

readonly volume=$1
image=$(<"$LOCAL_CLOUD/volumes/$volume")
loop=$(losetup --noheadings --output NAME --associated "$image" | head -n 1)
[[ -n $loop ]] || loop=$(losetup --find --show "$image")
into=$LOCAL_CLOUD/current/disks
printf '%d %d nvme1n1\n' "0x$(stat -c %t "$loop")" "0x$(stat -c %T "$loop")" >"$into/.new"
mv -- "$into/.new" "$into/${volume/-/}"
