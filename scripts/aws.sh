# shellcheck shell=bash
# Sourced by the scripts that talk to AWS: their common options, the AWS CLI with --dry-run, what
# stacks tell, following a stack's events, waiting.
#
# Needs: $repo, and the function usage. Brings say and die (scripts/needs.sh).
#
#   aws_option "$@"             takes --help, --profile, --region and --dry-run: true if $1 was one of
#                               them, and then $taken words are to be shifted away
#   need_value "$@"             ends with wrong usage unless $1 has a value
#   wrong_usage TEXT            ends with exit code 2
#   problem TEXT                notes what must be put right before anything may be changed
#   report_problems             ends with all of them, where there are any
#   aws_start                   after the options: finds $region, and the $account of whoever is calling
#
#   aws_read ARGUMENT…          runs the CLI: for calls that change nothing
#   aws_try NAME ARGUMENT…      the same, with --output text: the answer is then in $NAME; where it is refused
#                               that is false, and the CLI's words are in $trouble
#   aws_change ARGUMENT…        runs the CLI: for calls that change something; with --dry-run the call
#                               is printed instead, one line, quoted for a shell
#   aws_make PLACEHOLDER ARGUMENT…
#                               the same, where the output is needed; with --dry-run it is PLACEHOLDER
#   would_run ARGUMENT…         prints such a line
#   dry_run                     true with --dry-run
#   warn TEXT                   says something on standard error and goes on
#   confirm WORD QUESTION       true if the person at the terminal types WORD; ends with wrong usage if
#                               there is no terminal, so have a --yes
#   parameters_json             KEY=VALUE items on standard input, each ended by a NUL byte, as the JSON that
#                               CloudFormation takes; a KEY alone keeps its previous value
#
#   stack_status STACK          its status, or nothing if there is no such stack
#   stack_id STACK, stack_template STACK
#   stack_output STACK KEY      an output, or nothing
#   stack_parameters STACK      KEY<tab>VALUE lines
#   stack_resource STACK ID     the physical id of a resource, or nothing
#   node_fact STACK address|instance|verdict
#                               what the node reported when it was ready, or nothing
#   node_instance STACK         the id of the instance that is the node now, or nothing
#                               (these read AWS: assign to a variable, on a line of its own, so that a
#                               refusal ends the script)
#   last_event STACK            the id of its newest event: before a change, for…
#   follow_stack ID [EVENT]     prints the events after EVENT, one line each, until the stack rests; its
#                               status is then in $followed. By the stack's id, which outlives the stack
#   failures ID [EVENT]         what failed after EVENT, oldest first: "RESOURCE: reason" lines
#
#   seconds_in COUNT UNIT       a duration in seconds; UNIT is s, m, h or d
#   wait_until SECONDS COMMAND… repeats the command until it is true; false after SECONDS
#   pause                       between two questions: EDGE_POLL_SECONDS, or 5 seconds
#
#   $scratch                    a directory that goes with the script; never for a secret
#
# Only what both version 1 and 2 of the AWS CLI have is used.
# shellcheck disable=SC2154 # $repo is the script's

# shellcheck source=scripts/needs.sh
. "$repo/scripts/needs.sh"

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) ||
    die "needs Bash 4.4 or newer, and this is $BASH_VERSION: run it in AWS CloudShell, or install bash"

profile='' region='' account='' dry=no taken=0 trouble='' followed='' problems=()
# Where --dry-run prints, even where a call's own output is being read.
exec 3>&1
# Version 2 of the CLI would show its answers in a pager.
export AWS_PAGER=''
# A refusal within $(…) ends the script, too.
shopt -s inherit_errexit
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

wrong_usage() {
    printf '%s: %s; see --help\n' "${0##*/}" "$*" >&2
    exit 2
}

warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

need_value() { (($# > 1)) || wrong_usage "$1 needs a value"; }

problem() { problems+=("$*"); }

report_problems() {
    ((${#problems[@]})) || return 0
    printf '%s: nothing was changed, because\n' "${0##*/}" >&2
    printf '  - %s\n' "${problems[@]}" >&2
    exit 1
}

dry_run() { [[ $dry == yes ]]; }

aws_option() {
    taken=1
    case $1 in
        --help)
            usage
            exit 0
            ;;
        --dry-run) dry=yes ;;
        --profile | --region)
            need_value "$@"
            printf -v "${1#--}" %s "$2"
            taken=2
            ;;
        *) return 1 ;;
    esac
}

aws_start() {
    command -v aws >/dev/null ||
        die 'the AWS CLI is missing: install it (https://aws.amazon.com/cli/), or run this in AWS CloudShell'
    command -v python3 >/dev/null || die 'python3 is missing: install it, or run this in AWS CloudShell'
    # Version 1 of the CLI does not know AWS_REGION.
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
    [[ -n $region ]] || region=$(command aws ${profile:+--profile "$profile"} configure get region) ||
        die 'no region is set: say --region REGION, or set AWS_REGION'
    aws_try account sts get-caller-identity --query Account ||
        die "AWS does not know who is calling: $trouble
Sign in with 'aws configure', 'aws sso login' or --profile, and try 'aws sts get-caller-identity'"
}

aws_read() { command aws ${profile:+--profile "$profile"} --region "$region" "$@"; }

aws_try() {
    local -n answer_=$1
    shift
    answer_=$(aws_read "$@" --output text 2>"$scratch/trouble") && return
    # Without the empty lines around them.
    trouble=$(sed -n '/[^[:space:]]/{p;q;}' "$scratch/trouble")
    return 1
}

would_run() {
    local word line=
    for word in "$@"; do
        # Only what a shell would take for something else is quoted.
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf 'would run:%s\n' "$line" >&3
}

aws_change() {
    if dry_run; then
        would_run aws ${profile:+--profile "$profile"} --region "$region" "$@"
    else
        aws_read "$@"
    fi
}

aws_make() {
    local placeholder=$1
    shift
    aws_change "$@" || return
    ! dry_run || printf '%s\n' "$placeholder"
}

confirm() {
    local answer
    [[ -t 0 ]] || wrong_usage "there is no terminal to ask at: $2 Say --yes"
    read -r -p "$2 Type $1 to go on: " answer
    [[ $answer == "$1" ]]
}

parameters_json() {
    python3 -c '
import json, sys

items = []
for item in sys.stdin.buffer.read().decode().split("\0")[:-1]:
    key, given, value = item.partition("=")
    kept = {"UsePreviousValue": True}
    items.append({"ParameterKey": key, **({"ParameterValue": value} if given else kept)})
print(json.dumps(items, separators=(",", ":")))'
}

# stack_field STACK QUERY: nothing if there is no such stack, or no such field.
stack_field() {
    local field
    if aws_try field cloudformation describe-stacks --stack-name "$1" --query "Stacks[0].$2"; then
        # What the CLI prints for a value that is not there.
        [[ -z $field || $field == None ]] || printf '%s\n' "$field"
    elif [[ $trouble != *'does not exist'* ]]; then
        die "stack $1 cannot be read: $trouble"
    fi
}

stack_status() { stack_field "$1" StackStatus; }
stack_id() { stack_field "$1" StackId; }
stack_output() { stack_field "$1" "Outputs[?OutputKey=='$2'] | [0].OutputValue"; }
stack_parameters() { stack_field "$1" 'Parameters[].[ParameterKey,ParameterValue]'; }

stack_template() {
    local template
    aws_try template cloudformation get-template --stack-name "$1" --template-stage Original --query TemplateBody ||
        die "the template of stack $1 cannot be read: $trouble"
    printf '%s\n' "$template"
}

stack_resource() {
    local id
    aws_try id cloudformation list-stack-resources --stack-name "$1" \
        --query "StackResourceSummaries[?LogicalResourceId=='$2'].PhysicalResourceId" ||
        die "the resources of stack $1 cannot be read: $trouble"
    printf '%s\n' "$id"
}

node_fact() {
    local signals
    signals=$(stack_output "$1" Node)
    # One entry per instance that signalled; its value is what bootstrap sent, JSON of its own.
    python3 -c '
import json, sys

try:
    for data in json.loads(sys.argv[1] or "{}").values():
        print(json.loads(data).get(sys.argv[2], ""))
except ValueError:
    pass  # another version said something else
' "$signals" "$2"
}

node_instance() {
    local group instance
    group=$(stack_output "$1" AutoScalingGroup)
    [[ -n $group ]] || return 0
    aws_try instance autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$group" \
        --query "AutoScalingGroups[0].Instances[?LifecycleState=='InService'] | [0].InstanceId" ||
        die "the group of stack $1 cannot be read: $trouble"
    [[ $instance == None ]] || printf '%s\n' "$instance"
}

last_event() {
    local event
    aws_try event cloudformation describe-stack-events --stack-name "$1" --no-paginate --query 'StackEvents[0].EventId' ||
        die "the events of stack $1 cannot be read: $trouble"
    printf '%s\n' "$event"
}

# stack_events ID EVENT lines|failures: the events after EVENT (all without one), oldest first.
stack_events() {
    aws_read cloudformation describe-stack-events --stack-name "$1" --output json |
        python3 -c '
import json, sys

stack, newest, wanted = sys.argv[1:]
fresh = []
for event in json.load(sys.stdin)["StackEvents"]:
    if event["EventId"] == newest:
        break
    fresh.append(event)
for event in reversed(fresh):
    status, resource, kind = event["ResourceStatus"], event["LogicalResourceId"], event["ResourceType"]
    reason = " ".join(event.get("ResourceStatusReason", "").split())
    failed = status.endswith("_FAILED") or "ROLLBACK_IN_PROGRESS" in status
    if wanted == "lines":
        line = "{}  {:<20} {:<24} {}".format(event["Timestamp"][11:19], resource, status, kind)
        print(event["EventId"], line + (": " + reason if failed and reason else ""), sep="\t")
    # What was only cancelled because something else failed tells nothing.
    elif status.endswith("_FAILED") and reason and not reason.endswith("cancelled"):
        physical = event.get("PhysicalResourceId", "")
        nested = physical if kind == "AWS::CloudFormation::Stack" and physical != stack else ""
        print(resource + ": " + reason, nested, sep="\t")
' "$1" "$2" "$3"
}

follow_stack() {
    local id=$1 newest=${2:-} event line
    trap 'printf "\n%s: no longer following, but AWS goes on with %s\n" "${0##*/}" "$id" >&2; exit 130' INT
    while true; do
        # The status first: every event before it is then there to be read.
        followed=$(stack_status "$id")
        while IFS=$'\t' read -r event line; do
            newest=$event
            printf '%s\n' "$line"
        done < <(stack_events "$id" "$newest" lines)
        [[ $followed == *_IN_PROGRESS ]] || break
        pause
    done
    trap - INT
}

failures() {
    local reason nested
    while IFS=$'\t' read -r reason nested; do
        printf '  %s\n' "$reason"
        # A stack within the stack (a node of a fleet) has the reason itself.
        [[ -z $nested ]] || failures "$nested"
    done < <(stack_events "$1" "${2:-}" failures)
}

seconds_in() {
    local -Ar units=([s]=1 [m]=60 [h]=3600 [d]=86400)
    # Not octal where it begins with a zero.
    echo $((10#$1 * units[$2]))
}

wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        pause
    done
}

pause() { sleep "${EDGE_POLL_SECONDS:-5}"; }
