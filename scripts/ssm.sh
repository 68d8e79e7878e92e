# shellcheck shell=bash
# Sourced by the scripts that ask a node itself: runs a command on it by SSM, and shows what comes
# back. Needs scripts/aws.sh.
#
#   need_node STACK             sets $instance to the one that is the node now, or ends with what to do
#   send_command INSTANCE DOCUMENT PARAMETERS COMMENT
#                               PARAMETERS are JSON; the command's id is then in $command. False where SSM
#                               does not take it, and then $trouble says why. With --dry-run it prints the
#                               call, and $command is empty
#   await_command INSTANCE SECONDS
#                               waits for $command, which may run that long. How it ended is then in $ended
#                               (Success, Failed, or SSM's word for what else happened), its exit code in
#                               $code, its output in $scratch/output and $scratch/errors
#   was_delivered               whether the command of await_command reached the instance
#   unreachable INSTANCE        says what to do about an instance that SSM cannot reach
#   printable                   standard input, with nothing in it that a terminal would act on
#
# shellcheck disable=SC2154 # $repo is the script's

# SSM gives up a command that an instance does not take within these seconds; it allows no fewer than 30.
readonly delivery_seconds=60

instance='' command='' ended='' code=''

need_node() {
    local status group
    instance=$(node_instance "$1")
    [[ -z $instance ]] || return 0
    status=$(stack_status "$1")
    [[ -n $status ]] || die "there is no stack $1 in $region: scripts/deploy makes it; --name or --region name another"
    group=$(stack_output "$1" AutoScalingGroup)
    [[ -n $group ]] || die "stack $1 ($status) is not a node's, or is still being made"
    die "stack $1 has no instance now. EC2 Auto Scaling says why:
  aws autoscaling describe-scaling-activities --region $region --auto-scaling-group-name $group --max-items 5"
}

send_command() {
    local call=(ssm send-command --instance-ids "$1" --document-name "$2" --parameters "$3" --comment "$4"
        --timeout-seconds "$delivery_seconds" --query Command.CommandId)
    command=
    if dry_run; then
        aws_change "${call[@]}"
    else
        aws_try command "${call[@]}"
    fi
}

await_command() {
    local end=$((SECONDS + delivery_seconds + $2))
    ended=InProgress
    while true; do
        # Right after it was sent, SSM may not know it yet.
        if aws_read ssm get-command-invocation --command-id "$command" --instance-id "$1" --output json \
            >"$scratch/invocation" 2>"$scratch/trouble"; then
            IFS=$'\t' read -r ended code < <(take_invocation_apart)
        elif ! grep -q InvocationDoesNotExist "$scratch/trouble"; then
            die "command $command cannot be followed: $(sed '/^[[:space:]]*$/d' "$scratch/trouble")"
        fi
        [[ $ended =~ ^(Pending|InProgress|Delayed|Cancelling)$ ]] || return 0
        # Never seen: SSM's own limits come first.
        ((SECONDS < end)) || return 0
        pause
    done
}

# The details tell a command that timed out from one that was not delivered.
take_invocation_apart() {
    python3 -c '
import json, sys

invocation = json.load(sys.stdin)
for name, key in ("output", "StandardOutputContent"), ("errors", "StandardErrorContent"):
    with open(sys.argv[1] + "/" + name, "wb") as file:
        file.write(invocation.get(key, "").encode(errors="backslashreplace"))
status, details = invocation["Status"], invocation.get("StatusDetails", "")
ended = details.replace(" ", "") if status not in ("Success", "Failed") and details else status
print(ended, invocation.get("ResponseCode", -1), sep="\t")' "$scratch" <"$scratch/invocation"
}

was_delivered() { [[ ! $ended =~ ^(Pending|Delayed|DeliveryTimedOut|Undeliverable|Terminated)$ ]]; }

unreachable() {
    cat <<END
SSM cannot reach $1${2:+: $2}. If it has just started, wait a minute. Else see whether it runs and what it wrote:
  aws ec2 describe-instance-status --region $region --instance-ids $1
  aws ec2 get-console-output --region $region --instance-id $1 --output text
and whether it can reach the internet. Its Auto Scaling group replaces it, with the same volume and key, after:
  aws ec2 terminate-instances --region $region --instance-ids $1
END
}

printable() { python3 "$repo/scripts/terminal.py" text; }
