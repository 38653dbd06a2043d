#!/sbin/openrc-run
# @LONG@
# Part of RightImage; "@BIN@ uninstall" removes it.

description="@SHORT@"
bootstrap=@BIN@

depend() {
	@NEED@
	@USE@
	@AFTER@
	@BEFORE@
}

start() {
	[ -x "$bootstrap" ] || return 0
	ebegin "@SHORT@"
	HOME=/root "$bootstrap" @STAGE@ start@OPTIONS@
	eend $?
}

stop() {
	[ -x "$bootstrap" ] || return 0
	HOME=/root "$bootstrap" @STAGE@ stop
}

status() {
	"$bootstrap" @STAGE@ status
}
