# fish completion of bootstrap, made of its help by "make generate".
complete -c bootstrap -f
complete -c bootstrap -n __fish_use_subcommand -l root -x -a '(__fish_complete_directories)'
complete -c bootstrap -n __fish_use_subcommand -l help
complete -c bootstrap -n __fish_use_subcommand -a early -d 'host keys if there are none; root partition and file system grow'
complete -c bootstrap -n __fish_use_subcommand -a key -d 'login key of the launch into authorized_keys of root, or of the'
complete -c bootstrap -n __fish_use_subcommand -a rightimage -d 'without platform settings in user-data: dormant, nothing more.'
complete -c bootstrap -n __fish_use_subcommand -a rightboot -d 'first boot, reboot or clone? A clone forgets who it was'
complete -c bootstrap -n __fish_use_subcommand -a rightscale -d 'cache user-data and metadata in /var/spool/cloud; write the'
complete -c bootstrap -n __fish_use_subcommand -a rightlink -d 'enrol with the platform'
complete -c bootstrap -n __fish_use_subcommand -a status -d 'what each stage did on this instance'
complete -c bootstrap -n '__fish_seen_subcommand_from status' -l json
complete -c bootstrap -n __fish_use_subcommand -a register -d 'write all boot hooks, enable early, key and rightimage'
complete -c bootstrap -n '__fish_seen_subcommand_from register' -l image
complete -c bootstrap -n '__fish_seen_subcommand_from register' -l remove
complete -c bootstrap -n '__fish_seen_subcommand_from register' -l stages
complete -c bootstrap -n __fish_use_subcommand -a uninstall -d 'remove everything that belongs to the toolkit; --purge'
complete -c bootstrap -n '__fish_seen_subcommand_from uninstall' -l purge
complete -c bootstrap -n __fish_use_subcommand -a upgrade -d 'bring the running agent to a version or channel, or to'
complete -c bootstrap -n '__fish_seen_subcommand_from upgrade' -l version
complete -c bootstrap -n '__fish_seen_subcommand_from upgrade' -l check
complete -c bootstrap -n '__fish_seen_subcommand_from upgrade' -l background
complete -c bootstrap -n '__fish_seen_subcommand_from upgrade' -l judge
complete -c bootstrap -n __fish_use_subcommand -a supervise -d 'keep "rightlink run" alive where systemd does not;'
complete -c bootstrap -n __fish_use_subcommand -a version -d 'show the version'
