# What mock does without a container: $1 the base root, $2 a scratch directory with upper, work and
# root, $3 a file with packages of rpm's to install, $4 the spec. Runs in namespaces of its own.
set -eu
lower=$1 scratch=$2 packages=$3 spec=$4
root=$scratch/root
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 0666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 0666 "$root/dev/tty" c 5 0
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
ip link set lo up
hostname mock
begin=$EPOCHREALTIME
if [ -s "$packages" ]; then
  tr '\n' '\0' < "$packages" |
    xargs -0 rpm --root "$root" --define '_dbpath /var/lib/rpm' -U --nosignature --nodigest
fi
installed=$EPOCHREALTIME
# The build user under mock's name, in place of the root's own.
account() {
  grep -v -e '^mockbuild:' -e '^mock:' -e ':x:1000:' "$root/etc/$1" > "$scratch/account" || true
  { cat "$scratch/account"; echo "$2"; } > "$root/etc/$1"
}
account passwd 'mockbuild:x:1000:135::/builddir:/bin/bash'
account group 'mock:x:135:'
build() {
  chroot --userspec=1000:135 --groups= "$root" /usr/bin/env -i \
    TERM=vt100 SHELL=/bin/bash HOME=/builddir HOSTNAME=mock LANG=C.UTF-8 \
    PATH=/usr/bin:/bin:/usr/sbin:/sbin 'PROMPT_COMMAND=printf "\033]0;<mock-chroot>\007"' \
    'PS1=<mock-chroot> \s-\v\$ ' /bin/bash --login -c "$@" < /dev/null
}
cd /
build 'cd /builddir/build && rpmbuild -bs --noclean --target x86_64 --nodeps "SPECS/$1"' mock "$spec"
build 'cd /builddir/build && rpmbuild --rebuild --noclean --target x86_64 SRPMS/*.src.rpm' mock
echo "$begin $installed $EPOCHREALTIME" > "$scratch/times"
