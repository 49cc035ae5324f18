#!/bin/sh
# mock.sh build|scriptlet ROOT SOURCES RPM
#
# Runs the probe in ROOT as mock runs builds and package managers with `--isolation=simple`: the steps
# are those of mock's buildroot.py, mounts.py, util.py and config.py. It is run in namespaces of its own,
# in which nothing it mounts or names reaches the host.
set -eu
what=$1 root=$2 sources=$3 rpm=$4

# buildroot.py, _setup_dirs
for directory in var/lib/rpm var/lib/yum var/lib/dbus var/log var/cache/dnf var/cache/yum etc/rpm tmp \
	tmp/ccache var/tmp etc/dnf etc/dnf/vars etc/yum.repos.d etc/yum proc sys; do
	mkdir -p "$root/$directory"
done

# buildroot.py, _setup_devices
rm -rf "$root/dev"
mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/dev/mapper"
node() { # MODE MAJOR MINOR NAME
	[ -e "/dev/$4" ] || return 0
	mknod -m "$1" "$root/dev/$4" c "$2" "$3"
}
node 666 1 3 null
node 666 1 7 full
node 666 1 5 zero
node 666 1 8 random
node 444 1 9 urandom
node 666 5 0 tty
node 600 5 1 console
node 666 10 229 fuse
node 660 10 234 btrfs-control
node 600 10 236 mapper/control
node 666 10 237 loop-control
node 600 10 57 prandom
node 600 10 183 hwrng
for number in 0 1 2 3 4 5 6 7 8 9 10 11; do
	mknod -m 666 "$root/dev/loop$number" b 7 "$number"
done
chown root:5 "$root/dev/tty"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
ln -sf ../proc/self/mounts "$root/etc/mtab"

# buildroot.py, _setup_files, _setup_resolver_config, _setup_dbus_uuid, _setup_timezone
touch "$root/etc/fstab" "$root/etc/os-release"
cat > "$root/etc/hosts" <<HOSTS
127.0.0.1 localhost localhost.localdomain
::1       localhost localhost.localdomain localhost6 localhost6.localdomain6
HOSTS
rm -f "$root/etc/resolv.conf"
touch "$root/etc/resolv.conf"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
ln -sf ../../../etc/machine-id "$root/var/lib/dbus/machine-id"
rm -f "$root/etc/localtime"
if [ -L /etc/localtime ]; then
	ln -s "$(readlink /etc/localtime)" "$root/etc/localtime"
elif [ -e /etc/localtime ]; then
	cp /etc/localtime "$root/etc/localtime"
fi

# mounts.py
mount -t tmpfs -o mode=0755 mock_hide_procfs_from_host "$root/proc"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o mode=0755 mock_hide_sysfs_from_host "$root/sys"
mount --rbind /sys "$root/sys"
mount -t tmpfs mock_chroot_shmfs "$root/dev/shm"
mount -t devpts -o gid=5,mode=0620,ptmxmode=0666,newinstance mock_chroot_devpts "$root/dev/pts"

# shadow_utils.py: the build user
grep -q '^mock:' "$root/etc/group" || echo 'mock:x:1000:' >> "$root/etc/group"
grep -q '^mockbuild:' "$root/etc/passwd" ||
	echo 'mockbuild:x:1000:1000::/builddir:/bin/bash' >> "$root/etc/passwd"

# util.py, condUnshareNet (as with nspawn: here neither has a network)
ip link set lo up

# The limits of a service on a host of a distribution, as far as this host lets anyone.
files=$(ulimit -Hn)
if [ "$files" = unlimited ] || [ "$files" -gt 524288 ]; then files=524288; fi
limits="--as=unlimited --core=0:unlimited --cpu=unlimited --data=unlimited --fsize=unlimited
	--locks=unlimited --memlock=8388608:8388608 --msgqueue=819200 --nice=0 --nofile=1024:$files
	--rss=unlimited --rtprio=0 --stack=8388608:unlimited"
umask 022

if [ "$what" = build ]; then
	build=$root/builddir/build
	mkdir -p "$build/BUILD" "$build/BUILDROOT" "$build/RPMS" "$build/SOURCES" "$build/SPECS" "$build/SRPMS"
	cp "$sources/probe.spec" "$build/SPECS"
	cp "$sources/probe.c" "$build/SOURCES"
	printf '%%_topdir /builddir/build\n' > "$root/builddir/.rpmmacros"
	chown -R 1000:1000 "$root/builddir"
	chmod 755 "$root/builddir"
	# The pipe for its output is made by the user, as mock makes it.
	# config.py, environment; backend.py: `bash --login -c rpmbuild`
	# shellcheck disable=SC2086 # Each limit is a word.
	exec env -i TERM=vt100 SHELL=/bin/bash HOME=/builddir HOSTNAME=mock \
		PATH=/usr/bin:/bin:/usr/sbin:/sbin PROMPT_COMMAND='printf "\033]0;<mock-chroot>\007"' \
		PS1='<mock-chroot> \s-\v\$ ' LANG=C.UTF-8 \
		/usr/bin/prlimit $limits /usr/bin/setsid --wait /usr/sbin/chroot "$root" \
		/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups \
		/bin/bash --login -c 'set -o pipefail
		SHLVL=0
		rpmbuild -bb --noclean --nodeps /builddir/build/SPECS/probe.spec 2>&1 | cat' < /dev/null 2>&1
fi
# The package manager of the host or of the bootstrap chroot, as root.
# shellcheck disable=SC2086
exec env -i TERM=vt100 SHELL=/bin/bash HOME=/builddir HOSTNAME=mock PATH=/usr/bin:/bin:/usr/sbin:/sbin \
	PROMPT_COMMAND='printf "\033]0;<mock-chroot>\007"' PS1='<mock-chroot> \s-\v\$ ' LANG=C.UTF-8 \
	/usr/bin/prlimit $limits /usr/bin/setsid --wait \
	rpm --root "$root" -Uv --nodeps --replacepkgs --noplugins --nosignature \
	--define '_dbpath /var/lib/rpm' --define '_netsharedpath /proc:/sys' "$rpm" < /dev/null 2>&1
