# shellcheck shell=bash
# Sourced by scripts/deploy and scripts/upgrade: what a person sets about a node, as the parameters of
# cloudformation/node.yaml or fleet.yaml. Needs scripts/aws.sh.
#
#   node_option "$@"            takes an option about the node: true if $1 was one, and then $taken words
#                               are to be shifted away; the result is in ${settings[PARAMETER]}
#   settings_help               those options, for --help
#   settle TEMPLATE             fills ${value[PARAMETER]}: as set, else ${current[PARAMETER]}, else the default;
#                               a parameter that the template lacks is wrong usage
#   check_values TEMPLATE       notes what is wrong with the values themselves
#   template_keys FILE          the parameters of a template
#
# shellcheck disable=SC2154 # $repo and $region are the script's

readonly node_template=$repo/cloudformation/node.yaml fleet_template=$repo/cloudformation/fleet.yaml

declare -A settings=() current=() value=()

settings_help() {
    cat <<'END'
  --instance-type TYPE        default: g4dn.xlarge
  --gpu, --no-gpu             whether the node offers an NVIDIA GPU (default: --gpu)
  --network NETWORK           default: mainnet
  --image-tag TAG             of the edge node's image (default: latest)
  --image-digest sha256:…     pins the image to the byte; wins over the tag
  --volume-type TYPE          gp3 (default), io1, io2; or instance-store, which is empty after every
                              stop and replacement, and the wallet key is gone with it
  --volume-size GIB           default: 256
  --volume-iops IOPS          default: 3000
  --volume-throughput MIB     per second, gp3 only (default: 125)
  --filesystem FILESYSTEM     ext4 (default) or xfs
  --rpc-cidr CIDR             who may use the node's RPC ports (default: nobody)
  --image-id PARAMETER        the SSM parameter that names the AMI (default: Amazon Linux 2023)
  --root-device DEVICE        the AMI's name for its root disk: /dev/xvda (default), or /dev/sda1 for Ubuntu
  --secret-arn ARN            the secret with the wallet password
  --per-peer-metrics          publish a metric for each peer; each one is billed
  --log-retention DAYS        default: 30
  --security-updates          a new instance installs security updates first
  --parameter KEY=VALUE       any other parameter of cloudformation/node.yaml
END
}

template_keys() { python3 "$repo/scripts/template.py" keys "$1"; }

node_option() {
    local -Ar parameters=(
        [--instance-type]=InstanceType [--network]=Network [--image-tag]=ImageTag [--image-digest]=ImageDigest
        [--volume-type]=VolumeType [--volume-size]=VolumeSize [--volume-iops]=VolumeIops
        [--volume-throughput]=VolumeThroughput [--volume-id]=VolumeId [--snapshot-id]=SnapshotId
        [--filesystem]=Filesystem [--rpc-cidr]=RpcCidr [--image-id]=ImageId [--root-device]=RootDevice
        [--vpc]=VpcId [--subnet]=SubnetId [--secret-arn]=SecretArn [--log-retention]=LogRetentionDays
        [--nodes]=Nodes
    )
    taken=1
    case $1 in
        --gpu) settings[Gpu]=true ;;
        --no-gpu) settings[Gpu]=false ;;
        --per-peer-metrics) settings[PerPeerMetrics]=true ;;
        --security-updates) settings[SecurityUpdates]=security ;;
        --parameter)
            need_value "$@"
            [[ $2 =~ ^[A-Za-z0-9]+= ]] || wrong_usage "--parameter takes KEY=VALUE, not $2"
            case ${2%%=*} in
                CommonStack | Binary* | Assets* | NodeTemplateUrl | VerifyDocument | AvailabilityZone | WaitOn | Updates | Fleet)
                    wrong_usage "${2%%=*} is set by ${0##*/} itself" ;;
            esac
            settings[${2%%=*}]=${2#*=}
            taken=2
            ;;
        *)
            [[ -n $1 && -n ${parameters[$1]:-} ]] || return 1
            need_value "$@"
            settings[${parameters[$1]}]=$2
            taken=2
            ;;
    esac
}

settle() {
    local key default keys template=$1
    # An earlier digest would win over the tag that is asked for now.
    [[ ! -v settings[ImageTag] || -v settings[ImageDigest] ]] || settings[ImageDigest]=
    keys=$(template_keys "$template")
    for key in "${!settings[@]}"; do
        grep -qxF -- "$key" <<<"$keys" || wrong_usage "${template#"$repo"/} has no parameter $key"
    done
    while IFS=$'\t' read -r key default; do
        value[$key]=$default
    done < <(python3 "$repo/scripts/template.py" defaults "$template")
    for key in "${!current[@]}"; do value[$key]=${current[$key]}; done
    for key in "${!settings[@]}"; do value[$key]=${settings[$key]}; done
}

# check_values TEMPLATE
check_values() {
    local template=$1 key line wrong items=()
    for key in "${!settings[@]}"; do items+=("$key=${settings[$key]}"); done
    ((${#items[@]})) || return 0
    wrong=$(printf '%s\0' "${items[@]}" | sort --zero-terminated | python3 "$repo/scripts/template.py" check "$template")
    while read -r line; do
        [[ -z $line ]] || problem "$line"
    done <<<"$wrong"
    [[ -z ${settings[RpcCidr]:-} ]] || python3 -c '
import ipaddress, sys

ipaddress.ip_network(sys.argv[1])' "${settings[RpcCidr]}" 2>/dev/null ||
        problem "RpcCidr ${settings[RpcCidr]} is no network: give its first address, as in 172.31.0.0/16"
    [[ ${settings[RpcCidr]:-} != */0 ]] || warn 'the RPC ports know no password, and the whole internet will reach them'
}
