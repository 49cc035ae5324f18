# What a scriptlet tries beyond the root that it is installed into. Whatever succeeds is told as
# ALLOWED, in a file of that root; @PORT@ is where the host listens on its loopback.
exec > /var/lib/told 2>&1

try() {
  if "$@" > /dev/null 2>&1; then echo "ALLOWED: $*"; else echo "refused: $*"; fi
}

try unshare --user true
try unshare --mount true
try unshare --net true
try mknod /dev/memory c 1 1
try mknod /var/lib/memory c 1 1
try mknod /var/lib/disk b 254 0
try mknod /var/lib/whiteout c 0 0
for name in kernel/core_pattern kernel/hostname kernel/sysrq vm/drop_caches net/ipv4/ip_forward; do
  try bash -c "echo 1 > /proc/sys/$name"
done
try bash -c 'echo h > /proc/sysrq-trigger'
try bash -c 'exec 3<> /dev/tcp/127.0.0.1/@PORT@'
try bash -c 'exec 3<> /dev/tcp/169.254.169.254/80'
try head -c 1 /proc/kcore

# By number, on x86_64.
perl -e '
  sub told { my ($what, $is) = @_; print(($is ? "ALLOWED" : "refused"), ": $what\n") }
  sub call { my ($what, $call, @rest) = @_; told($what, syscall($call, @rest) >= 0) }
  my ($none, $place, $kind, $root, $proc, $etc, $empty) =
    ("none", "/mnt", "tmpfs", "/", "/proc", "/etc", "\0" x 256);
  call("mount", 165, $none, $place, $kind, 0, 0);
  call("bind mount", 165, $etc, $place, $kind, 4096, 0);
  call("remount", 165, $none, $root, $kind, 32, 0);
  call("umount", 166, $proc, 2);
  call("fsopen", 430, $kind, 0);
  call("open_tree", 428, -100, $root, 1);
  call("keyctl", 250, 0, -3, 0, 0, 0);
  call("bpf", 321, 0, $empty, 120);
  call("io_uring_setup", 425, 1, $empty);
  call("init_module", 175, $empty, 0, $empty);

  # The classical way out of a chroot ends in the root that has rpm, and there all is read-only.
  mkdir "/var/lib/jail";
  if (!chroot "/var/lib/jail") { told("chroot", 0); exit }
  chdir ".." for 1 .. 64;
  if (!chroot ".") { told("chroot", 0); exit }
  for my $file ("/new", "/usr/bin/new", "/etc/passwd", "/packages/new.rpm") {
    told("writing $file", open my $out, ">>", $file);
  }
  opendir my $folder, "/packages" or exit;
  for my $package (map { "/packages/$_" } grep { /rpm$/ } readdir $folder) {
    told("appending to $package", open my $out, ">>", $package);
    told("the mode of $package", chmod 0777, $package);
    told("the owner of $package", chown 1, 1, $package);
    told("linking $package", link $package, "/target/var/lib/linked");
    told("renaming $package", rename $package, "/target/var/lib/renamed");
    told("removing $package", unlink $package);
  }
'

# What whoever stands on this root finds there.
cp /bin/bash /var/lib/shell
chmod 6755 /var/lib/shell
mkdir -p /builddir/build/RPMS
echo planted > /builddir/build/RPMS/planted-1-1.noarch.rpm
setsid sh -c 'while :; do echo tick >> /var/lib/ticks; sleep 0.1; done' < /dev/null > /dev/null 2>&1 &
while [ ! -s /var/lib/ticks ]; do sleep 0.1; done
echo END OF MEDDLING
exit 0
