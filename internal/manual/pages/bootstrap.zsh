#compdef bootstrap
# zsh completion of bootstrap, made of its help by "make generate".
_bootstrap() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -C \
        '--root[take all paths below this directory]:directory:_files -/' \
        '--help' \
        '1: :->command' '*:: :->rest'
    case $state in
    command)
        local -a commands=(
            'early:host keys if there are none; root partition and file system grow'
            'key:login key of the launch into authorized_keys of root, or of the'
            'rightimage:without platform settings in user-data\: dormant, nothing more.'
            'rightboot:first boot, reboot or clone? A clone forgets who it was'
            'rightscale:cache user-data and metadata in /var/spool/cloud; write the'
            'rightlink:enrol with the platform'
            'status:what each stage did on this instance'
            'register:write all boot hooks, enable early, key and rightimage'
            'uninstall:remove everything that belongs to the toolkit; --purge'
            'upgrade:bring the running agent to a version or channel, or to'
            'supervise:keep "rightlink run" alive where systemd does not;'
            'version:show the version'
        )
        _describe command commands
        ;;
    rest)
        case $line[1] in
        status) _arguments --json ;;
        register) _arguments --image --remove --stages ;;
        uninstall) _arguments --purge ;;
        upgrade) _arguments --version --check --background --judge ;;
        esac
        ;;
    esac
}
_bootstrap "$@"
