#!/usr/bin/env bash
# Makes, once, the root filesystem that every local instance boots a copy of, with the packages that the
# node installs from inside it, in /var/local/packages. Needs no root.
#
#   rootfs.sh KIND DIRECTORY CA.crt [FILES]
#
# KIND container: DIRECTORY/rootfs is the filesystem, for systemd-nspawn; this needs root.
# KIND qemu: DIRECTORY/rootfs.img is it, DIRECTORY/vmlinuz and initrd.img its kernel.
# The guest is the host's own distribution and release, from the mirror that the host itself is set up with.
# LOCAL_MIRROR and LOCAL_SUITE name others. What is in the folder FILES goes into the filesystem.
set -euo pipefail

readonly here=${BASH_SOURCE[0]%/*}
readonly kind=$1 into=$2 ca=$3 files=${4:-}

# Beyond what the cloud images of Debian and Ubuntu share, nothing is installed: Docker and cron are the product's work.
packages=(systemd systemd-sysv dbus ca-certificates curl iproute2 e2fsprogs fdisk cloud-init gpg)
# What the product may ask apt for.
readonly offered=(docker.io cron logrotate xfsprogs)
units=(systemd-networkd)
readonly masked=(systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer)

say() { printf '==> %s\n' "$*"; }

# The first mirror that apt is set up with for this release's main component.
host_mirror() {
    local mirror
    mirror=$(apt-get indextargets --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
        awk -v suite="$1" '$2 == suite && $3 == "main" { print $1; exit }')
    case $mirror in
        mirror+file:*) head -n 1 "${mirror#mirror+file:}" | cut -f 1 ;;
        *) printf '%s\n' "$mirror" ;;
    esac
}

# shellcheck source=/dev/null
. /etc/os-release
suite=${LOCAL_SUITE:-$VERSION_CODENAME}
mirror=${LOCAL_MIRROR:-$(host_mirror "$suite")}
[[ -n $mirror ]] || {
    echo "apt on this machine names no mirror for $suite; set LOCAL_MIRROR to one" >&2
    exit 1
}
components=main kernel=linux-image-cloud-amd64
if [[ $ID == ubuntu || $mirror == *ubuntu* ]]; then
    components=main,universe kernel=linux-image-virtual
fi
case $kind in
    container)
        units+=(local-cgroups local-disks)
        made=$into/rootfs.new
        ;;
    qemu)
        packages+=("$kernel" initramfs-tools kmod udev apparmor dropbear-bin)
        units+=(local-shell fake-gpu)
        made=$into/rootfs.tar
        ;;
esac
rm -rf -- "$into"/rootfs{,.new,.tar,.img}

# What makes it an instance, owned by root whoever is at work here.
tree=$(mktemp -d)
trap 'rm -rf -- "$tree" "$tree.tar"' EXIT
chmod 0755 "$tree"
cp -R -- "$here/guest/common/." "$here/guest/$kind/." "$tree/"
[[ -z $files ]] || cp -R -- "$files/." "$tree/"
install -D -m 0644 -- "$ca" "$tree/usr/local/share/ca-certificates/local-instance.crt"
tar --create --file "$tree.tar" --directory "$tree" --owner=0 --group=0 .

proxies=()
while read -r proxy; do
    proxies+=(--aptopt="$proxy")
done < <(apt-config dump | grep -E '^Acquire::(http|https)::Proxy')
list=$(IFS=,; echo "${packages[*]}")
say "$suite from $mirror, with cloud-init, and the packages that the node will ask for"
# shellcheck disable=SC2016 # expanded by mmdebstrap's shell
mmdebstrap --variant=minbase --components="$components" --include="$list" "${proxies[@]}" \
    --customize-hook="APT_CONFIG=\"\$MMDEBSTRAP_APT_CONFIG\" apt-get --yes --download-only install ${offered[*]}" \
    --customize-hook='mkdir -p "$1/var/local/packages" && mv "$1"/var/cache/apt/archives/*.deb "$1/var/local/packages/"' \
    --customize-hook='cd "$1/var/local/packages" && dpkg-scanpackages --multiversion . >Packages' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list.d/*' \
    --customize-hook="tar-in '$tree.tar' /" \
    --customize-hook='chroot "$1" update-ca-certificates' \
    --customize-hook="chroot \"\$1\" systemctl enable ${units[*]}" \
    --customize-hook="chroot \"\$1\" systemctl mask ${masked[*]}" \
    --customize-hook='rm -f "$1/etc/resolv.conf" && : >"$1/etc/machine-id"' \
    "$suite" "$made" "$mirror" >"$into/rootfs.log" 2>&1 || { tail -n 20 "$into/rootfs.log" >&2; exit 1; }

case $kind in
    container) mv -- "$made" "$into/rootfs" ;;
    qemu)
        say "its disk's image"
        # Without root, the owners are the archive's only under fakeroot. Large, since the product asks for room.
        as_root=()
        ((EUID == 0)) || as_root=(fakeroot)
        # shellcheck disable=SC2016 # expanded by that shell
        "${as_root[@]}" sh -euc 'cd "$1" && rm -rf tree && mkdir tree && tar --extract --file rootfs.tar --directory tree &&
            cat tree/boot/vmlinuz-* >vmlinuz && ls tree/lib/modules >kernel-release && cat tree/boot/initrd.img-* >initrd.img &&
            truncate --size 24G rootfs.new && mke2fs -q -t ext4 -L root -d tree rootfs.new && rm -rf tree rootfs.tar' \
            sh "$into" >>"$into/rootfs.log" 2>&1 || { tail -n 20 "$into/rootfs.log" >&2; exit 1; }
        mv -- "$into/rootfs.new" "$into/rootfs.img"
        ;;
esac
