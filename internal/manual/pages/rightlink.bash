# bash completion of rightlink, made of its help by "make generate".
_rightlink() {
    local word command='' words=''
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        enroll | run | status | version)
            command=$word
            break
            ;;
        esac
    done
    if [ "${COMP_WORDS[COMP_CWORD-1]}" = --root ]; then
        mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")
        return
    fi
    case $command in
    '') words='enroll run status version --root --help' ;;
    enroll) words='--timeout' ;;
    status) words='--json' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -F _rightlink rightlink
