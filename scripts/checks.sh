# shellcheck shell=bash
# Sourced by scripts/deploy and scripts/upgrade: whether AWS can give what ${value[…]} asks for. Every
# check notes what must be put right (problem) and goes on. Needs scripts/aws.sh and scripts/settings.sh.
#
#   check_machine               the instance type, its GPU, the AMI; sets $vcpus
#   check_volume                size and speed of a new volume
#   check_sources               the volume or the snapshot that is to be used; sets $zone_of_volume
#   check_place                 VPC, subnet and zone: what was not set is chosen, in ${settings[…]}
#   check_zone                  whether ${value[AvailabilityZone]}, which was chosen before, has the instance type
#   check_quota COUNT           whether that many may run; needs check_machine
#   check_secret                the secret with the wallet password
#
# shellcheck disable=SC2154 # the needed variables are those of the other files

vcpus='' zones='' zone_of_volume=''

check_machine() {
    local type=${value[InstanceType]} image facts memory maker store architectures
    aws_try image ssm get-parameters --names "${value[ImageId]}" --query 'Parameters[0].Value' || image=$trouble
    [[ $image == ami-* ]] || problem "the SSM parameter ${value[ImageId]} names no AMI in $region: $image"
    aws_try facts ec2 describe-instance-types --instance-types "$type" --query 'InstanceTypes[0].[
        VCpuInfo.DefaultVCpus, MemoryInfo.SizeInMiB, GpuInfo.Gpus[0].Manufacturer, InstanceStorageSupported,
        ProcessorInfo.SupportedArchitectures[0], ProcessorInfo.SupportedArchitectures[1]]' || {
        problem "the instance type $type cannot be had in $region: $trouble"
        return 0
    }
    IFS=$'\t' read -r vcpus memory maker store architectures <<<"$facts"
    [[ $architectures == *x86_64* ]] || problem "$type is no x86_64 machine, and the edge node's image is for x86_64 only"
    ((vcpus >= 4 && memory >= 16384)) ||
        warn "$type has $vcpus vCPUs and $memory MiB of memory; an edge node wants 4 and 16384"
    if [[ ${value[Gpu]} == true && $maker != NVIDIA ]]; then
        problem "$type has no NVIDIA GPU: take another --instance-type (g4dn.xlarge), or say --no-gpu"
    # The template lists the types whose GPU the driver supports.
    elif [[ ${value[Gpu]} == true ]] && ! grep -qwF -- "$type" "$node_template"; then
        problem "the driver does not support the GPU of $type: take a g4dn, g5, g6, g6e or gr6"
    elif [[ ${value[Gpu]} == false && $maker == NVIDIA ]]; then
        problem "$type has a GPU that you would pay for and not use: say --gpu, or take another --instance-type (m7i.xlarge)"
    fi
    [[ ${value[VolumeType]} != instance-store || $store == True ]] ||
        problem "$type has no instance store: take another --instance-type, or --volume-type gp3"
}

# range NAME VALUE LEAST MOST WHAT
range() { (($2 >= $3 && $2 <= $4)) || problem "$1 is from $3 to $4 for $5, not $2"; }

check_volume() {
    local type=${value[VolumeType]} size=${value[VolumeSize]} iops=${value[VolumeIops]} rate=${value[VolumeThroughput]}
    # What is no number has been noted before; a volume that is there already has its own.
    [[ $size$iops$rate =~ ^[0-9]+$ && -z ${value[VolumeId]:-} ]] || return 0
    case $type in
        gp3)
            range VolumeIops "$iops" 3000 16000 gp3
            # 3000 come with any size.
            ((iops <= 3000)) || range VolumeIops "$iops" 3000 $((500 * size)) "a gp3 volume of $size GiB (500 per GiB)"
            range VolumeThroughput "$rate" 125 1000 gp3
            range VolumeThroughput "$rate" 125 $((iops / 4)) "gp3 with $iops IOPS (a quarter of them)"
            ;;
        io1)
            range VolumeIops "$iops" 100 64000 io1
            range VolumeIops "$iops" 100 $((50 * size)) "an io1 volume of $size GiB (50 per GiB)"
            ;;
        io2)
            range VolumeIops "$iops" 100 256000 io2
            range VolumeIops "$iops" 100 $((1000 * size)) "an io2 volume of $size GiB (1000 per GiB)"
            ((iops <= 64000)) || warn 'an io2 volume gives more than 64000 IOPS to Nitro instances only'
            ;;
    esac
    [[ $type == gp3 || -z ${settings[VolumeThroughput]:-} ]] || problem "only gp3 has a VolumeThroughput, and VolumeType is $type"
}

check_sources() {
    local volume=${settings[VolumeId]:-} snapshot=${settings[SnapshotId]:-} size=${value[VolumeSize]}
    local facts encrypted state instance least
    [[ -z $volume || -z $snapshot ]] || problem 'a volume and a snapshot cannot both be used: say --volume-id or --snapshot-id'
    [[ ${value[VolumeType]} != instance-store || -z $volume$snapshot ]] ||
        problem 'with an instance store there is no volume: leave out --volume-id and --snapshot-id, or --volume-type instance-store'
    if [[ -n $volume ]]; then
        if aws_try facts ec2 describe-volumes --volume-ids "$volume" \
            --query 'Volumes[0].[AvailabilityZone,Encrypted,State,Attachments[0].InstanceId]'; then
            read -r zone_of_volume encrypted state instance <<<"$facts"
            [[ $encrypted == True ]] ||
                problem "$volume is not encrypted: make a snapshot of it, copy that with --encrypted, and say --snapshot-id"
            case $state in
                available) ;;
                in-use) problem "$volume is attached to $instance: a wallet key must not run twice, so remove that node first" ;;
                *) problem "$volume is $state" ;;
            esac
        else
            problem "the volume $volume cannot be looked up: $trouble"
        fi
    fi
    if [[ -n $snapshot ]]; then
        if aws_try facts ec2 describe-snapshots --snapshot-ids "$snapshot" --query 'Snapshots[0].[State,VolumeSize]'; then
            read -r state least <<<"$facts"
            [[ $state == completed ]] || problem "the snapshot $snapshot is $state: wait until it is completed"
            [[ ! $size =~ ^[0-9]+$ ]] || ((size >= least)) ||
                problem "the snapshot $snapshot needs a volume of $least GiB, not $size: say --volume-size $least"
        else
            problem "the snapshot $snapshot cannot be looked up: $trouble"
        fi
    fi
}

# Sets $zones to those that offer the instance type, one a line.
find_zones() {
    aws_try zones ec2 describe-instance-type-offerings --location-type availability-zone \
        --filters "Name=instance-type,Values=${value[InstanceType]}" --query 'InstanceTypeOfferings[].Location' || {
        problem "where ${value[InstanceType]} is offered cannot be looked up: $trouble"
        return 1
    }
    zones=$(tr '\t' '\n' <<<"$zones" | sort)
}

# check_offer ZONE WHY
check_offer() {
    grep -qxF -- "$1" <<<"$zones" || problem "${value[InstanceType]} is not offered in $1, $2, but in $(list "$zones")"
}

check_zone() {
    find_zones || return 0
    check_offer "${value[AvailabilityZone]}" 'where the volume is'
}

check_place() {
    local zone subnets subnet
    find_zones || return 0
    if [[ -n ${settings[SubnetId]:-} ]]; then
        check_subnet
        return
    fi
    [[ -n ${settings[VpcId]:-} ]] || find_default_vpc || return 0
    aws_try subnets ec2 describe-subnets --filters "Name=vpc-id,Values=${settings[VpcId]}" \
        --query 'Subnets[?MapPublicIpOnLaunch].[AvailabilityZone,SubnetId]' || {
        problem "the subnets of ${settings[VpcId]} cannot be looked up: $trouble"
        return 0
    }
    while read -r zone subnet; do
        [[ ${zone_of_volume:-$zone} == "$zone" ]] || continue
        grep -qxF -- "$zone" <<<"$zones" || continue
        settings[AvailabilityZone]=$zone settings[SubnetId]=$subnet
        return
    done < <(sort <<<"$subnets")
    problem "${settings[VpcId]} has no public subnet in ${zone_of_volume:-a zone that offers ${value[InstanceType]}}:" \
        "make one, or say --subnet; ${value[InstanceType]} is offered in $(list "$zones")"
}

# list WORDS: on one line.
list() {
    local words=${1//$'\n'/, }
    printf '%s' "${words:-no zone of $region}"
}

find_default_vpc() {
    local vpc
    if ! aws_try vpc ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId'; then
        problem "the VPCs cannot be looked up: $trouble"
    elif [[ $vpc == None ]]; then
        problem "there is no default VPC in $region: make one with 'aws ec2 create-default-vpc --region $region'," \
            'or say --vpc or --subnet'
    else
        settings[VpcId]=$vpc
        return
    fi
    return 1
}

# The subnet that was asked for.
check_subnet() {
    local subnet=${settings[SubnetId]} facts vpc zone public
    aws_try facts ec2 describe-subnets --subnet-ids "$subnet" \
        --query 'Subnets[0].[VpcId,AvailabilityZone,MapPublicIpOnLaunch]' || {
        problem "the subnet $subnet cannot be looked up: $trouble"
        return 0
    }
    read -r vpc zone public <<<"$facts"
    [[ ${settings[VpcId]:-$vpc} == "$vpc" ]] || problem "$subnet is in $vpc, not in ${settings[VpcId]}"
    settings[VpcId]=$vpc settings[AvailabilityZone]=$zone
    check_offer "$zone" "where $subnet is"
    [[ ${zone_of_volume:-$zone} == "$zone" ]] ||
        problem "${settings[VolumeId]} is in $zone_of_volume, and $subnet in $zone: a volume can be attached in its own zone only"
    [[ $public == True ]] || warn "$subnet gives no public addresses: without a NAT gateway the node reaches nobody"
}

# Quotas count the vCPUs of all running on-demand instances of some families together.
check_quota() {
    local type=${value[InstanceType]} needed=$(($1 * ${vcpus:-0})) code name families quota running kinds facts='' used
    [[ -n $vcpus ]] || return 0
    case $type in
        g* | vt*) code=L-DB2E81BA name='G and VT' families='^(g|vt)' ;;
        p[0-9]*) code=L-417A185B name=P families='^p[0-9]' ;;
        [acdhimrtz][0-9]*) code=L-1216C47A name=standard families='^[acdhimrtz][0-9]' ;;
        *) return 0 ;;
    esac
    # shellcheck disable=SC2016 # JMESPath
    if ! aws_try quota service-quotas get-service-quota --service-code ec2 --quota-code "$code" --query Quota.Value ||
        ! aws_try running ec2 describe-instances --filters Name=instance-state-name,Values=pending,running \
            --query 'Reservations[].Instances[?!InstanceLifecycle][].[InstanceType]'; then
        warn "the quota for vCPUs of $name instances was not checked: $trouble"
        return 0
    fi
    mapfile -t kinds < <(grep -E "$families" <<<"$running" | sort -u)
    ((${#kinds[@]} == 0)) ||
        aws_try facts ec2 describe-instance-types --instance-types "${kinds[@]}" \
            --query 'InstanceTypes[].[InstanceType, VCpuInfo.DefaultVCpus]' || {
        warn "the quota for vCPUs of $name instances was not checked: $trouble"
        return 0
    }
    used=$(awk 'NR == FNR { vcpus[$1] = $2; next } { used += vcpus[$1] } END { print used + 0 }' \
        <(printf '%s\n' "$facts") <(printf '%s\n' "$running"))
    quota=${quota%.*}
    ((used + needed <= quota)) || problem "$region allows $quota vCPUs of $name instances, $used are in use, and $needed are needed:" \
        "ask for more with 'aws service-quotas request-service-quota-increase --region $region --service-code ec2" \
        "--quota-code $code --desired-value $((used + needed))'"
}

check_secret() {
    local key
    [[ -n ${settings[SecretArn]:-} ]] || return 0
    aws_try key secretsmanager describe-secret --secret-id "${settings[SecretArn]}" --query KmsKeyId || {
        problem "the secret ${settings[SecretArn]} cannot be looked up: $trouble"
        return 0
    }
    [[ $key == None || $key == *alias/aws/secretsmanager || -n ${value[KmsKeyArn]} ]] ||
        problem "the secret is encrypted with the key $key, so the node could not read it: say --parameter KmsKeyArn=ARN"
}
