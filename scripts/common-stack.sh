# shellcheck shell=bash
# Sourced by scripts/deploy and scripts/upgrade: the common stack and the wallet password in it. Needs
# scripts/aws.sh and scripts/settings.sh.
#
#   check_password FILE         sets $password from FILE, if one is named; notes what would keep the common
#                               stack from having one
#   ask_password                sets $password from the terminal
#   create_common STACK KEY=VALUE…
#                               the wallet password, if there is one, comes from $password
#   update_common STACK [KEY=VALUE…]
#                               only where cloudformation/common.yaml or one of the values is new
#
# shellcheck disable=SC2154 # $repo, $profile and $region are the script's

readonly common_template=$repo/cloudformation/common.yaml

# The tag that the costs of all nodes can be found by.
readonly project_tag=Key=Project,Value=AWS_THETA_EDGE

# Not exported, even if the caller has a variable of that name.
declare +x password=''

# `.` in the template's pattern is no line break.
password_fits() { ((${#password} >= 12 && ${#password} <= 128)) && [[ $password != *$'\n'* ]]; }

check_password() {
    local history
    history=$(command aws ${profile:+--profile "$profile"} configure get cli_history) || true
    [[ $history != enabled ]] ||
        problem "the AWS CLI keeps its calls in a file, and the password would be in there: 'aws configure set cli_history disabled'"
    if [[ -n $1 ]]; then
        if ! password=$(cat -- "$1" 2>/dev/null); then
            problem "the password file $1 cannot be read"
        elif ! password_fits; then
            problem "the password in $1 has ${#password} characters: 12 to 128 are wanted, in one line"
        fi
    elif [[ ! -t 0 ]] && ! dry_run; then
        problem 'there is no wallet password, and no terminal to ask for one: say --password-file FILE or --secret-arn ARN'
    fi
}

ask_password() {
    local again
    printf '\nThe wallet password encrypts the wallet key; without it the key is lost, so keep a copy.\n'
    while true; do
        IFS= read -rs -p 'Wallet password (12 to 128 characters): ' password || die 'no password was given'
        printf '\n'
        if ! password_fits; then
            printf 'That has %d characters.\n' "${#password}"
            continue
        fi
        IFS= read -rs -p 'The same again: ' again || die 'no password was given'
        printf '\n'
        [[ $password != "$again" ]] || break
        printf 'Those were two different ones.\n'
    done
}

create_common() {
    local stack=$1 id
    shift
    local call=(cloudformation create-stack --stack-name "$stack" --template-body "file://$common_template"
        --tags "$project_tag" --query StackId --output text)
    say "Making the common stack $stack"
    if dry_run; then
        [[ $* == *SecretArn=* ]] || set -- 'WalletPassword=<the wallet password>' "$@"
        would_run aws ${profile:+--profile "$profile"} --region "$region" "${call[@]}" \
            --parameters "$(printf '%s\0' "$@" | parameters_json)"
        return
    fi
    # The password goes from this shell to python3 and on to the CLI by pipes alone: printf is the
    # shell's own, so no process has it among its arguments, and no file ever holds it.
    id=$(aws_read "${call[@]}" --parameters "file://"<(
        printf '%s\0' ${password:+"WalletPassword=$password"} "$@" | parameters_json
    )) || die "the common stack $stack was not made"
    follow_stack "$id"
    [[ $followed == CREATE_COMPLETE ]] || die "the common stack $stack was not made ($followed):
$(failures "$id")
Before the next try: scripts/destroy --with-common --common $stack"
}

update_common() {
    local stack=$1 template parameters key now wanted=() changed=no event id
    shift
    local -A current=()
    template=$(stack_template "$stack")
    [[ $template == "$(<"$common_template")" ]] || changed=yes
    parameters=$(stack_parameters "$stack")
    while IFS=$'\t' read -r key now; do
        current[$key]=$now
    done <<<"$parameters"
    for now in "$@"; do
        [[ ${current[${now%%=*}]:-} == "${now#*=}" ]] || changed=yes
        wanted+=("$now")
        unset "current[${now%%=*}]"
    done
    [[ $changed == yes ]] || return 0
    # What the new template no longer knows may not be named; what is new there has its default.
    for key in $(template_keys "$common_template"); do
        [[ ! -v current[$key] ]] || wanted+=("$key")
    done
    say "Updating the common stack $stack"
    id=$(stack_id "$stack")
    event=$(last_event "$id")
    aws_change cloudformation update-stack --stack-name "$stack" --template-body "file://$common_template" \
        --parameters "$(printf '%s\0' "${wanted[@]}" | parameters_json)" \
        >"$scratch/update" 2>"$scratch/trouble" || {
        # Only its comments or its layout were new.
        ! grep -q 'No updates are to be performed' "$scratch/trouble" || return 0
        die "the common stack $stack was not updated: $(tail -n 1 "$scratch/trouble")"
    }
    ! dry_run || return 0
    follow_stack "$id" "$event"
    [[ $followed == UPDATE_COMPLETE ]] || die "the common stack $stack was not updated, and is as before ($followed):
$(failures "$id" "$event")"
}
