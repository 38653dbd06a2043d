#!/bin/sh
# The example application: one page with the site's title and the machine's name.
printf 'Content-Type: text/plain\r\n\r\n'
printf 'title: %s\n' "$(cat /srv/www/title)"
printf 'host: %s\n' "$(hostname)"
