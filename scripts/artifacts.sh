# shellcheck shell=bash
# Sourced by scripts/publish, deploy, upgrade and tests/local: what a node is made from, and how it
# gets into the bucket of the common stack. Every key holds the SHA-256 of what lies there, so nothing
# is ever overwritten: a node that runs, or that is rolled back, finds its own version again.
#
#   make_assets FILE            the archive of cloudformation/assets, the same bytes every time
#   check_binary FILE           sets $problem_of_binary to what is wrong with it, or to nothing
#   name_artifacts BUCKET BINARY
#                               finds the keys; the parameters that say them are then in ${published[@]},
#                               KEY=VALUE each
#   upload_artifacts BUCKET     uploads what is not there yet. Needs scripts/aws.sh
#
# shellcheck disable=SC2154 # $repo and $region are the script's

# The archive has the same bytes everywhere, and so the same key, only from one kind of tar.
[[ $(tar --version 2>&1) == *'GNU tar'* && -n $(type -P sha256sum) ]] ||
    die 'needs GNU tar and sha256sum: install GNU tar and coreutils, or run this in AWS CloudShell'

readonly default_binary=$repo/target/x86_64-unknown-linux-musl/release/bootstrap
readonly assets=$repo/target/assets.tar.gz
# What is to be uploaded: keys, and the file for each.
uploads=()
problem_of_binary='' published=()

make_assets() {
    tar --create --gzip --file "$1" --owner=0 --group=0 --mode=u=rwX,go=rX --sort=name --mtime=@0 \
        --directory "$repo/cloudformation/assets" .
}

check_binary() {
    problem_of_binary=$(python3 -c '
import struct, sys

X86_64, INTERPRETER = 62, 3

def problem(path):
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", head, 18)[0] != X86_64:
                return "is no x86_64 program"
            start, size, count = struct.unpack_from("<Q", head, 32) + struct.unpack_from("<HH", head, 54)
            file.seek(start)
            headers = file.read(size * count)
    except FileNotFoundError:
        return "is missing: make it with scripts/build-release, or say --binary FILE"
    except OSError as error:
        return "cannot be read: " + error.strerror
    except struct.error:
        return "is no x86_64 program"
    if any(struct.unpack_from("<I", headers, size * i)[0] == INTERPRETER for i in range(count)):
        return "is not static, so it would not run everywhere: make it with scripts/build-release"
    return ""

print(problem(sys.argv[1]))' "$1")
    problem_of_binary=${problem_of_binary:+$1 $problem_of_binary}
}

sha256_of() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# upload BUCKET KEY FILE
upload() {
    local there
    # A bucket that is still to be made (with --dry-run) has a placeholder for a name, and holds nothing.
    if [[ $1 != '<'* ]]; then
        if aws_try there s3api head-object --bucket "$1" --key "$2" --query ContentLength; then
            printf 'already there: s3://%s/%s\n' "$1" "$2" >&2
            return
        fi
        [[ $trouble == *'(404)'* ]] || die "s3://$1/$2 cannot be looked at: $trouble"
    fi
    aws_change s3api put-object --bucket "$1" --key "$2" --body "$3" >"$scratch/put-object" ||
        die "$3 could not be uploaded to s3://$1/$2"
    dry_run || printf 'uploaded: s3://%s/%s\n' "$1" "$2" >&2
}

# template_url BUCKET KEY
template_url() {
    local suffix=amazonaws.com
    [[ $region != cn-* ]] || suffix=amazonaws.com.cn
    printf 'https://%s.s3.%s.%s/%s\n' "$1" "$region" "$suffix" "$2"
}

name_artifacts() {
    local bucket=$1 binary=$2 binary_sha assets_sha name template key
    check_binary "$binary"
    [[ -z $problem_of_binary ]] || die "$problem_of_binary"
    # It stays, so that the calls which --dry-run prints can be made by hand.
    mkdir -p -- "${assets%/*}"
    # Put there whole, since two of these scripts may be at work in one checkout.
    make_assets "$assets.$$"
    mv -f -- "$assets.$$" "$assets"
    binary_sha=$(sha256_of "$binary")
    assets_sha=$(sha256_of "$assets")
    published=(
        "BinaryKey=bin/$binary_sha/bootstrap" "BinarySha256=$binary_sha"
        "AssetsKey=assets/$assets_sha/assets.tar.gz" "AssetsSha256=$assets_sha"
    )
    uploads=("bin/$binary_sha/bootstrap" "$binary" "assets/$assets_sha/assets.tar.gz" "$assets")
    for name in Node Fleet; do
        template=$repo/cloudformation/${name,}.yaml
        key=templates/$(sha256_of "$template")/${name,}.yaml
        published+=("${name}TemplateUrl=$(template_url "$bucket" "$key")")
        uploads+=("$key" "$template")
    done
}

upload_artifacts() {
    local i
    for ((i = 0; i < ${#uploads[@]}; i += 2)); do
        upload "$1" "${uploads[i]}" "${uploads[i + 1]}"
    done
}
