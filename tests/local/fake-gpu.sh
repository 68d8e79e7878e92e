# Sourced by scripts/launch-local: the archives that the GPU's driver and the container toolkit come from, with fake
# packages of the real names, as Debian has them. Their files are in tests/local/fake-gpu; what is in the guest before
# them is in tests/local/guest/qemu. Needs: $repo, $state, $binaries, say, logged, once.
# shellcheck shell=bash disable=SC2154 # the needed variables are the driver's

# Hosts whose files lie in $state/mirror.
readonly fake_gpu_hosts='deb.debian.org nvidia.github.io'

make_fake_gpu() {
    [[ $(. /etc/os-release && echo "${LOCAL_SUITE:-$VERSION_CODENAME}") == bookworm ]] ||
        die 'the fake packages are those of Debian 12; --fake-gpu needs it, or LOCAL_SUITE=bookworm with LOCAL_MIRROR'
    local mirror=$state/mirror package
    local debian=$mirror/deb.debian.org/debian toolkit=$mirror/nvidia.github.io/libnvidia-container
    once "$state/archive-key" make_archive_key "$state/archive-key.new"
    rm -rf -- "$mirror"
    mkdir -p -- "$debian/pool" "$toolkit/stable/deb/amd64"
    for package in "linux-headers-$(<"$state/kernel-release")" nvidia-kernel-dkms nvidia-smi nvidia-persistenced \
        libcuda1 libnvidia-encode1 libnvcuvid1; do
        fake_package "$package" "$debian/pool"
    done
    make_index "$debian" dists/bookworm pool main contrib non-free non-free-firmware
    make_index "$debian" dists/bookworm-updates /nowhere main contrib non-free non-free-firmware
    # What the guest knows of it beforehand.
    cat >"$state/debian.sources" <<END
Types: deb
URIs: https://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
    fake_package nvidia-container-toolkit "$toolkit/stable/deb/amd64"
    make_index "$toolkit/stable/deb/amd64" . .
}

# fake_package NAME DIRECTORY: what tests/local/fake-gpu has of it, or nothing but the name.
fake_package() {
    local tree=$state/fake-package
    rm -rf -- "$tree"
    mkdir -p -- "$tree/DEBIAN"
    [[ ! -d $repo/tests/local/fake-gpu/$1 ]] || cp -R -- "$repo/tests/local/fake-gpu/$1/." "$tree/"
    [[ $1 != nvidia-smi ]] || install -D -- "$binaries/fake-nvidia-smi" "$tree/usr/bin/nvidia-smi"
    cat >"$tree/DEBIAN/control" <<END
Package: $1
Version: 1.20.0-fake
Architecture: amd64
Maintainer: local instance <root@localhost>
Description: stands in for $1 on a machine without a GPU
END
    logged dpkg-deb --build --root-owner-group "$tree" "$2"
}

# make_index ARCHIVE DIST POOL [COMPONENT…] makes a signed index of the packages in ARCHIVE/POOL, which all belong to each
# component, or are in no component. An empty index would be one that apt does not list.
make_index() {
    local archive=$1 dist=$1/$2 pool=$3 file files=(Packages)
    shift 3
    if (($#)); then
        files=("${@/%//binary-amd64/Packages}")
    fi
    for file in "${files[@]}"; do
        mkdir -p -- "$(dirname -- "$dist/$file")"
        : >"$dist/$file"
        [[ ! -d $archive/$pool ]] || (cd "$archive" && dpkg-scanpackages "$pool") >"$dist/$file" 2>>"$state/prepare.log"
    done
    {
        (($# == 0)) || printf 'Origin: Debian\n'
        printf 'Codename: %s\nArchitectures: amd64\nDate: %s\n' "${dist##*/}" "$(LC_ALL=C date --utc --rfc-email)"
        printf 'Components: %s\nSHA256:\n' "$*"
        for file in "${files[@]}"; do
            printf ' %s %d %s\n' "$(sha256sum <"$dist/$file" | cut -d ' ' -f 1)" "$(stat -c %s "$dist/$file")" "$file"
        done
    } >"$dist/Release"
    with_gpg sign_index "$dist"
}

sign_index() {
    gpg --import "$state/archive-key/secret.asc"
    gpg --output "$1/InRelease" --clear-sign "$1/Release"
}

make_archive_key() {
    mkdir -m 0700 -- "$1"
    with_gpg export_new_key "$1"
}

export_new_key() {
    gpg --passphrase '' --quick-generate-key 'Local instance (fake packages)' ed25519 sign never
    gpg --armor --output "$1/secret.asc" --export-secret-keys
    gpg --armor --output "$1/public.asc" --export
    gpg --output "$1/public.gpg" --export
}

# shellcheck disable=SC2317 # its gpg is what the function calls
# with_gpg FUNCTION… calls it with a key ring of its own, in a short path, since that is a socket's too.
with_gpg() (
    GNUPGHOME=$(mktemp -d)
    export GNUPGHOME
    trap 'gpgconf --kill gpg-agent; rm -rf -- "$GNUPGHOME"' EXIT
    gpg() { command gpg --batch --quiet --pinentry-mode loopback "$@"; }
    "$@"
) >>"$state/prepare.log" 2>&1
