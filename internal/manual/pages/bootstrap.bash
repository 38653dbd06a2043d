# bash completion of bootstrap, made of its help by "make generate".
_bootstrap() {
    local word command='' words=''
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        early | key | rightimage | rightboot | rightscale | rightlink | status | register | uninstall | upgrade | supervise | version)
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
    '') words='early key rightimage rightboot rightscale rightlink status register uninstall upgrade supervise version --root --help' ;;
    status) words='--json' ;;
    register) words='--image --remove --stages' ;;
    uninstall) words='--purge' ;;
    upgrade) words='--version --check --background --judge' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -F _bootstrap bootstrap
