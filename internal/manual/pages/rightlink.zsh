#compdef rightlink
# zsh completion of rightlink, made of its help by "make generate".
_rightlink() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -C \
        '--root[take all paths below this directory]:directory:_files -/' \
        '--help' \
        '1: :->command' '*:: :->rest'
    case $state in
    command)
        local -a commands=(
            'enroll:make this machine known to the platform; does nothing'
            'run:be the agent, until SIGTERM\: enrol if needed, run the'
            'status:show the state of the agent on this machine'
            'version:show the version'
        )
        _describe command commands
        ;;
    rest)
        case $line[1] in
        enroll) _arguments --timeout ;;
        status) _arguments --json ;;
        esac
        ;;
    esac
}
_rightlink "$@"
