#!/bin/sh
# install.sh - turns a Debian root into spendd's image: /tmp/spendd_*.deb with what it needs, a user of a fixed
# number (volumes outlive images), the entrypoint, the two directories that are written to.  As root, in there.
set -eu
groupadd -g 10001 spendd
useradd -u 10001 -g spendd -d /var/lib/spendd -M -s /usr/sbin/nologin spendd
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# The stand-alone sysusers instead of all of systemd: the package's script wants one of them.
apt-get -q -y --no-install-recommends install ca-certificates systemd-standalone-sysusers /tmp/spendd_*.deb
install -m 755 /tmp/entrypoint.sh /usr/local/bin/spendd-entrypoint
install -d -o spendd -g spendd -m 750 /var/lib/spendd /run/spendd
# Where no file is mounted the configuration is the environment's.
rm -f /etc/spendd/spendd.conf
rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
