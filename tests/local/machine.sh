# Sourced by scripts/launch-local: an instance that boots in systemd-nspawn, and the network that it has. All of the
# latter lies in one network namespace, so nothing on this machine's own network changes: its ports stay free, its
# metadata service (if it is a cloud machine) stays reachable, and deleting the namespace takes everything away.
# Of $here/instances/NAME it uses: root (the overlay that it boots from), upper (what it wrote), docker and containerd
# (overlayfs cannot lie on overlayfs), disks (what is attached). Needs: $repo, $state, $here, instance.sh, say, die.
# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with the driver

readonly kind=container aws_address=10.77.0.1 machine_address=10.77.0.2
# An instance fetches from moto, too, where an operator gives it an address.
readonly moto_at=$aws_address:5000 registry_at=127.0.0.1:5001 imds_at=169.254.169.254:80 tls_at=10.77.0.1:443
# Run by local-aws after a successful AttachVolume.
readonly attached=$repo/tests/local/attached.sh
# One for each cloud of each checkout, so that several can be at work on one machine.
namespace=bootstrap-$(cksum <<<"$here" | cut -d ' ' -f 1)
readonly namespace
readonly in_cloud=(nsenter --net="/run/netns/$namespace" --)

machine_needs() { host_packages+=(iproute2 mount systemd-container); }

# The folder with what the root filesystem holds of this checkout.
machine_files() {
    mkdir -p -- "$state/files"
    echo "$state/files"
}

network_is_up() { [[ -e /run/netns/$namespace ]]; }

network_up() {
    ip netns add "$namespace"
    in_cloud ip link set lo up
    in_cloud ip link add cloud type bridge
    in_cloud ip address add 10.77.0.1/24 dev cloud
    in_cloud ip address add 169.254.169.254/32 dev cloud
    in_cloud ip link set cloud up
}

# The processes of the simulated AWS; only these are in the namespace.
network_processes() { ip netns pids "$namespace"; }

network_down() { ip netns delete "$namespace"; }

# nspawn's own process, while the instance is up.
machine_supervisor() {
    local file=$here/instances/$1/pid pid
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

# The capabilities of that process, as setpriv takes them. Whoever comes in from this machine would keep its own.
machine_capabilities() {
    local bounds capability list=-all
    bounds=$(sed -n 's/^CapBnd:[[:space:]]*//p' "/proc/$1/status")
    for ((capability = 0; capability < 64; capability++)); do
        if ((16#$bounds >> capability & 1)); then
            list+=,+cap_$capability
        fi
    done
    printf '%s\n' "$list"
}

# machine_exec NAME COMMAND… runs inside, as root, with its exit status.
machine_exec() {
    local leader
    leader=$(machine_leader "$1") || die "instance $1 is not running"
    shift
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wdns=/ -- \
        setpriv --bounding-set "$(machine_capabilities "$leader")" env -i HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

machine_prepare() {
    local home=$here/instances/$1
    local part
    for part in upper docker containerd; do
        [[ -z $copied ]] || cp --archive --reflink=auto -- "$here/instances/$copied/$part" "$home/"
    done
    mkdir -p -- "$home"/{root,upper/etc,work,docker,containerd}
    cp -- "$home/hosts" "$home/upper/etc/hosts"
    mount -t overlay overlay -o "lowerdir=$state/rootfs,upperdir=$home/upper,workdir=$home/work" "$home/root"
    # apt's only source.
    [[ $mirrors == yes ]] || rm -rf -- "$home/root/var/local/packages"
}

# What the instance tells while it comes up.
machine_log() { echo "$here/instances/$1/root/var/log/cloud-init-output.log"; }

# Whether cloud-init has ended.
machine_settled() { [[ -e $here/instances/$1/root/var/lib/cloud/instances/$(<"$here/instances/$1/instance-id")/boot-finished ]]; }

# Whether bootstrap runs. A run may also go on after a reboot, in bootstrap.service.
machine_works() { pgrep --ns "$(machine_leader "$1")" --nslist pid --full --exact /usr/local/bin/bootstrap >/dev/null; }

machine_start() {
    local name=$1 home=$here/instances/$1
    [[ $(<"$home/volume-id") != store ]] || machine_store "$home"
    # A systemd of the host's would otherwise have no cgroup to delegate.
    local scope=()
    [[ ! -d /run/systemd/system ]] || scope=(systemd-run --quiet --scope --property=Delegate=yes)
    setsid "${in_cloud[@]}" "${scope[@]}" "$repo/tests/local/machine-run" "$name" "$home" \
        >>"$home/console.log" 2>&1 </dev/null 9>&- &
    for _ in {1..100}; do
        machine_leader "$name" >/dev/null && return
        sleep 0.1
    done
    die "the instance does not boot; see $home/console.log"
}

# Gives the instance its own disk, which is blank at each start and which nobody attaches.
machine_store() {
    local image=$1/disk.img
    release_disk "$image"
    truncate --size 0 "$image"
    truncate --size 8G "$image"
    printf '%s\n' "$image" >"$cloud/volumes/store"
    LOCAL_CLOUD=$cloud "$attached" store
}

# Lets go of the loop devices of a volume's file.
release_disk() {
    local loop
    for loop in $(losetup --noheadings --output NAME --associated "$1"); do
        losetup --detach "$loop" || true
    done
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

# Powers it off and on again.
machine_restart() {
    machine_supervisor "$1" >/dev/null || die "instance $1 is not running"
    machine_power_off "$1"
    machine_start "$1"
}

# Stops an instance as a power button would.
machine_power_off() {
    local name=$1 leader supervisor
    supervisor=$(machine_supervisor "$name") || return 0
    leader=$(machine_leader "$name") && kill -s RTMIN+4 "$leader"
    for _ in {1..300}; do
        machine_supervisor "$name" >/dev/null || return 0
        sleep 0.1
    done
    # Its init, with which all else in there goes; it would outlive nspawn.
    if leader=$(machine_leader "$name"); then
        kill -KILL "$leader"
        tail --pid="$supervisor" --follow /dev/null
    fi
}

# Stops an instance, then lets go of everything that it held on this machine.
machine_stop() {
    local name=$1 home=$here/instances/$1 volume
    if machine_supervisor "$name" >/dev/null; then
        say "Stopping instance $name"
        machine_power_off "$name"
    fi
    rm -f -- "$home"/pid "$home"/disks/* "$home/instance-id"
    # Lazily where something, a shell for one, still looks into it.
    ! mountpoint --quiet "$home/root" || umount "$home/root" 2>/dev/null || umount --lazy "$home/root"
    for volume in "$cloud"/volumes/*; do
        [[ ! -e $volume ]] || release_disk "$(<"$volume")"
    done
}
