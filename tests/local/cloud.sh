# Sourced by scripts/launch-local: AWS, Docker Hub and the metadata service as the instance sees them.
# Where they listen is the business of machine.sh or qemu.sh: $moto_at, $registry_at, $imds_at and $tls_at, and
# ${in_cloud[@]}, the command prefix of whatever is to reach them. Needs: $repo, $state, $here, $region, $aws_python, say, die.
# shellcheck shell=bash disable=SC2154 # the needed variables are the driver's

readonly cloud=$here/cloud

in_cloud() { "${in_cloud[@]}" "$@"; }

cloud_runs() { [[ -e $cloud/ready ]] && network_is_up; }

# daemon NAME COMMAND…: runs beside the others, in a session of its own, with its output in a log.
daemon() {
    local name=$1
    shift
    LOCAL_KIND=$kind LOCAL_STATE=$state LOCAL_CLOUD=$cloud setsid "${in_cloud[@]}" "$@" >"$cloud/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >>"$cloud/processes"
}

cloud_start() {
    cloud_runs && return
    cloud_stop
    say 'Starting AWS and Docker Hub'
    rm -rf -- "$cloud"
    mkdir -p -- "$cloud/volumes"
    network_up

    daemon moto env PYTHONPATH="$repo/tests/local" PYTHONDONTWRITEBYTECODE=1 \
        "$aws_python" -m aws.server --host "${moto_at%:*}" --port "${moto_at#*:}" --run-command "$repo/tests/local/run-command"
    cat >"$cloud/registry.yml" <<END
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $cloud/registry}}
http: {addr: "$registry_at"}
END
    OTEL_TRACES_EXPORTER=none daemon registry "$state/tools/usr/bin/docker-registry" serve "$cloud/registry.yml"
    cat >"$cloud/local-aws.json" <<END
{"imds": "$imds_at", "tls": "$tls_at", "moto": "$moto_at", "registry": "$registry_at",
 "certificate": "$state/ca/tls.crt", "key": "$state/ca/tls.key", "agent": "$state/amazon-cloudwatch-agent.deb",
 "instance": "$cloud/current/instance.json", "signals": "$cloud/signals.jsonl", "requests": "$cloud/requests.jsonl",
 "attached": "$attached", "silent": "$cloud/silent", "mirror": "$state/mirror"}
END
    : >"$cloud/signals.jsonl"
    : >"$cloud/requests.jsonl"
    daemon local-aws "$binaries/local-aws" "$cloud/local-aws.json"
    local url
    for url in "http://$moto_at/moto-api/" "http://$registry_at/v2/" "https://$tls_at/"; do
        in_cloud curl --silent --insecure --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors \
            --noproxy '*' "$url" || die "$url does not answer; see $cloud/*.log"
    done
    in_cloud python3 "$repo/tests/local/push_image.py" "$registry_at" thetalabsorg/edgelauncher_mainnet \
        "$binaries/edge-node" >>"$state/prepare.log" || die "the images were not pushed; see $cloud/registry.log"
    touch "$cloud/ready"
}

# What the simulated AWS is told, by tests/local/cloud.py.
tell_cloud=(env PYTHONDONTWRITEBYTECODE=1 AWS_ENDPOINT_URL="http://$moto_at" "$aws_python" "$repo/tests/local/cloud.py")
tell_cloud() { in_cloud "${tell_cloud[@]}" "$@"; }

# release_late VOLUME INSTANCE: the instance, which is gone, lets go once EC2 was asked about volumes three times from now on.
release_late() {
    daemon release-late "$repo/tests/local/release-late.sh" "$cloud/requests.jsonl" 3 "${tell_cloud[@]}" release "$@"
}

# S3 leaves the next so many requests without an answer, as where there is no network yet.
silence_s3() { printf '%d\n' "$1" >"$cloud/silent"; }

# as_aws COMMAND… runs a command that takes the local AWS for AWS, with a Python that has boto3. Its keys are nobody's.
as_aws() {
    command -v aws >/dev/null || need_aws_cli
    in_cloud env --unset=AWS_PROFILE --unset=AWS_SESSION_TOKEN AWS_CONFIG_FILE=/dev/null \
        AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true NO_PROXY="${moto_at%:*}" \
        AWS_ENDPOINT_URL="http://$moto_at" AWS_REGION="$region" AWS_DEFAULT_REGION="$region" \
        AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local PATH="$repo/target/tools/aws/bin:$PATH:$repo/target/tools/cli/bin" "$@"
}

cloud_stop() {
    rm -f -- "$cloud/ready"
    network_is_up || return 0
    local pids
    for _ in {1..50}; do
        # Only our own: the services above.
        pids=$(network_processes)
        [[ -n $pids ]] || break
        # shellcheck disable=SC2086 # one word per process
        kill $pids 2>/dev/null || true
        sleep 0.1
    done
    # shellcheck disable=SC2086
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    network_down
}
