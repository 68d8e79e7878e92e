# Sourced by scripts/launch-local --qemu: an instance that boots in QEMU, without root: a kernel of its own, software
# emulation of two processors, NVMe disks with serials, and a network that ends in this process.
# Of $here/instances/NAME it uses: root.img, store.img (a second disk that is nobody's, as an instance store is),
# disks (SERIAL, a link to the image of each volume that is attached), fake-gpu (there where it has one), turned (there
# while the disks are on the bus in the other order), console.log, pid, and qmp, QEMU's monitor. Needs: $repo, $state, $here, instance.sh, say, die.
# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with the driver

# QEMU's user network can lead connections elsewhere only from addresses inside it, and the metadata service has one.
readonly kind=qemu aws_address=169.254.77.1 machine_address=169.254.77.2
# Five ports of this machine's loopback, others for each cloud of each checkout, below those that connections get.
port=$((20000 + $(cksum <<<"$here" | cut -d ' ' -f 1) % 1000 * 10))
readonly port ssh_port=$((port + 4))
readonly imds_at=127.0.0.1:$port tls_at=127.0.0.1:$((port + 1)) moto_at=127.0.0.1:$((port + 2))
readonly registry_at=127.0.0.1:$((port + 3))
# Run by local-aws after a successful AttachVolume.
readonly attached=$repo/tests/local/plugged.sh
readonly in_cloud=(env)

machine_needs() { host_packages+=(fakeroot gpg gpg-agent gpgconf openssh-client qemu-system-x86 socat uidmap); }

# The folder with what the root filesystem holds of this checkout: the key by which machine_exec comes in.
machine_files() {
    local files=$state/files
    once "$state/ssh" make_ssh_key "$state/ssh.new"
    rm -rf -- "$files"
    install -d -m 0700 -- "$files/root" "$files/root/.ssh"
    install -m 0600 -- "$state/ssh/key.pub" "$files/root/.ssh/authorized_keys"
    echo "$files"
}

make_ssh_key() {
    mkdir -m 0700 -- "$1"
    logged ssh-keygen -q -t ed25519 -N '' -C local-instance -f "$1/key"
}

network_is_up() { [[ -n $(network_processes) ]]; }

network_up() {
    local taken
    for ((taken = port; taken <= ssh_port; taken++)); do
        ! (: <>"/dev/tcp/127.0.0.1/$taken") 2>/dev/null || die "port $taken of 127.0.0.1 is in use; end what listens there"
    done
}

# The processes of the simulated AWS that still run.
network_processes() {
    local pid
    [[ -e $cloud/processes ]] || return 0
    while read -r pid; do
        ! tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "LOCAL_CLOUD=$cloud" || echo "$pid"
    done 2>/dev/null <"$cloud/processes"
}

network_down() { rm -f -- "$cloud/processes"; }

# QEMU's process, while the instance is up.
machine_supervisor() {
    local file=$here/instances/$1/pid pid
    [[ -s $file ]] || return 1
    pid=$(<"$file")
    [[ /proc/$pid/cwd -ef $here/instances/$1 ]] && echo "$pid"
}

# machine_exec NAME COMMAND… runs inside, as root, with its exit status.
machine_exec() {
    local name=$1 terminal=() word line='env -i HOME=/root LC_ALL=C.UTF-8'
    line+=" TERM=${TERM:-dumb} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    machine_supervisor "$name" >/dev/null || die "instance $name is not running"
    shift
    for word in "$@"; do
        line+=" ${word@Q}"
    done
    [[ ! -t 0 ]] || terminal=(-t)
    ssh -F /dev/null "${terminal[@]}" -i "$state/ssh/key" -p "$ssh_port" -o IdentitiesOnly=yes -o LogLevel=ERROR \
        -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=60 \
        root@127.0.0.1 "$line"
}

machine_prepare() {
    local home=$here/instances/$1
    cp --reflink=auto --sparse=always -- "$state/rootfs.img" "$home/root.img"
    put_into_image "$home/hosts" /etc/hosts "$home/root.img"
    if [[ $gpu == true ]]; then
        # Its apt also trusts the fake packages' key; Debian's own is nobody's to sign with.
        local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        logged debugfs -R "dump $keyring $home/keyring.gpg" "$home/root.img"
        cat -- "$state/archive-key/public.gpg" >>"$home/keyring.gpg"
        put_into_image "$home/keyring.gpg" "$keyring" "$home/root.img"
        # NVIDIA's own is nobody's to sign with either.
        put_into_image "$state/archive-key/public.asc" /etc/apt/keyrings/nvidia-container-toolkit.asc "$home/root.img"
        put_into_image "$state/debian.sources" /etc/apt/sources.list.d/debian.sources "$home/root.img"
        touch -- "$home/fake-gpu"
    fi
    # Blank, and as large as the volume: only its serial tells that it is another.
    truncate --size 8G "$home/store.img"
}

# put_into_image FILE PATH IMAGE; without root it cannot be mounted.
put_into_image() {
    printf 'rm %s\nwrite %s %s\n' "$2" "$1" "$2" | logged debugfs -w -f - "$3"
}

# What the instance tells while it comes up.
machine_log() { echo "$here/instances/$1/console.log"; }

# Whether cloud-init has ended.
machine_settled() { grep -qsa 'Cloud-init v.* finished at ' "$(machine_log "$1")"; }

# Whether bootstrap runs; from outside only its signal tells that it has ended.
machine_works() { true; }

machine_start() {
    local home=$here/instances/$1 disks file serial devices=() i words='root=LABEL=root rw console=ttyS0 quiet'
    disks=(vol00000000000000000=root.img AWS00000000000000001=store.img)
    for file in "$home"/disks/*; do
        [[ ! -e $file ]] || disks+=("${file##*/}=$(readlink -- "$file")")
    done
    # The kernel names NVMe disks in the order of the bus.
    [[ ! -e $home/turned ]] || mapfile -t disks < <(printf '%s\n' "${disks[@]}" | tac)
    for ((i = 0; i < ${#disks[@]}; i++)); do
        serial=${disks[i]%%=*} file=${disks[i]#*=}
        # A write is safe enough in this machine's memory.
        devices+=(-drive "if=none,format=raw,cache=unsafe,id=$serial,file=${file//,/,,}")
        devices+=(-device "nvme,id=disk-$serial,drive=$serial,serial=$serial")
    done
    # cloud-init's and bootstrap's output is on the console, without systemd's own.
    words+=' systemd.show_status=false systemd.mask=serial-getty@ttyS0.service'
    [[ ! -e $home/fake-gpu ]] || words+=' local.fake-gpu'
    # Where each connection to the instance's AWS really goes.
    local aws="net=169.254.0.0/16,host=169.254.77.254,dns=169.254.77.253,restrict=on"
    aws+=",hostfwd=tcp:127.0.0.1:$ssh_port-$machine_address:22"
    aws+=",guestfwd=tcp:169.254.169.254:80-cmd:socat - TCP:$imds_at"
    aws+=",guestfwd=tcp:$aws_address:443-cmd:socat - TCP:$tls_at"
    rm -f -- "$home/pid"
    # An old processor: wide vector instructions take longer where they are emulated.
    setsid env -C "$home" qemu-system-x86_64 -machine pc -accel tcg,thread=multi -cpu Nehalem -smp 2 -m 2G -nodefaults \
        -display none -kernel "$state/vmlinuz" -initrd "$state/initrd.img" -append "$words" \
        -chardev file,id=console,path=console.log,append=on -serial chardev:console -qmp unix:qmp,server=on,wait=off \
        -netdev "user,id=aws,$aws" -device virtio-net-pci,netdev=aws,romfile= -device virtio-rng-pci \
        "${devices[@]}" -pidfile pid >>"$home/qemu.log" 2>&1 </dev/null 9>&- &
    for _ in {1..100}; do
        ! machine_supervisor "$1" >/dev/null || return 0
        sleep 0.1
    done
    die "QEMU does not start; see $home/qemu.log"
}

# The id of the boot that the instance is in, once it answers.
machine_boot() { machine_exec "$1" cat /proc/sys/kernel/random/boot_id 2>/dev/null; }

# machine_await NAME BOOT waits until the instance answers in another boot than that.
machine_await() {
    local boot end=$((SECONDS + 300))
    while ((SECONDS < end)); do
        if boot=$(machine_boot "$1") && [[ $boot != "$2" ]]; then
            return
        fi
        sleep 1
    done
    die "instance $1 did not come back within five minutes; see $here/instances/$1/console.log"
}

machine_reboot() {
    local before
    before=$(machine_boot "$1") || die "instance $1 does not answer"
    machine_exec "$1" systemctl reboot || true
    machine_await "$1" "$before"
}

# Powers it off and on again, with its disks in the other order on the bus: each gets another's name.
machine_restart() {
    local home=$here/instances/$1
    machine_supervisor "$1" >/dev/null || die "instance $1 is not running"
    machine_power_off "$1"
    if [[ -e $home/turned ]]; then
        rm -- "$home/turned"
    else
        touch -- "$home/turned"
    fi
    machine_start "$1"
    machine_await "$1" ''
}

# Presses the power button, and pulls the plug where that does not help within a minute and a half.
machine_power_off() {
    local home=$here/instances/$1
    python3 "$repo/tests/local/qmp.py" "$home" power-button || true
    for _ in {1..900}; do
        machine_supervisor "$1" >/dev/null || return 0
        sleep 0.1
    done
    python3 "$repo/tests/local/qmp.py" "$home" quit || true
}

# Stops an instance, then lets go of everything that was attached to it.
machine_stop() {
    local name=$1 home=$here/instances/$1
    if machine_supervisor "$name" >/dev/null; then
        say "Stopping instance $name"
        machine_power_off "$name"
    fi
    rm -f -- "$home"/{pid,qmp,turned,instance-id} "$home"/disks/*
}
