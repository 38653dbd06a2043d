// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

const usage = `bootstrap prepares an instance of a RightImage, from the first boot on.

usage: bootstrap [--root DIR] COMMAND [options]

Stages, in boot order. Each runs from a boot hook of its own, can be run again
at any time, and writes its result into the status file:
  early        host keys if there are none; root partition and file system grow
               to the size of the disk (hook rightimage-early; before ssh)
  key          login key of the launch into authorized_keys of root, or of the
               account named in /etc/rightscale.d/login-user (hook rightimage-key)
  rightimage   without platform settings in user-data: dormant, nothing more.
               Else install RightLink, from /root/.rightscale or a mirror, and
               start the rest
  rightboot    first boot, reboot or clone? A clone forgets who it was
  rightscale   cache user-data and metadata in /var/spool/cloud; write the
               identity, host name and proxy settings; put in patches
  rightlink    enrol with the platform
A stage takes a verb, as init scripts do: start (the default), stop, status; and
--background to return at once. "rightlink --timeout D" tries to enrol for so
long (default 10m; 15m at most). "rightlink start" also keeps the agent running
(by systemd, or by "supervise"); "rightlink stop" ends it and waits.
"rightscale refresh" only renews the cache.

Other commands:
  status [--json]      what each stage did on this instance
  register --image     write all boot hooks, enable early, key and rightimage
                       (when an image is made, also in a chroot)
  register             enable rightboot, rightscale and rightlink for future
                       boots; packages call this
  register --remove    stop the agent and disable those three again
           [--stages A,B] limits each of them to some stages
  uninstall [--purge]  remove everything that belongs to the toolkit; --purge
                       also removes RightLink's package first
  upgrade [--version V] [--check] [--background]
                       bring the running agent to a version or channel, or to
                       the highest patch of its version; what does not work is
                       undone. Without --version: what user-data or the image
                       wants. --judge only ends the trial that a boot has begun
  supervise [start|stop|status|run]
                       keep "rightlink run" alive where systemd does not;
                       run stays in the foreground
  version              show the version

--root DIR takes all paths below DIR. LOG_LEVEL=debug shows more.

Files: /var/lib/rightscale/status.json, /etc/rightscale.d, /root/.rightscale,
/var/spool/cloud. Log: journal or system log; /var/log/rightimage.log where
neither is there.

Exit codes: 0 done, dormant or skipped; 1 it did not work, the next boot tries
again; 2 system or architecture unknown; 3 "status" of something that does not
run; 255 wrong arguments.
`
