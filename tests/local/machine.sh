# Sourced by scripts/launch-local: one instance, from launch to stop.
# An instance lives in $state/instances/NAME: root (the overlay that it boots from), upper (what it
# wrote), docker and containerd (overlayfs cannot lie on overlayfs), disks (what is attached), and
# its data volume's file, disk.img. Needs: $repo, $state, $region, cloud.sh, say, die.
# shellcheck shell=bash disable=SC2154 # the needed variables are the driver's

# nspawn's own process, while the instance is up.
machine_supervisor() {
    local file=$state/instances/$1/pid pid
    [[ -s $file ]] || return 1
    pid=$(<"$file")
    [[ -e /proc/$pid ]] || return 1
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"machine-run $1 "* ]] && echo "$pid"
}

# PID 1 of the instance, seen from here.
machine_leader() {
    local supervisor nspawn
    supervisor=$(machine_supervisor "$1") || return 1
    nspawn=$(pgrep --parent "$supervisor" --exact systemd-nspawn) || return 1
    pgrep --parent "$nspawn" | head -n 1
}

machine_running() {
    local directory
    for directory in "$state"/instances/*/; do
        directory=${directory%/}
        if machine_supervisor "${directory##*/}" >/dev/null; then
            echo "${directory##*/}"
            return
        fi
    done
    return 1
}

# machine_exec NAME COMMAND… runs inside, as root, with its exit status.
machine_exec() {
    local leader
    leader=$(machine_leader "$1") || die "instance $1 is not running"
    shift
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wdns=/ -- \
        env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# machine_launch WHAT IMAGE deploys a node's stack (WHAT is deploy), or has it go on with another instance (replace), and
# boots that instance; IMAGE becomes the data volume's disk. How it is to be is in the driver's variables.
machine_launch() {
    local what=$1 image=$2 home=$state/instances/$name
    mkdir -p -- "$home"/{root,upper/etc,work,docker,containerd,disks}
    if [[ ! -e $image ]]; then
        truncate --size 8G "$image"
    fi
    ln -sfn -- "$home" "$cloud/current"
    # The password goes through a file that only root can read, never through an argument list.
    (
        umask 077
        printf '%s\0' stack "$stack" binary "${BOOTSTRAP_BINARY:-$binaries/bootstrap}" assets "$state/assets.tar.gz" \
            password "$password" tag "$tag" break "$break" late "$late" wanted "$wanted" out "$home" |
            python3 -c '
import json, sys
words = sys.stdin.read().split("\0")[:-1]
print(json.dumps(dict(zip(words[::2], words[1::2]))))' >"$home/launch.json"
    )
    tell_cloud "$what" "$home/launch.json" || die 'the simulated AWS could not be set up'
    rm -- "$home/launch.json"
    printf '%s\n' "$stack" >"$home/stack"
    printf '%s\n' "$image" >"$cloud/volumes/$(<"$home/volume-id")"

    printf '127.0.0.1 localhost\n10.77.0.1 %s\n' "$(aws_names "$(<"$home/bucket")")" >"$home/upper/etc/hosts"
    mount -t overlay overlay -o "lowerdir=$state/rootfs,upperdir=$home/upper,workdir=$home/work" "$home/root"
    machine_start "$name"
}

# stack_destroy NAME deletes the stack of an instance that was stopped; a restarted cloud has never heard of it.
stack_destroy() {
    local file=$state/instances/$1/stack
    [[ ! -s $file ]] || ! cloud_runs || tell_cloud destroy "$(<"$file")" 2>>"$state/prepare.log" || true
    rm -f -- "$file"
}

# The host names that an instance reaches, all answered by local-aws; one is the bucket's.
aws_names() {
    local service
    for service in ec2 s3 "$1.s3" secretsmanager monitoring cloudformation; do
        printf '%s.%s.amazonaws.com ' "$service" "$region"
    done
    for service in cloudformation-waitcondition amazoncloudwatch-agent; do
        printf '%s-%s.s3.%s.amazonaws.com ' "$service" "$region" "$region"
    done
    echo registry-1.docker.io
}

machine_start() {
    local name=$1 home=$state/instances/$1
    # A systemd of the host's would otherwise have no cgroup to delegate.
    local scope=()
    [[ ! -d /run/systemd/system ]] || scope=(systemd-run --quiet --scope --property=Delegate=yes)
    setsid nsenter --net="/run/netns/$namespace" -- "${scope[@]}" \
        "$repo/tests/local/machine-run" "$name" "$home" "$state/packages" \
        >>"$home/console.log" 2>&1 </dev/null 9>&- &
    for _ in {1..100}; do
        machine_leader "$name" >/dev/null && return
        sleep 0.1
    done
    die "the instance does not boot; see $home/console.log"
}

machine_reboot() {
    local before
    before=$(machine_leader "$1") || die "instance $1 is not running"
    machine_exec "$1" systemctl reboot || true
    for _ in {1..600}; do
        [[ $(machine_leader "$1" || echo "$before") == "$before" ]] || return 0
        sleep 0.1
    done
    die "instance $1 did not reboot within a minute"
}

# Stops an instance as a power button would, then lets go of everything that it held on this machine.
machine_stop() {
    local name=$1 home=$state/instances/$1 leader supervisor
    if supervisor=$(machine_supervisor "$name"); then
        say "Stopping instance $name"
        leader=$(machine_leader "$name") && kill -s RTMIN+4 "$leader"
        for _ in {1..300}; do
            machine_supervisor "$name" >/dev/null || break
            sleep 0.1
        done
        if machine_supervisor "$name" >/dev/null; then
            pkill --parent "$supervisor" --exact systemd-nspawn --signal KILL || true
            sleep 1
        fi
    fi
    rm -f -- "$home"/pid "$home"/disks/* "$home/instance-id"
    # Lazily where something, a shell for one, still looks into it.
    ! mountpoint --quiet "$home/root" || umount "$home/root" 2>/dev/null || umount --lazy "$home/root"
    local volume loop
    for volume in "$cloud"/volumes/*; do
        [[ -e $volume ]] || continue
        for loop in $(losetup --noheadings --output NAME --associated "$(<"$volume")"); do
            losetup --detach "$loop" || true
        done
    done
}
