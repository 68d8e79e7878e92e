# Sourced by scripts/launch-local: gets everything that a local instance needs, each piece once.
# Needs: $repo, $state, $region, scripts/needs.sh, scripts/artifacts.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with the driver

host_packages=(ca-certificates curl dpkg-dev e2fsprogs gcc gnupg mmdebstrap musl-tools openssl procps python3 python3-venv
    util-linux)
readonly target=x86_64-unknown-linux-musl
readonly binaries=$repo/target/$target/release
readonly aws_python=$repo/target/tools/aws/bin/python

# One at a time, whatever the cloud.
prepare() {
    local alone
    exec {alone}>"$state/prepare.lock"
    flock "$alone"
    prepare_all {alone}>&-
    exec {alone}>&-
}

prepare_all() {
    machine_needs
    install_packages "${host_packages[@]}"
    # Not installed: its package would start a service on this machine.
    once "$state/tools" fetch_registry "$state/tools.new"
    need_simulated_aws
    once "$state/ca" make_ca "$state/ca.new"
    local files
    files=$(machine_files)
    if ! cmp -s "$state/rootfs.from" <(rootfs_from "$files"); then
        say 'Making the root filesystem (once, about a minute)'
        rm -f -- "$state/rootfs.from"
        "$repo/tests/local/rootfs.sh" "$kind" "$state" "$state/ca/ca.crt" "$files"
        rootfs_from "$files" >"$state/rootfs.from"
    fi
    build
    make_agent_package
    [[ $gpu == false ]] || make_fake_gpu
    # Nobody but AWS signs with the key that the program knows.
    rm -rf -- "$state/assets"
    cp -R -- "$repo/cloudformation/assets" "$state/assets"
    cp -- "$state/agent-key/public.gpg" "$state/assets/amazon-cloudwatch-agent.gpg"
    make_assets "$state/assets" "$state/assets.new"
    # Put there whole, since another cloud may be handing it out.
    mv -- "$state/assets.new" "$state/assets.tar.gz"
}

# once DIRECTORY COMMAND… makes a directory under another name first, so that it is never half made.
once() {
    local made=$1
    shift
    [[ -d $made ]] && return
    rm -rf -- "$made.new"
    "$@"
    mv -- "$made.new" "$made"
}

fetch_registry() {
    mkdir -p -- "$1"
    (cd "$1" && { apt-get download docker-registry || { apt-get update && apt-get download docker-registry; }; }) \
        >>"$state/prepare.log" 2>&1 || die "docker-registry could not be downloaded; see $state/prepare.log"
    dpkg -x "$1"/docker-registry_*.deb "$1"
}

# A CA that the guest trusts, and a certificate for the names that the guest reaches.
make_ca() {
    mkdir -m 0700 -- "$1"
    (
        cd "$1"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout ca.key -out ca.crt \
            -subj '/CN=bootstrap local instance' -addext 'keyUsage=critical,keyCertSign'
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr \
            -subj '/CN=local AWS'
        openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out tls.crt -extfile <(
            printf 'subjectAltName=DNS:*.%s.amazonaws.com,DNS:*.s3.%s.amazonaws.com,DNS:registry-1.docker.io,DNS:%s\n' \
                "$region" "$region" "${fake_gpu_hosts// /,DNS:}"
            echo 'extendedKeyUsage=serverAuth'
        )
    ) 2>>"$state/prepare.log" || die "openssl failed; see $state/prepare.log"
}

rootfs_from() {
    cat "$repo/tests/local/rootfs.sh" "$state/ca/ca.crt"
    find "$repo/tests/local/guest" "$1" -type f -exec sha256sum {} + | sort
    echo "${LOCAL_SUITE:-} ${LOCAL_MIRROR:-}"
}

build() {
    # BOOTSTRAP_BINARY: another file in the product's place, for work on this script itself.
    [[ -n ${BOOTSTRAP_BINARY:-} ]] || "$repo/scripts/build-release" --binary-only
    need_cargo
    if cargo_as_caller sh -c 'command -v rustup' >/dev/null; then
        logged cargo_as_caller rustup target add "$target"
    fi
    say 'Building the stand-ins'
    cargo_as_caller env -C "$repo" cargo build --quiet --release --locked --target "$target" -p standins
}

# The stand-in for the CloudWatch agent; the real package is on AWS's own hosts only.
make_agent_package() {
    local tree=$state/agent
    rm -rf -- "$tree"
    cp -R -- "$repo/tests/local/cloudwatch-agent" "$tree"
    mkdir -p -- "$tree"/usr/bin "$tree"/opt/aws/amazon-cloudwatch-agent/{etc/amazon-cloudwatch-agent.d,logs,var}
    ln -s /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl "$tree/usr/bin/"
    # The same bytes every time: another cloud may be handing out the one before, with its signature.
    logged env SOURCE_DATE_EPOCH=0 dpkg-deb --build --root-owner-group "$tree" "$state/agent.deb"
    once "$state/agent-key" make_archive_key "$state/agent-key.new"
    rm -f -- "$state/agent.deb.sig"
    with_gpg sign_agent || die "the agent's package was not signed; see $state/prepare.log"
    mv -- "$state/agent.deb.sig" "$state/amazon-cloudwatch-agent.deb.sig"
    mv -- "$state/agent.deb" "$state/amazon-cloudwatch-agent.deb"
}

sign_agent() {
    gpg --import "$state/agent-key/secret.asc"
    gpg --output "$state/agent.deb.sig" --detach-sign "$state/agent.deb"
}
