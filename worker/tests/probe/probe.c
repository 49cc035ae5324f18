/* Asks what a build can ask of the machine that it runs on, and prints an answer a line:
 *
 *	QUESTION = ANSWER
 *
 * It is run in a chroot as mock makes one, in the cage of builds and in that of scriptlets, and the
 * answers are compared (worker/tests/probe.rs). So an answer must be the same each time it is asked
 * in one place: numbers of processes, times and sizes of this very machine are left out. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <langinfo.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <locale.h>
#include <mqueue.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pty.h>
#include <pwd.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *question, const char *format, ...)
{
	va_list list;

	printf("%s = ", question);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
}

static const char *word(int number)
{
	const char *name = strerrorname_np(number);

	return name ? name : "?";
}

/* What a call says: its name, and `ok` or the errno. */
#define ASK(question, call) do { \
	errno = 0; \
	long result_ = (long)(call); \
	tell("call " question, "%s", result_ == -1 ? word(errno) : "ok"); \
} while (0)

/* The same in a child, for what changes the process. */
#define ASK_APART(question, call) do { \
	fflush(stdout); \
	pid_t child_ = fork(); \
	if (!child_) { ASK(question, call); fflush(stdout); _exit(0); } \
	int status_; \
	waitpid(child_, &status_, 0); \
	if (WIFSIGNALED(status_)) \
		tell("call " question, "signal %d", WTERMSIG(status_)); \
} while (0)

/* A call by number, which this library or architecture may not have. */
#define RAW(question, ...) ASK_APART(question, syscall(__VA_ARGS__))

static char here[PATH_MAX];

static int fresh(const char *name)
{
	unlink(name);
	return open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
}

static void files(void)
{
	static const char *const paths[] = {
		"/", "/dev", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
		"/dev/console", "/dev/ptmx", "/dev/pts", "/dev/pts/ptmx", "/dev/fd", "/dev/stdin",
		"/dev/stdout", "/dev/stderr", "/dev/shm", "/dev/fuse", "/dev/loop-control", "/dev/kmsg",
		"/dev/mem", "/dev/kvm", "/dev/net/tun", "/dev/mqueue", "/dev/hugepages", "/dev/log",
		"/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/machine-id",
		"/etc/localtime", "/etc/mtab", "/etc/fstab", "/etc/os-release", "/etc/profile",
		"/var/lib/dbus/machine-id", "/tmp", "/var/tmp", "/run", "/home", "/root", "/builddir",
		"/proc", "/sys", "/boot", "/mnt", "/media", "/opt", "/srv", "/usr/bin/sh", "/bin", "/lib",
	};
	char question[64], link[256];
	struct stat about;

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		snprintf(question, sizeof question, "file %s", paths[i]);
		if (lstat(paths[i], &about)) {
			tell(question, "%s", word(errno));
			continue;
		}
		ssize_t length = readlink(paths[i], link, sizeof link - 1);
		if (length >= 0) {
			link[length] = 0;
			tell(question, "-> %s%s", link, access(paths[i], F_OK) ? " (dangles)" : "");
			continue;
		}
		char device[32] = "";
		if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode))
			snprintf(device, sizeof device, " %u:%u", major(about.st_rdev), minor(about.st_rdev));
		tell(question, "%o %u:%u%s", about.st_mode, about.st_uid, about.st_gid, device);
	}
	static const char *const opened[] = {
		"/dev/null", "/dev/full", "/dev/tty", "/dev/console", "/dev/ptmx", "/dev/stdin",
		"/dev/stderr", "/dev/fd/1", "/dev/fuse", "/dev/kmsg",
	};
	for (size_t i = 0; i < sizeof opened / sizeof *opened; i++) {
		int fd = open(opened[i], O_RDWR | O_NOCTTY | O_NONBLOCK);
		snprintf(question, sizeof question, "open %s", opened[i]);
		tell(question, "%s", fd < 0 ? word(errno) : "ok");
		if (fd >= 0)
			close(fd);
	}
	static const char *const systems[] = {
		"/tmp", "/dev/shm", "/dev/pts", "/proc", "/sys", "/sys/fs/cgroup",
	};
	for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
		struct statfs system;
		snprintf(question, sizeof question, "file system of %s", systems[i]);
		if (statfs(systems[i], &system))
			tell(question, "%s", word(errno));
		else
			tell(question, "%lx%s%s", (long)system.f_type, system.f_flags & 8 ? " noexec" : "",
				system.f_flags & 1 ? " ro" : "");
	}
}

static int by_name(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

extern char **environ;

static void variables(void)
{
	char question[128];
	size_t count = 0;

	while (environ[count])
		count++;
	qsort(environ, count, sizeof *environ, by_name);
	for (size_t i = 0; i < count; i++) {
		char *value = strchr(environ[i], '=');
		/* What rpmbuild itself sets, and names of temporary files. */
		if (!value || !strncmp(environ[i], "RPM_", 4) || environ[i][0] == '_')
			continue;
		snprintf(question, sizeof question, "variable %.*s", (int)(value - environ[i]), environ[i]);
		if (!strncmp(environ[i], "PWD", 3) || !strncmp(environ[i], "OLDPWD", 6))
			value = "=(a directory)";
		tell(question, "%s", value + 1);
	}
}

static void limits(void)
{
	static const struct { const char *name; int which; } all[] = {
		{ "AS", RLIMIT_AS }, { "CORE", RLIMIT_CORE }, { "CPU", RLIMIT_CPU }, { "DATA", RLIMIT_DATA },
		{ "FSIZE", RLIMIT_FSIZE }, { "LOCKS", RLIMIT_LOCKS }, { "MEMLOCK", RLIMIT_MEMLOCK },
		{ "MSGQUEUE", RLIMIT_MSGQUEUE }, { "NICE", RLIMIT_NICE }, { "NOFILE", RLIMIT_NOFILE },
		{ "NPROC", RLIMIT_NPROC }, { "RSS", RLIMIT_RSS }, { "RTPRIO", RLIMIT_RTPRIO },
		{ "RTTIME", RLIMIT_RTTIME }, { "STACK", RLIMIT_STACK },
	};
	char question[64];

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct rlimit limit;
		getrlimit(all[i].which, &limit);
		snprintf(question, sizeof question, "limit %s", all[i].name);
		tell(question, "%lld %lld", (long long)limit.rlim_cur, (long long)limit.rlim_max);
	}
}

/* A line of /proc/self/status. */
static void status(const char *name)
{
	char line[256], question[64];
	FILE *file = fopen("/proc/self/status", "r");

	snprintf(question, sizeof question, "status %s", name);
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
			line[strcspn(line, "\n")] = 0;
			tell(question, "%s", line + strlen(name) + 2);
		}
	if (file)
		fclose(file);
}

static void first_line(const char *question, const char *path)
{
	char line[256] = "";
	FILE *file = fopen(path, "r");

	if (!file) {
		tell(question, "%s", word(errno));
		return;
	}
	if (!fgets(line, sizeof line, file) && ferror(file))
		snprintf(line, sizeof line, "%s", word(errno));
	line[strcspn(line, "\n")] = 0;
	tell(question, "%s", line);
	fclose(file);
}

static void who(void)
{
	struct passwd *user = getpwuid(getuid());
	struct group *group = getgrgid(getgid());
	struct stat about;
	char question[32];

	tell("id user", "%u %s", getuid(), user ? user->pw_name : "none");
	tell("id group", "%u %s", getgid(), group ? group->gr_name : "none");
	tell("id home and shell", "%s %s", user ? user->pw_dir : "", user ? user->pw_shell : "");
	tell("id other groups", "%d", getgroups(0, NULL));
	tell("id login", "%s", getlogin() ? getlogin() : word(errno));
	tell("id first process", "%s", getpid() == 1 ? "yes" : "no");
	tell("id terminal", "%d", isatty(0) + 2 * isatty(1) + 4 * isatty(2));
	for (int fd = 0; fd < 3; fd++) {
		snprintf(question, sizeof question, "descriptor %d", fd);
		if (fstat(fd, &about))
			tell(question, "%s", word(errno));
		else
			tell(question, "%s %s", S_ISCHR(about.st_mode) ? "character device" :
				S_ISFIFO(about.st_mode) ? "pipe" : S_ISREG(about.st_mode) ? "file" : "other",
				S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3) ? "null" : "");
	}
	mode_t mask = umask(0);
	umask(mask);
	tell("process umask", "%o", mask);
	tell("process priority", "%d", getpriority(PRIO_PROCESS, 0));
	tell("process scheduler", "%d", sched_getscheduler(0));
	tell("process personality", "%x", personality(0xffffffff));
	tell("process dumpable", "%d", prctl(PR_GET_DUMPABLE));
	tell("process death signal", "%d", ({ int number = 0; prctl(PR_GET_PDEATHSIG, &number); number; }));
	tell("process reaper", "%d", ({ int is = 0; prctl(PR_GET_CHILD_SUBREAPER, &is); is; }));
	first_line("process oom_score_adj", "/proc/self/oom_score_adj");
	static const char *const lines[] = {
		"SigBlk", "SigIgn", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		status(lines[i]);
}

static void look_up(const char *name)
{
	struct addrinfo *found = NULL, hints = { .ai_socktype = SOCK_STREAM };
	char question[64], text[INET6_ADDRSTRLEN] = "";
	int result = getaddrinfo(name, NULL, &hints, &found);

	snprintf(question, sizeof question, "look up %s", name);
	if (!result)
		getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
	tell(question, "%s", result ? gai_strerror(result) : text);
	if (found)
		freeaddrinfo(found);
}

static void names(void)
{
	char host[HOST_NAME_MAX + 1] = "";
	struct utsname kernel;
	static const char *const users[] = { "root", "bin", "daemon", "nobody", "mail" };
	char question[64];

	gethostname(host, sizeof host);
	uname(&kernel);
	tell("name system", "%s %s", kernel.sysname, kernel.machine);
	tell("name domain", "%s", kernel.domainname);
	tell("name of the host resolves", "%s", getaddrinfo(host, NULL, NULL, &(struct addrinfo *){ 0 }) ? "no" : "yes");
	look_up("localhost");
	look_up("localhost.localdomain");
	look_up("localhost6");
	look_up("127.0.0.1");
	look_up("::1");
	look_up("example.invalid");
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		struct passwd *user = getpwnam(users[i]);
		snprintf(question, sizeof question, "user %s", users[i]);
		tell(question, "%d", user ? (int)user->pw_uid : -1);
	}
	struct group *tty = getgrnam("tty");
	tell("group tty", "%d", tty ? (int)tty->gr_gid : -1);
	struct servent *http = getservbyname("http", "tcp");
	tell("service http", "%d", http ? ntohs(http->s_port) : -1);
	struct protoent *tcp = getprotobyname("tcp");
	tell("protocol tcp", "%d", tcp ? tcp->p_proto : -1);
}

static void time_and_place(void)
{
	time_t then = 1700000000;
	char text[64];

	strftime(text, sizeof text, "%F %T %z %Z", localtime(&then));
	tell("time zone", "%s", text);
	tell("locale of the environment", "%s", setlocale(LC_ALL, "") ? setlocale(LC_ALL, NULL) : "none");
	tell("locale code set", "%s", nl_langinfo(CODESET));
	setlocale(LC_ALL, "C");
	struct timespec at;
	ASK("clock_gettime BOOTTIME", clock_gettime(CLOCK_BOOTTIME, &at));
	ASK("clock_gettime TAI", clock_gettime(CLOCK_TAI, &at));
	tell("clock is past 2020", "%d", time(NULL) > 1577836800);
}

/* A directory's entries, at most a few: what is there, not what this machine has of it. */
static void entries(const char *path)
{
	char question[128], list[256] = "";
	struct dirent **found;
	int count = scandir(path, &found, NULL, alphasort);

	snprintf(question, sizeof question, "list %s", path);
	if (count < 0) {
		tell(question, "%s", word(errno));
		return;
	}
	for (int i = 0; i < count; i++)
		if (found[i]->d_name[0] != '.' && strlen(list) + strlen(found[i]->d_name) + 2 < sizeof list)
			strcat(strcat(list, found[i]->d_name), " ");
	tell(question, "%s", list[0] ? list : "(empty)");
}

static void kernel_files(void)
{
	/* Whether they can be read, and not what they say. */
	static const char *const readable[] = {
		"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version",
		"/proc/cmdline", "/proc/filesystems", "/proc/mounts", "/proc/partitions", "/proc/diskstats",
		"/proc/swaps", "/proc/modules", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/key-users",
		"/proc/timer_list", "/proc/sched_debug", "/proc/interrupts", "/proc/vmstat", "/proc/zoneinfo",
		"/proc/slabinfo", "/proc/pressure/cpu", "/proc/self/maps", "/proc/self/smaps", "/proc/self/io",
		"/proc/self/environ", "/proc/self/stack", "/proc/self/wchan", "/proc/self/pagemap",
		"/proc/self/uid_map", "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/limits",
		"/proc/net/dev", "/proc/net/tcp", "/proc/net/unix", "/proc/net/route", "/proc/1/cmdline",
		"/proc/1/environ", "/proc/acpi", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi",
		"/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id",
		"/proc/sys/kernel/random/uuid", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/pid_max",
		"/proc/sys/kernel/osrelease", "/proc/sys/kernel/cap_last_cap", "/proc/sys/vm/overcommit_memory",
		"/proc/sys/fs/file-max", "/proc/sys/fs/inotify/max_user_watches", "/proc/sys/net/core/somaxconn",
		"/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/net/ipv6/conf/all/disable_ipv6",
		"/proc/sys/user/max_user_namespaces", "/proc/sys/fs/mqueue/msg_max",
		"/sys/devices/system/cpu/online", "/sys/devices/system/cpu/possible",
		"/sys/devices/system/cpu/cpu0/topology/core_id", "/sys/devices/system/cpu/vulnerabilities",
		"/sys/devices/system/node/online", "/sys/devices/system/clocksource/clocksource0/available_clocksource",
		"/sys/class/net/lo/address", "/sys/class/net/lo/mtu", "/sys/class/net/lo/operstate",
		"/sys/class/net/lo/statistics/rx_bytes", "/sys/class/mem/null/dev", "/sys/class/dmi/id/sys_vendor",
		"/sys/class/block", "/sys/class/tty", "/sys/class/thermal", "/sys/class/power_supply",
		"/sys/class/hwmon", "/sys/block", "/sys/bus/pci/devices", "/sys/bus/usb/devices", "/sys/dev/block",
		"/sys/firmware", "/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/selinux",
		"/sys/fs/ext4", "/sys/hypervisor", "/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/kernel/btf/vmlinux", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
		"/sys/kernel/uevent_seqnum", "/sys/kernel/notes", "/sys/kernel/slab", "/sys/kernel/iommu_groups",
		"/sys/module", "/sys/module/kernel/parameters", "/sys/power/state", "/sys/devices/platform",
		"/sys/devices/virtual/net/lo", "/sys/devices/virtual/tty", "/sys/devices/virtual/block",
	};
	char question[128];

	for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
		char byte;
		int fd = open(readable[i], O_RDONLY | O_NONBLOCK);
		ssize_t count = fd < 0 ? -1 : read(fd, &byte, 1);
		snprintf(question, sizeof question, "read %s", readable[i]);
		tell(question, "%s", count < 0 && errno == EISDIR ? "a directory" : count < 0 ? word(errno) :
			count ? "ok" : "empty");
		if (fd >= 0)
			close(fd);
	}
	entries("/sys/class/net");
	entries("/sys");
	entries("/sys/devices");
	entries("/sys/devices/virtual/net");
	entries("/sys/fs/cgroup/unified");
	static const char *const writable[] = {
		"/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches",
		"/proc/self/oom_score_adj", "/proc/self/comm", "/proc/self/coredump_filter", "/proc/self/clear_refs",
		"/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/class/net/lo/mtu",
		"/sys/fs/cgroup/cgroup.procs", "/etc/passwd", "/usr/bin/new", "/run/new", "/dev/new", "/new",
	};
	for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
		int there = !access(writable[i], F_OK);
		int fd = open(writable[i], there ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL, 0600);
		snprintf(question, sizeof question, "write %s", writable[i]);
		tell(question, "%s", fd < 0 ? word(errno) : "ok");
		if (fd >= 0)
			close(fd);
		if (fd >= 0 && !there)
			unlink(writable[i]);
	}
	first_line("value /proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ip_unprivileged_port_start");
	first_line("value /proc/sys/net/ipv4/ping_group_range", "/proc/sys/net/ipv4/ping_group_range");
	first_line("value /proc/self/uid_map", "/proc/self/uid_map");
	first_line("value /proc/self/cgroup", "/proc/self/cgroup");
	first_line("value /etc/machine-id", "/etc/machine-id");
}

static void durable(void)
{
	int ends[2], file = fresh("file");
	char *page;

	if (pipe(ends))
		return;
	ASK("fsync -1", fsync(-1));
	ASK("fsync 999", fsync(999));
	ASK("fsync pipe", fsync(ends[1]));
	ASK("fsync file", fsync(file));
	ASK("fsync directory", fsync(open(".", O_RDONLY)));
	ASK("fsync path only", fsync(open("file", O_PATH)));
	ASK("fdatasync -1", fdatasync(-1));
	ASK("fdatasync pipe", fdatasync(ends[0]));
	ASK("fdatasync file", fdatasync(file));
	ASK("syncfs -1", syncfs(-1));
	ASK("syncfs file", syncfs(file));
	ASK("sync_file_range -1", sync_file_range(-1, 0, 0, 0));
	ASK("sync_file_range pipe", sync_file_range(ends[0], 0, 0, 0));
	ASK("sync_file_range file", sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE));
	ASK("sync_file_range flags", sync_file_range(file, 0, 0, 0x100));
	ASK("msync nothing", msync((void *)0x1000, 4096, MS_SYNC));
	ASK("ftruncate file", ftruncate(file, 4096));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASK("msync file", msync(page, 4096, MS_SYNC));
	ASK("open O_SYNC", open("file", O_RDWR | O_SYNC));
	ASK("open O_DIRECT", open("file", O_RDWR | O_DIRECT));
	ASK("open O_TMPFILE", open(".", O_RDWR | O_TMPFILE, 0600));
	ASK("open O_NOATIME", open("/etc/passwd", O_RDONLY | O_NOATIME));
	ASK("posix_fadvise pipe", (errno = posix_fadvise(ends[0], 0, 0, POSIX_FADV_DONTNEED)) ? -1 : 0);
	ASK("fallocate file", fallocate(file, 0, 0, 65536));
	ASK("fallocate hole", fallocate(file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096));
	ASK("fallocate pipe", fallocate(ends[0], 0, 0, 4096));
	ASK("ftruncate 41 GiB", ftruncate(file, 41LL << 30));
	ASK("ftruncate 8 TiB", ftruncate(file, 8LL << 40));
	ASK("write at 8 TiB", pwrite(file, "x", 1, 8LL << 40));
	ASK("ftruncate pipe", ftruncate(ends[0], 0));
	ASK("lseek hole", lseek(file, 0, SEEK_HOLE));
	ASK("ioctl FICLONE", ioctl(fresh("clone"), FICLONE, file));
	ASK("ioctl FS_IOC_GETFLAGS", ioctl(file, FS_IOC_GETFLAGS, &(long){ 0 }));
	ASK("ioctl FIEMAP of a pipe", ioctl(ends[0], FS_IOC_FIEMAP, NULL));
	ASK("setxattr user", fsetxattr(file, "user.x", "1", 1, 0));
	ASK("setxattr trusted", fsetxattr(file, "trusted.x", "1", 1, 0));
	ASK("setxattr security", fsetxattr(file, "security.x", "1", 1, 0));
	ASK("setxattr capability", fsetxattr(file, "security.capability", "1", 1, 0));
	ASK("getxattr missing", fgetxattr(file, "user.none", NULL, 0));
	ASK("getxattr selinux", fgetxattr(file, "security.selinux", NULL, 0));
	ASK("flock", flock(file, LOCK_EX | LOCK_NB));
	ASK("fcntl lease", fcntl(file, F_SETLEASE, F_WRLCK));
	ASK("copy_file_range", copy_file_range(file, NULL, fresh("copy"), NULL, 16, 0));
	ASK("sendfile", sendfile(fresh("sent"), open("/etc/passwd", O_RDONLY), NULL, 16));
	ASK("splice", ({ long n = write(ends[1], "x", 1); n = splice(ends[0], NULL, file, NULL, 1, 0); n; }));
	ASK("vmsplice", vmsplice(ends[1], &(struct iovec){ "x", 1 }, 1, SPLICE_F_NONBLOCK));
	ASK("renameat2 exchange", renameat2(AT_FDCWD, "clone", AT_FDCWD, "copy", RENAME_EXCHANGE));
	ASK("renameat2 no replace", renameat2(AT_FDCWD, "clone", AT_FDCWD, "copy", RENAME_NOREPLACE));
	ASK("renameat2 whiteout", renameat2(AT_FDCWD, "clone", AT_FDCWD, "gone", RENAME_WHITEOUT));
	unlink("link");
	ASK("link", link("file", "link"));
	ASK("link of another's", link("/etc/passwd", "passwd"));
	unlink("fifo"), unlink("node"), unlink("whiteout");
	ASK("mknod fifo", mknod("fifo", S_IFIFO | 0600, 0));
	ASK("mknod null", mknod("node", S_IFCHR | 0600, makedev(1, 3)));
	ASK("mknod disk", mknod("node2", S_IFBLK | 0600, makedev(7, 0)));
	ASK("mknod whiteout", mknod("whiteout", S_IFCHR | 0600, 0));
	ASK("chown root", fchown(file, 0, 0));
	ASK("chown 65534", fchown(file, 65534, 65534));
	ASK("chown 100000", fchown(file, 100000, 100000));
	ASK("chown own", fchown(file, getuid(), getgid()));
	ASK("chmod setuid", fchmod(file, 04755));
	ASK("chmod sticky", fchmod(file, 01644));
	ASK("utimensat now", futimens(file, NULL));
	ASK("statx", syscall(SYS_statx, AT_FDCWD, "file", 0, 0xfff, (char[256]){ 0 }));
	static const char *const left[] = {
		"file", "clone", "copy", "sent", "gone", "link", "fifo", "node", "node2", "whiteout",
	};
	for (size_t i = 0; i < sizeof left / sizeof *left; i++)
		unlink(left[i]);
}

static long apart(long flags)
{
	long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (!child)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
	return child;
}

static void namespaces(void)
{
	uint64_t arguments[8] = { 0 };

	ASK_APART("unshare nothing", unshare(0));
	ASK_APART("unshare FS", unshare(CLONE_FS));
	ASK_APART("unshare FILES", unshare(CLONE_FILES));
	ASK_APART("unshare SYSVSEM", unshare(CLONE_SYSVSEM));
	ASK_APART("unshare NEWUSER", unshare(CLONE_NEWUSER));
	ASK_APART("unshare NEWNS", unshare(CLONE_NEWNS));
	ASK_APART("unshare NEWPID", unshare(CLONE_NEWPID));
	ASK_APART("unshare NEWNET", unshare(CLONE_NEWNET));
	ASK_APART("unshare NEWIPC", unshare(CLONE_NEWIPC));
	ASK_APART("unshare NEWUTS", unshare(CLONE_NEWUTS));
	ASK_APART("unshare NEWCGROUP", unshare(CLONE_NEWCGROUP));
	ASK_APART("unshare NEWTIME", unshare(0x80));
	ASK("clone", apart(0));
	ASK("clone NEWUSER", apart(CLONE_NEWUSER));
	ASK("clone NEWUSER and others", apart(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID));
	ASK("clone NEWNS", apart(CLONE_NEWNS));
	ASK("clone NEWPID", apart(CLONE_NEWPID));
	ASK("clone NEWNET", apart(CLONE_NEWNET));
	ASK("clone NEWIPC", apart(CLONE_NEWIPC));
	ASK("clone NEWUTS", apart(CLONE_NEWUTS));
	ASK("clone NEWCGROUP", apart(CLONE_NEWCGROUP));
	ASK("clone3 size 0", syscall(SYS_clone3, arguments, 0));
	arguments[4] = SIGCHLD;
	ASK("clone3", ({ long child = syscall(SYS_clone3, arguments, sizeof arguments);
		if (!child) _exit(0);
		child; }));
	while (waitpid(-1, NULL, 0) > 0)
		;
	ASK("setns -1", setns(-1, 0));
	ASK("setns user", setns(open("/proc/self/ns/user", O_RDONLY), 0));
	ASK_APART("setns mount", setns(open("/proc/self/ns/mnt", O_RDONLY), 0));
	ASK_APART("chroot", chroot("/"));
	/* In a namespace of its own where this runs with the privilege. */
	ASK_APART("mount tmpfs", ({ unshare(CLONE_NEWNS); mount("none", "/mnt", "tmpfs", 0, NULL); }));
	ASK_APART("mount bind", ({ unshare(CLONE_NEWNS); mount("/tmp", "/mnt", NULL, MS_BIND, NULL); }));
	ASK_APART("umount", ({ unshare(CLONE_NEWNS); umount2("/proc", MNT_DETACH); }));
	ASK_APART("pivot_root", syscall(SYS_pivot_root, ".", "."));
	ASK_APART("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	ASK_APART("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1));
}

static void privileges(void)
{
	struct timex clock = { 0 };

	ASK_APART("setuid 0", setuid(0));
	ASK_APART("setuid 65534", setuid(65534));
	ASK_APART("setgid 0", setgid(0));
	ASK_APART("setgroups", setgroups(0, NULL));
	ASK_APART("setresuid -1", setresuid(-1, -1, -1));
	ASK_APART("sethostname", sethostname("x", 1));
	ASK_APART("setdomainname", setdomainname("x", 1));
	/* Nothing of these may be granted where this runs as root: the arguments are bad as well. */
	ASK("settimeofday", settimeofday(&(struct timeval){ -1, -1 }, NULL));
	ASK("clock_settime", clock_settime(CLOCK_REALTIME, &(struct timespec){ -1, -1 }));
	ASK("clock_settime MONOTONIC", clock_settime(CLOCK_MONOTONIC, &(struct timespec){ 1, 1 }));
	ASK("adjtimex read", adjtimex(&clock) < 0 ? -1 : 0);
	clock.modes = 0;
	ASK("clock_adjtime read", clock_adjtime(CLOCK_REALTIME, &clock) < 0 ? -1 : 0);
	RAW("reboot", SYS_reboot, 0, 0, 0, 0);
	RAW("swapon", SYS_swapon, "/nonexistent", 0);
	RAW("acct", SYS_acct, "/nonexistent/file");
	RAW("quotactl", SYS_quotactl, 0, NULL, 0, NULL);
	RAW("init_module", SYS_init_module, NULL, 0, "");
	RAW("delete_module", SYS_delete_module, "", 0);
	RAW("syslog read", SYS_syslog, 3, (char[16]){ 0 }, 16);
	RAW("syslog size", SYS_syslog, 10, NULL, 0);
	RAW("vhangup", SYS_vhangup);
#ifdef SYS_ioperm
	RAW("ioperm", SYS_ioperm, 0x80, 1, 1);
	RAW("iopl 3", SYS_iopl, 3);
#endif
	RAW("bpf", SYS_bpf, 0, NULL, 0);
	RAW("perf_event_open", SYS_perf_event_open, NULL, 0, -1, -1, 0);
	RAW("keyctl session", SYS_keyctl, 0, -3, 0);
	RAW("add_key", SYS_add_key, "user", "probe", "x", 1, -2);
	RAW("request_key", SYS_request_key, "user", "nothing", NULL, 0);
	RAW("io_uring_setup", SYS_io_uring_setup, 1, NULL);
	RAW("io_uring_register", SYS_io_uring_register, -1, 0, NULL, 0);
	RAW("userfaultfd", SYS_userfaultfd, 1);
	RAW("fanotify_init", SYS_fanotify_init, 0x200, 0);
	RAW("kcmp", SYS_kcmp, getpid(), getpid(), 0, 0, 0);
	RAW("pidfd_getfd -1", SYS_pidfd_getfd, -1, 0, 0);
	RAW("process_madvise -1", SYS_process_madvise, -1, NULL, 0, 0, 0);
	RAW("process_mrelease -1", SYS_process_mrelease, -1, 0);
	RAW("name_to_handle_at", SYS_name_to_handle_at, -1, "x", NULL, NULL, 0);
	RAW("open_by_handle_at", SYS_open_by_handle_at, -1, NULL, 0);
	RAW("move_pages", SYS_move_pages, 0, 0, NULL, NULL, NULL, 0);
	RAW("migrate_pages", SYS_migrate_pages, 0, 0, NULL, NULL);
	RAW("mbind", SYS_mbind, NULL, 0, 0, NULL, 0, 0);
	RAW("get_mempolicy", SYS_get_mempolicy, NULL, NULL, 0, NULL, 0);
	RAW("set_mempolicy", SYS_set_mempolicy, 0, NULL, 0);
	ASK("mlock 64 KiB", mlock(malloc(65536), 65536));
	ASK("mlock 16 MiB", mlock(malloc(16 << 20), 16 << 20));
	ASK_APART("mlockall future", mlockall(MCL_FUTURE));
	ASK_APART("nice -1", nice(-1));
	ASK_APART("nice 1", nice(1));
	ASK_APART("scheduler FIFO", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ 1 }));
	ASK_APART("scheduler BATCH", sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }));
	RAW("ioprio_set realtime", SYS_ioprio_set, 1, 0, 1 << 13);
	ASK_APART("personality 32 bits", personality(PER_LINUX32));
	ASK_APART("personality no randomness", personality(ADDR_NO_RANDOMIZE));
	ASK_APART("prctl ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	ASK_APART("prctl no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ASK_APART("prctl drop bounding", prctl(PR_CAPBSET_DROP, 0, 0, 0, 0));
	ASK_APART("seccomp strict", syscall(SYS_seccomp, 1, 1, NULL));
	ASK("seccomp actions", syscall(SYS_seccomp, 2, 0, &(uint32_t){ 0x7fff0000 }));
	RAW("landlock version", SYS_landlock_create_ruleset, NULL, 0, 1);
#ifdef SYS_memfd_secret /* not every architecture has it */
	RAW("memfd_secret", SYS_memfd_secret, 0);
#endif
	ASK_APART("rlimit up", setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1 << 22, 1 << 22 }));
	ASK_APART("rlimit core up", setrlimit(RLIMIT_CORE, &(struct rlimit){ 1 << 22, 1 << 22 }));
}

static void handler(int number)
{
	(void)number;
}

static void processes(void)
{
	sigset_t set;
	int fd;

	ASK("kill first process", kill(1, 0));
	ASK("kill nobody", kill(0x3ffffff, 0));
	ASK_APART("setsid", setsid());
	ASK_APART("ptrace TRACEME", ptrace(PTRACE_TRACEME, 0, 0, 0));
	ASK("pidfd_open", fd = syscall(SYS_pidfd_open, getpid(), 0));
	ASK("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	char byte = 0, copy;
	struct iovec from = { &byte, 1 }, to = { &copy, 1 };
	ASK("process_vm_readv", process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASK("signalfd", signalfd(-1, &set, 0));
	ASK("eventfd", eventfd(0, 0));
	ASK("epoll_create1", epoll_create1(0));
	ASK("inotify_init", inotify_add_watch(inotify_init(), ".", IN_CREATE));
	ASK("timerfd REALTIME", timerfd_create(CLOCK_REALTIME, 0));
	ASK("timerfd BOOTTIME_ALARM", timerfd_create(CLOCK_BOOTTIME_ALARM, 0));
	ASK("memfd_create", memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	ASK("membarrier", syscall(SYS_membarrier, 0, 0, 0) < 0 ? -1 : 0);
	ASK("futex_waitv", syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0));
	ASK("openat2", syscall(SYS_openat2, AT_FDCWD, ".", (uint64_t[3]){ 0 }, 24));
	ASK("close_range", close_range(900, 910, 0));
	ASK("faccessat2", syscall(SYS_faccessat2, AT_FDCWD, ".", 0, 0));
	ASK("getrandom", syscall(SYS_getrandom, &byte, 1, 0));
	ASK("rt_sigqueueinfo", ({ siginfo_t about = { .si_code = SI_QUEUE };
		signal(SIGUSR1, handler);
		syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &about); }));
	RAW("no such call", 4000);
	ASK("System V shared memory", ({ int id = shmget(IPC_PRIVATE, 4096, 0600);
		shmctl(id, IPC_RMID, NULL); }));
	ASK("System V semaphore", ({ int id = semget(IPC_PRIVATE, 1, 0600); semctl(id, 0, IPC_RMID); }));
	ASK("System V messages", ({ int id = msgget(IPC_PRIVATE, 0600); msgctl(id, IPC_RMID, NULL); }));
	ASK("mq_open", mq_open("/probe", O_RDWR | O_CREAT, 0600, NULL));
	mq_unlink("/probe");
	ASK("shm_open", shm_open("/probe", O_RDWR | O_CREAT, 0600));
	shm_unlink("/probe");
	ASK("sem_open", sem_open("/probe", O_CREAT, 0600, 1) == SEM_FAILED ? -1 : 0);
	sem_unlink("/probe");
	ASK("mmap executable", mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASK("mmap executable in /dev/shm", ({ int shm = shm_open("/exec", O_RDWR | O_CREAT, 0700);
		long done = ftruncate(shm, 4096);
		done = (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, shm, 0);
		shm_unlink("/exec");
		done; }));
	ASK("mmap at 0", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASK("mmap huge page", mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
	int terminal, other;
	ASK("openpty", openpty(&terminal, &other, NULL, NULL, NULL));
	ASK("terminal input", ioctl(other, TIOCSTI, "x"));
	char *name = ttyname(other);
	tell("terminal name", "%s", name && !strncmp(name, "/dev/pts/", 9) ? "/dev/pts/N" : "none");
	struct stat about;
	if (!fstat(other, &about))
		tell("terminal owner and mode", "%u:%u %o", about.st_uid, about.st_gid, about.st_mode & 07777);
	tell("programs", "%d", system("command -v gcc rpmbuild bash su mount > /dev/null"));
	tell("shell substitutes processes", "%d", system("bash -c 'cat <(echo x) | cat /dev/stdin > /dev/null'"));
}

static void sockets(void)
{
	static const struct { const char *name; int family, type, protocol; } kinds[] = {
		{ "UNIX", AF_UNIX, SOCK_STREAM, 0 }, { "INET", AF_INET, SOCK_STREAM, 0 },
		{ "INET6", AF_INET6, SOCK_STREAM, 0 }, { "INET datagram", AF_INET, SOCK_DGRAM, 0 },
		{ "INET raw", AF_INET, SOCK_RAW, 1 }, { "INET ping", AF_INET, SOCK_DGRAM, 1 },
		{ "SCTP", AF_INET, SOCK_STREAM, 132 }, { "MPTCP", AF_INET, SOCK_STREAM, 262 },
		{ "NETLINK route", AF_NETLINK, SOCK_RAW, 0 }, { "NETLINK audit", AF_NETLINK, SOCK_RAW, 9 },
		{ "NETLINK uevent", AF_NETLINK, SOCK_DGRAM, 15 }, { "PACKET", AF_PACKET, SOCK_RAW, 0 },
		{ "ALG", 38, SOCK_SEQPACKET, 0 }, { "VSOCK", AF_VSOCK, SOCK_STREAM, 0 },
		{ "BLUETOOTH", AF_BLUETOOTH, SOCK_RAW, 1 }, { "CAN", 29, SOCK_RAW, 1 },
		{ "TIPC", 30, SOCK_STREAM, 0 }, { "XDP", 44, SOCK_RAW, 0 }, { "unknown", 200, SOCK_STREAM, 0 },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		char question[64];
		int fd = socket(kinds[i].family, kinds[i].type, kinds[i].protocol);
		snprintf(question, sizeof question, "socket %s", kinds[i].name);
		tell(question, "%s", fd < 0 ? word(errno) : "ok");
		if (fd >= 0)
			close(fd);
	}
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), caller = socket(AF_INET, SOCK_STREAM, 0);

	ASK("bind 127.0.0.1", bind(listener, (struct sockaddr *)&address, sizeof address));
	ASK("listen", listen(listener, 1));
	getsockname(listener, (struct sockaddr *)&address, &length);
	ASK("connect 127.0.0.1", connect(caller, (struct sockaddr *)&address, sizeof address));
	close(listener);
	close(caller);
	caller = socket(AF_INET, SOCK_STREAM, 0);
	ASK("connect to nobody", connect(caller, (struct sockaddr *)&address, sizeof address));
	address.sin_port = htons(80);
	ASK("bind port 80", bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address));
	ASK("bind ::1", bind(socket(AF_INET6, SOCK_STREAM, 0), (struct sockaddr *)&six, sizeof six));
	address.sin_addr.s_addr = inet_addr("192.0.2.1");
	ASK("connect 192.0.2.1", connect(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof address));
	ASK("bind 192.0.2.1", bind(socket(AF_INET, SOCK_DGRAM, 0), (struct sockaddr *)&address, sizeof address));
	int one = 1;
	ASK("SO_REUSEPORT", setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
	ASK("SO_MARK", setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_MARK, &one, sizeof one));
	ASK("SO_BROADCAST", setsockopt(socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_BROADCAST, &one, sizeof one));
	struct ip_mreq group = { .imr_multiaddr.s_addr = inet_addr("239.1.1.1") };
	ASK("join a group", setsockopt(socket(AF_INET, SOCK_DGRAM, 0), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
	ASK("loopback is up", ({ struct ifreq request = { .ifr_name = "lo" };
		ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCGIFFLAGS, &request) || !(request.ifr_flags & IFF_UP) ? -1 : 0; }));
	struct sockaddr_un abstract = { .sun_family = AF_UNIX, .sun_path = "\0probe" };
	ASK("abstract socket", bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&abstract, 8));
	ASK("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 }));
	tell("interfaces", "%u", if_nametoindex("lo"));
}

#ifdef __x86_64__
static long old(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory", "r8", "r9", "r10", "r11");
	if ((int)result < 0 && (int)result > -4096) {
		errno = -(int)result;
		return -1;
	}
	return (int)result;
}

/* As a program of 32 bits asks: numbers of i386, and pointers below 4 GiB. */
static void of_32_bits(void)
{
	unsigned *low = mmap((void *)0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	ASK_APART("32 bits: getpid", old(20, 0, 0, 0));
	ASK_APART("32 bits: fsync -1", old(118, -1, 0, 0));
	ASK_APART("32 bits: socket UNIX", old(359, AF_UNIX, SOCK_STREAM, 0));
	ASK_APART("32 bits: socket VSOCK", old(359, AF_VSOCK, SOCK_STREAM, 0));
	low[0] = AF_UNIX, low[1] = SOCK_STREAM, low[2] = 0;
	ASK_APART("32 bits: socketcall UNIX", old(102, 1, (long)low, 0));
	ASK_APART("32 bits: socketcall listen", ({ low[0] = -1; old(102, 4, (long)low, 0); }));
	ASK_APART("32 bits: ipc shmget", old(117, 23, IPC_PRIVATE, 0));
	ASK_APART("32 bits: unshare NEWUSER", old(310, CLONE_NEWUSER, 0, 0));
	ASK_APART("32 bits: keyctl", old(288, 0, -3, 0));
	ASK_APART("32 bits: mount", old(21, 0, 0, 0));
	ASK_APART("x32: getpid", syscall(0x40000000 + 39));
	ASK_APART("x32: unshare NEWUSER", syscall(0x40000000 + SYS_unshare, CLONE_NEWUSER));
}
#else
static void of_32_bits(void)
{
}
#endif

int main(int count, char **arguments)
{
	if (count > 1 && chdir(arguments[1]))
		return 2;
	if (!getcwd(here, sizeof here))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("PROBE BEGINS");
	files();
	variables();
	limits();
	who();
	names();
	time_and_place();
	kernel_files();
	durable();
	namespaces();
	privileges();
	processes();
	sockets();
	of_32_bits();
	puts("PROBE ENDS");
	return 0;
}
