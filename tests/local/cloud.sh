# Sourced by scripts/launch-local: AWS, Docker Hub and the metadata service as the instance sees them.
# All of it lives in one network namespace, so nothing on this machine's own network changes: its
# ports stay free, its metadata service (if it is a cloud machine) stays reachable, and deleting the
# namespace takes everything away. Needs: $repo, $state, $region, say, die.
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

    daemon moto "$state/venv/bin/moto_server" -H 127.0.0.1 -p 5000
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
 "attached": "$repo/tests/local/attached.sh"}
END
    : >"$cloud/signals.jsonl"
    LOCAL_CLOUD=$cloud daemon local-aws "$binaries/local-aws" "$cloud/local-aws.json"
    local url
    for url in http://127.0.0.1:5000/moto-api/ http://127.0.0.1:5001/v2/ https://10.77.0.1/; do
        in_cloud curl --silent --insecure --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors \
            --noproxy '*' "$url" || die "$url does not answer; see $cloud/*.log"
    done
    in_cloud python3 "$repo/tests/local/push_image.py" 127.0.0.1:5001 thetalabsorg/edgelauncher_mainnet latest \
        "$binaries/edge-node" >>"$state/prepare.log" || die "the image was not pushed; see $cloud/registry.log"
    touch "$cloud/ready"
}

# What the simulated AWS is told, by tests/local/cloud.py.
tell_cloud() { in_cloud "$state/venv/bin/python" "$repo/tests/local/cloud.py" "$@"; }

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
