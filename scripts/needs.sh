# shellcheck shell=bash
# Sourced by the other scripts: gets what this machine lacks, and runs cargo for the right person.
# Needs: $repo, $state (a directory for logs).
# shellcheck disable=SC2154

say() { printf '\n\e[1m==> %s\e[0m\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# wrong_usage WHAT: wrong usage has an exit code of its own, as bootstrap's has.
wrong_usage() {
    printf '%s: %s; see --help\n' "${0##*/}" "$*" >&2
    exit 2
}

# Runs a command whose output matters only when it fails.
logged() { "$@" >>"$state/prepare.log" 2>&1 || die "$1 failed; see $state/prepare.log"; }

# install_packages PACKAGE… installs those that are missing, with apt; without root it says how.
install_packages() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *' installed' ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ! packages_interrupted ||
        die 'this machine'\''s package manager was interrupted; let it end its work first: sudo dpkg --configure -a'
    ((EUID == 0)) || die "packages are missing: sudo apt-get install --no-install-recommends ${missing[*]}"
    say "Installing ${missing[*]}"
    logged apt-get update
    # Another one may be at work.
    logged env DEBIAN_FRONTEND=noninteractive apt-get --option DPkg::Lock::Timeout=600 install --yes \
        --no-install-recommends "${missing[@]}"
}

# Whether dpkg has not finished what it once began; nothing can be installed until it has.
packages_interrupted() {
    [[ -n $(dpkg --audit 2>&1) ]] || compgen -G "${DPKG_ADMINDIR:-/var/lib/dpkg}/updates/[0-9]*" >/dev/null
}

# python_tools NAME PACKAGE… makes, once, a Python environment in target/tools/NAME; its programs lie in bin.
python_tools() {
    local place=$repo/target/tools/$1 stamp
    shift
    # An environment names its own place, so one that was moved with its checkout is of no use.
    stamp=$(printf '%s\n' "$place" "$@")
    [[ $(cat -- "$place/complete" 2>/dev/null) != "$stamp" ]] || return 0
    say "Installing $*"
    logged python3 -m venv --clear "$place"
    logged "$place/bin/pip" install --quiet "$@"
    printf '%s\n' "$stamp" >"$place/complete"
}

# Each has one version, which the tests know: the simulated AWS changes moto's own code.
need_simulated_aws() { python_tools aws 'moto[server]==5.2.5' 'PyYAML==6.0.4' 'pytest==9.2.0' 'pytest-xdist==3.8.0' \
    'pyte==0.8.2'; }
need_aws_cli() { python_tools cli 'awscli==1.46.3'; }
need_python_linters() { python_tools python 'mypy==1.19.1' 'ruff==0.17.6' 'boto3==1.42.97'; }
need_template_linters() { python_tools lint 'cfn-lint==1.58.0' 'checkov==3.3.30'; }

# Judges requests as IAM would (tests/cloudformation/iam); the versions are those of its package-lock.json.
need_policy_simulator() {
    local place=$repo/target/tools/iam source=$repo/tests/cloudformation/iam
    ! cmp --silent -- "$source/package-lock.json" "$place/complete" || return 0
    type -P npm >/dev/null || install_packages nodejs npm
    say 'Installing the policy simulator'
    mkdir -p -- "$place"
    cp -- "$source"/package{,-lock}.json "$place"
    logged npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund
    cp -- "$source/package-lock.json" "$place/complete"
}

# Cargo belongs to the person who called sudo, and so must what it writes.
cargo_as_caller() {
    if [[ -n ${SUDO_USER:-} && $SUDO_USER != root ]]; then
        runuser -u "$SUDO_USER" -- env PATH="$(getent passwd "$SUDO_USER" | cut -d : -f 6)/.cargo/bin:$PATH" "$@"
    else
        PATH="$HOME/.cargo/bin:$PATH" "$@"
    fi
}

need_cargo() {
    cargo_as_caller sh -c 'command -v cargo' >/dev/null ||
        die 'cargo is missing: install Rust with rustup (https://rustup.rs) and run this again'
}

# build_tests ARGUMENT… prints, for each test program, its package's folder and itself. It is built by whoever owns the
# checkout; root may run it, since some tests change owners.
build_tests() {
    local features=()
    # As scripts/fuzz has it, so that no crate is built twice.
    [[ -z $(type -P g++) ]] || features=(--features fuzz/search)
    cargo_as_caller cargo test --quiet --locked --workspace --no-run --message-format=json "${features[@]}" "$@" |
        python3 -c '
import json, os, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made.get("profile", {}).get("test"):
        print(os.path.dirname(made["manifest_path"]), made["executable"])'
}
