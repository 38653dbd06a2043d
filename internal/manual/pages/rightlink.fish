# fish completion of rightlink, made of its help by "make generate".
complete -c rightlink -f
complete -c rightlink -n __fish_use_subcommand -l root -x -a '(__fish_complete_directories)'
complete -c rightlink -n __fish_use_subcommand -l help
complete -c rightlink -n __fish_use_subcommand -a enroll -d 'make this machine known to the platform; does nothing'
complete -c rightlink -n '__fish_seen_subcommand_from enroll' -l timeout
complete -c rightlink -n __fish_use_subcommand -a run -d 'be the agent, until SIGTERM: enrol if needed, run the'
complete -c rightlink -n __fish_use_subcommand -a status -d 'show the state of the agent on this machine'
complete -c rightlink -n '__fish_seen_subcommand_from status' -l json
complete -c rightlink -n __fish_use_subcommand -a version -d 'show the version'
