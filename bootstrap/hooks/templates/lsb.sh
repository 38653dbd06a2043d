#!/bin/sh
### BEGIN INIT INFO
# Provides:          @NAME@
# Required-Start:    @REQUIRED_START@
# Required-Stop:     @REQUIRED_STOP@
# Should-Start:      @SHOULD_START@
# X-Start-Before:    @START_BEFORE@
# X-Stop-After:      @STOP_AFTER@
# Default-Start:     2 3 4 5
# Default-Stop:      @DEFAULT_STOP@
# Short-Description: @SHORT@
# Description:       @LONG@
### END INIT INFO
# chkconfig: 2345 @CHKCONFIG@
# description: @LONG@
#
# Part of RightImage; "@BIN@ uninstall" removes it.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
bootstrap=@BIN@

case "$1" in
start | stop | status)
	[ -x "$bootstrap" ] || exit 0
	exec "$bootstrap" @STAGE@ "$1"@OPTIONS@
	;;
restart | force-reload)
	"$0" stop
	exec "$0" start
	;;
*)
	echo "usage: $0 start|stop|restart|status"
	exit 255
	;;
esac
