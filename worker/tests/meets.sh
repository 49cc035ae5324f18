# A build in a root that was meddled with: nothing that was left there does anything.
cat /var/lib/told
test -e /var/lib/survived
ticks() { wc -l < /var/lib/ticks; }
before=$(ticks)
test "$before" -gt 0
sleep 1
test "$before" = "$(ticks)"
test "$(/var/lib/shell -p -c 'id -u')" = 1000
