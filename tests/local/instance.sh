# Sourced by scripts/launch-local: what an instance is, wherever it boots.
# An instance lives in $here/instances/NAME, with its data volume's file, disk.img. Where it boots is the other half:
# machine.sh (systemd-nspawn) or qemu.sh, which have the same functions. Needs: $repo, $state, $here, $region, cloud.sh, say, die.
# shellcheck shell=bash disable=SC2154 # the needed variables are the driver's

machine_running() {
    local directory
    for directory in "$here"/instances/*/; do
        directory=${directory%/}
        if machine_supervisor "${directory##*/}" >/dev/null; then
            echo "${directory##*/}"
            return
        fi
    done
    return 1
}

# machine_launch WHAT IMAGE deploys a node's stack (WHAT is deploy), or has it go on with another instance (replace), and
# boots that instance; IMAGE becomes the data volume's disk. How it is to be is in the driver's variables.
machine_launch() {
    local what=$1 image=$2 home=$here/instances/$name
    mkdir -p -- "$home/disks"
    if [[ ! -e $image ]]; then
        truncate --size 8G "$image"
    fi
    ln -sfn -- "$home" "$cloud/current"
    # The password goes through a file that only its owner can read, never through an argument list.
    (
        umask 077
        printf '%s\0' stack "$stack" binary "${BOOTSTRAP_BINARY:-$binaries/bootstrap}" assets "$state/assets.tar.gz" \
            password "$password" tag "$tag" zone "$zone" parameters "${parameters[*]}" break "$break" late "$late" wanted "$wanted" gpu "$gpu" \
            address "$machine_address" out "$home" |
            python3 -c '
import json, sys
words = sys.stdin.read().split("\0")[:-1]
print(json.dumps(dict(zip(words[::2], words[1::2]))))' >"$home/launch.json"
    )
    tell_cloud "$what" "$home/launch.json" || die 'the simulated AWS could not be set up'
    rm -- "$home/launch.json"
    printf '%s\n' "$stack" >"$home/stack"
    printf '%s\n' "$image" >"$cloud/volumes/$(<"$home/volume-id")"
    printf '127.0.0.1 localhost\n%s %s\n' "$aws_address" "$(aws_names "$(<"$home/bucket")")" >"$home/hosts"
    machine_prepare "$name"
    machine_start "$name"
}

# stack_destroy NAME deletes the stack of an instance that was stopped; a restarted cloud has never heard of it.
stack_destroy() {
    local file=$here/instances/$1/stack
    [[ ! -s $file ]] || ! cloud_runs || tell_cloud destroy "$(<"$file")" 2>>"$state/prepare.log" || true
    rm -f -- "$file"
}

# The host names that an instance reaches, all answered by local-aws; one is the bucket's.
aws_names() {
    local service
    for service in ec2 s3 "$1.s3" secretsmanager monitoring cloudformation; do
        printf '%s.%s.amazonaws.com ' "$service" "$region"
    done
    printf 'cloudformation-waitcondition-%s.s3.%s.amazonaws.com ' "$region" "$region"
    [[ $mirrors == yes ]] || return 0
    printf 'amazoncloudwatch-agent-%s.s3.%s.amazonaws.com ' "$region" "$region"
    [[ $gpu == false ]] || printf '%s ' "$fake_gpu_hosts"
    echo registry-1.docker.io
}
