# Sourced by scripts/launch-local: AWS, Docker Hub and the metadata service as the instance sees them.
# All of it lives in one network namespace, so nothing on this machine's own network changes: its
# ports stay free, its metadata service (if it is a cloud machine) stays reachable, and deleting the
# namespace takes everything away. Needs: $repo, $state, $region, $aws_python, say, die.
# shellcheck shell=bash disable=SC2154 # the needed variables are the driver's

readonly cloud=$state/cloud
# One per checkout, so that two can be at work on one machine.
namespace=bootstrap-$(cksum <<<"$repo" | cut -d ' ' -f 1)
readonly namespace

in_cloud() { nsenter --net="/run/netns/$namespace" -- "$@"; }

cloud_runs() { [[ -e /run/netns/$namespace && -e $cloud/ready ]]; }

# daemon NAME COMMAND…: runs in the namespace, in a session of its own, with its output in a log.
daemon() {
    local name=$1
    shift
    setsid nsenter --net="/run/netns/$namespace" -- "$@" >"$cloud/$name.log" 2>&1 </dev/null 9>&- &
}

cloud_start() {
    cloud_runs && return
    cloud_stop
    say 'Starting AWS and Docker Hub'
    rm -rf -- "$cloud"
    mkdir -p -- "$cloud/volumes"
    ip netns add "$namespace"
    in_cloud ip link set lo up
    in_cloud ip link add cloud type bridge
    in_cloud ip address add 10.77.0.1/24 dev cloud
    in_cloud ip address add 169.254.169.254/32 dev cloud
    in_cloud ip link set cloud up

    daemon moto env PYTHONPATH="$repo/tests/local" PYTHONDONTWRITEBYTECODE=1 \
        "$aws_python" -m aws.server --port 5000 --run-command "$repo/tests/local/run-command"
    cat >"$cloud/registry.yml" <<END
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $cloud/registry}}
http: {addr: "127.0.0.1:5001"}
END
    OTEL_TRACES_EXPORTER=none daemon registry "$state/tools/usr/bin/docker-registry" serve "$cloud/registry.yml"
    cat >"$cloud/local-aws.json" <<END
{"imds": "169.254.169.254:80", "tls": "10.77.0.1:443", "moto": "127.0.0.1:5000", "registry": "127.0.0.1:5001",
 "certificate": "$state/ca/tls.crt", "key": "$state/ca/tls.key", "agent": "$state/amazon-cloudwatch-agent.deb",
 "instance": "$cloud/current/instance.json", "signals": "$cloud/signals.jsonl", "requests": "$cloud/requests.jsonl",
 "attached": "$repo/tests/local/attached.sh", "silent": "$cloud/silent"}
END
    : >"$cloud/signals.jsonl"
    : >"$cloud/requests.jsonl"
    LOCAL_CLOUD=$cloud daemon local-aws "$binaries/local-aws" "$cloud/local-aws.json"
    local url
    for url in http://127.0.0.1:5000/moto-api/ http://127.0.0.1:5001/v2/ https://10.77.0.1/; do
        in_cloud curl --silent --insecure --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors \
            --noproxy '*' "$url" || die "$url does not answer; see $cloud/*.log"
    done
    in_cloud python3 "$repo/tests/local/push_image.py" 127.0.0.1:5001 thetalabsorg/edgelauncher_mainnet \
        "$binaries/edge-node" >>"$state/prepare.log" || die "the images were not pushed; see $cloud/registry.log"
    touch "$cloud/ready"
}

# What the simulated AWS is told, by tests/local/cloud.py.
tell_cloud=(env PYTHONDONTWRITEBYTECODE=1 "$aws_python" "$repo/tests/local/cloud.py")
tell_cloud() { in_cloud "${tell_cloud[@]}" "$@"; }

# release_late VOLUME INSTANCE: the instance, which is gone, lets go once EC2 was asked about volumes three times from now on.
release_late() {
    daemon release-late "$repo/tests/local/release-late.sh" "$cloud/requests.jsonl" 3 "${tell_cloud[@]}" release "$@"
}

# S3 leaves the next so many requests without an answer, as where there is no network yet.
silence_s3() { printf '%d\n' "$1" >"$cloud/silent"; }

# as_aws COMMAND… runs a command that takes the local AWS for AWS. Its keys are nobody's.
as_aws() {
    command -v aws >/dev/null || need_aws_cli
    in_cloud env --unset=AWS_PROFILE --unset=AWS_SESSION_TOKEN AWS_CONFIG_FILE=/dev/null \
        AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true NO_PROXY=127.0.0.1 \
        AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_REGION="$region" AWS_DEFAULT_REGION="$region" \
        AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local PATH="$PATH:$repo/target/tools/cli/bin" "$@"
}

cloud_stop() {
    rm -f -- "$cloud/ready"
    [[ -e /run/netns/$namespace ]] || return 0
    local pids
    for _ in {1..50}; do
        # Only what runs in our own namespace: the services above.
        pids=$(ip netns pids "$namespace")
        [[ -n $pids ]] || break
        # shellcheck disable=SC2086 # one word per process
        kill $pids 2>/dev/null || true
        sleep 0.1
    done
    # shellcheck disable=SC2086
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    ip netns delete "$namespace"
}
