#!/usr/bin/env bash
# Makes, once, the root filesystem that every local instance boots a copy of, and the packages
# that the node installs from inside it.
#
#   rootfs.sh DIRECTORY CA.crt
#
# DIRECTORY/rootfs is the filesystem, DIRECTORY/packages the apt repository for the guest. The guest
# is the host's own distribution and release, from the mirror that the host itself is set up with.
# LOCAL_MIRROR and LOCAL_SUITE name others.
set -euo pipefail

readonly here=${BASH_SOURCE[0]%/*}
readonly into=$1 ca=$2

# Beyond what the cloud images of Debian and Ubuntu share, nothing is installed: Docker and cron are the product's work.
readonly base=(systemd systemd-sysv dbus ca-certificates curl iproute2 e2fsprogs fdisk)
# What the product may ask apt for.
readonly offered=(docker.io cron xfsprogs)

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

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$root" "$@"
}

# shellcheck source=/dev/null
. /etc/os-release
suite=${LOCAL_SUITE:-$VERSION_CODENAME}
mirror=${LOCAL_MIRROR:-$(host_mirror "$suite")}
[[ -n $mirror ]] || {
    echo "apt on this machine names no mirror for $suite; set LOCAL_MIRROR to one" >&2
    exit 1
}
components=main
[[ $ID != ubuntu && $mirror != *ubuntu* ]] || components=main,universe

readonly root=$into/rootfs.new
rm -rf -- "$root" "$into/rootfs" "$into/packages"
mkdir -p -- "$root" "$into/packages"

say "debootstrap $suite from $mirror"
list=$(IFS=,; echo "${base[*]}")
debootstrap --variant=minbase --components="$components" --include="$list" "$suite" "$root" "$mirror" \
    >"$into/debootstrap.log" 2>&1 || { tail -n 20 "$into/debootstrap.log" >&2; exit 1; }

say "cloud-init, and the packages that the node will ask for"
apt-config dump | grep -E '^Acquire::(http|https)::Proxy' >"$root/etc/apt/apt.conf.d/90host-proxy" || true
cp -- /etc/resolv.conf /etc/hosts "$root/etc/"
# cloud-init's install starts nothing in a chroot.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
{
    inside apt-get update
    inside apt-get install --yes --no-install-recommends cloud-init gpg
    inside apt-get clean
    inside apt-get install --yes --download-only "${offered[@]}"
} >"$into/apt.log" 2>&1 || { tail -n 20 "$into/apt.log" >&2; exit 1; }
mv -- "$root"/var/cache/apt/archives/*.deb "$into/packages/"
(cd "$into/packages" && dpkg-scanpackages --multiversion . >Packages 2>>"$into/apt.log")

say "the files that make it an instance"
rm -rf -- "$root"/usr/sbin/policy-rc.d "$root"/etc/apt/apt.conf.d/90host-proxy "$root"/etc/apt/sources.list.d/* \
    "$root"/var/lib/apt/lists/* "$root"/etc/resolv.conf "$root"/etc/machine-id
: >"$root/etc/machine-id"
cp -R -- "$here/guest/." "$root/"
install -m 0644 -- "$ca" "$root/usr/local/share/ca-certificates/local-instance.crt"
{
    inside update-ca-certificates
    inside systemctl enable systemd-networkd local-cgroups local-disks
    inside systemctl mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer
} >>"$into/apt.log" 2>&1
inside apt-get clean

mv -- "$root" "$into/rootfs"
