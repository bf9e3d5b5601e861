# unit.awk - spendd.service.in -> spendd.service: paths, and the lines that this systemd knows.
# -v bindir= -v sysconfdir= -v systemd= (its version; empty: unknown, so only what every one knows).
/^# @[0-9]+@ / {
    since = substr($2, 2) + 0
    if (systemd + 0 >= since)
        print $3 (NF > 3 ? " " $4 : "")
    next
}
{
    gsub(/@bindir@/, bindir)
    gsub(/@sysconfdir@/, sysconfdir)
    sub(/spendd.service - made from .*\.in\.  Change/, "spendd.service - change")
    print
}
