/* What a hostile program in a build tries. Each step must be refused, and with the errno that says
 * who refused it. Arguments: the pid of a process of the host that has the ids of this program, the
 * name of an abstract socket that the host listens on, a word in that process's command line, and the
 * port of loopback at which the host listens. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int bad;

static void refused(const char *what, long result, int expected)
{
	int found = result == -1 ? errno : 0;

	printf("%-28s %s\n", what, found ? strerror(found) : "ALLOWED");
	if (found != expected) {
		printf("  but expected: %s\n", strerror(expected));
		bad = 1;
	}
}

/* The same where a mode, a missing file or a missing privilege may be what refuses it. */
static void fails(const char *what, long result)
{
	int found = result == -1 ? errno : 0;

	printf("%-28s %s\n", what, found ? strerror(found) : "ALLOWED");
	bad |= !found;
}

static void holds(const char *what, int is)
{
	printf("%-28s %s\n", what, is ? "yes" : "NO");
	bad |= !is;
}

static int abstract(const char *name, struct sockaddr_un *address)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path + 1, name, sizeof address->sun_path - 2);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}

static long call(const char *name)
{
	struct sockaddr_un address;
	int length = abstract(name, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	long result = connect(fd, (struct sockaddr *)&address, length);
	int error = errno;

	close(fd);
	errno = error;
	return result;
}

static void namespaces(void)
{
	static const struct { const char *name; int flag; } kinds[] = {
		{ "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID },
		{ "network", CLONE_NEWNET }, { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS },
		{ "cgroup", CLONE_NEWCGROUP },
	};
	char what[64];

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		snprintf(what, sizeof what, "unshare, %s", kinds[i].name);
		refused(what, unshare(kinds[i].flag), EPERM);
		snprintf(what, sizeof what, "clone, %s", kinds[i].name);
		long child = syscall(SYS_clone, kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
		if (child == 0)
			_exit(0);
		refused(what, child, EPERM);
	}
	char clone_args[64] = { 0 };
	refused("clone3", syscall(SYS_clone3, clone_args, sizeof clone_args), ENOSYS);
	int ns = open("/proc/self/ns/user", O_RDONLY);
	refused("setns", setns(ns, 0), EPERM);
}

static void files(void)
{
	refused("mknod, a disk", mknod("disk", S_IFBLK | 0600, makedev(7, 0)), EPERM);
	refused("mknod, memory", mknod("mem", S_IFCHR | 0600, makedev(1, 1)), EPERM);
	refused("mknod, a whiteout", mknod("gone", S_IFCHR | 0600, makedev(0, 0)), EPERM);
	refused("mount", mount("none", "/tmp", "tmpfs", 0, NULL), EPERM);
	refused("bind mount", mount("/etc", "/tmp", NULL, MS_BIND, NULL), EPERM);
	refused("remount", mount(NULL, "/", NULL, MS_REMOUNT, NULL), EPERM);
	refused("umount", umount2("/proc", MNT_DETACH), EPERM);
	refused("fsopen", syscall(SYS_fsopen, "tmpfs", 0), EPERM);
	refused("open_tree", syscall(SYS_open_tree, -100, "/", 1), EPERM);
	refused("pivot_root", syscall(SYS_pivot_root, ".", "."), EPERM);
	refused("chroot", chroot("."), EPERM);
}

/* What only the owner of a machine has a use for; it is refused whatever the arguments. */
static void machine(void)
{
	static const struct { const char *name; long number; } calls[] = {
		{ "init_module", SYS_init_module }, { "finit_module", SYS_finit_module },
		{ "delete_module", SYS_delete_module }, { "kexec_load", SYS_kexec_load },
		{ "swapon", SYS_swapon }, { "swapoff", SYS_swapoff }, { "quotactl", SYS_quotactl },
		{ "acct", SYS_acct }, { "settimeofday", SYS_settimeofday },
		{ "clock_settime", SYS_clock_settime }, { "vhangup", SYS_vhangup },
		{ "add_key", SYS_add_key }, { "request_key", SYS_request_key },
		{ "syslog", SYS_syslog }, { "fanotify_init", SYS_fanotify_init },
		{ "name_to_handle_at", SYS_name_to_handle_at },
		{ "open_by_handle_at", SYS_open_by_handle_at }, { "move_pages", SYS_move_pages },
		{ "kcmp", SYS_kcmp }, { "process_madvise", SYS_process_madvise },
		{ "fsconfig", SYS_fsconfig }, { "fsmount", SYS_fsmount },
		{ "move_mount", SYS_move_mount }, { "sethostname", SYS_sethostname },
#ifdef __x86_64__
		{ "kexec_file_load", SYS_kexec_file_load }, { "iopl", SYS_iopl },
		{ "ioperm", SYS_ioperm },
#endif
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		refused(calls[i].name, syscall(calls[i].number, 0, 0, 0, 0, 0), EPERM);
	refused("setuid", setuid(0), EPERM);
	refused("setgid", setgid(0), EPERM);
	fails("a higher priority", setpriority(PRIO_PROCESS, 0, -20));
	fails("real-time scheduling",
		sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 1 }));
	fails("a terminal", open("/dev/tty", O_RDWR));
	fails("typing for somebody", ioctl(0, TIOCSTI, "x"));
}

/* Files of the host, of its kernel and of the root, and directories that are not the build's. */
static void written(void)
{
	static const char *const files[] = {
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
		"/proc/sys/vm/drop_caches", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
		"/dev/mem", "/dev/kmsg", "/etc/passwd", "/etc/ld.so.cache", "/usr/bin/env",
	};
	static const char *const made[] = {
		"/new", "/usr/new", "/etc/new", "/dev/new", "/builddir/input/new",
		"/sys/fs/cgroup/new",
	};
	char word[] = "-1000";

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		fails(files[i], open(files[i], O_WRONLY));
	for (size_t i = 0; i < sizeof made / sizeof *made; i++)
		fails(made[i], mkdir(made[i], 0755));
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	fails("to be killed last", write(fd, word, sizeof word - 1));
	fd = open("/proc/kcore", O_RDONLY);
	holds("no memory of the kernel", read(fd, word, 1) <= 0);
}

/* What is open leads to nothing that is outside: each file has its name here as well. */
static void descriptors(void)
{
	char path[64], target[4096];

	for (int fd = 0; fd < 4096; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target - 1);
		if (length <= 0)
			continue;
		target[length] = 0;
		printf("descriptor %d is %s\n", fd, target);
		if (target[0] == '/' && !strstr(target, " (deleted)"))
			holds("it is of the cage", !access(target, F_OK));
	}
}

static long connects(const char *address, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, address, &to.sin_addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	long result = connect(fd, (struct sockaddr *)&to, sizeof to);
	int error = errno;

	close(fd);
	errno = error;
	return result;
}

static void network(int port)
{
	refused("the host's loopback", connects("127.0.0.1", port), ECONNREFUSED);
	refused("a cloud's metadata", connects("169.254.169.254", 80), ENETUNREACH);
	refused("a private network", connects("10.0.0.1", 80), ENETUNREACH);
	refused("a raw socket", socket(AF_INET, SOCK_RAW, 1), EPERM);
	refused("a socket of the crypto API", socket(AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT);
}

static void sockets(const char *name)
{
	struct sockaddr_un address;
	char own[108];

	refused("the host's abstract socket", call(name), ECONNREFUSED);
	/* That it is not the way of asking: one of its own answers. */
	snprintf(own, sizeof own, "%s-own", name);
	int length = abstract(own, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	holds("its own abstract socket", !bind(fd, (struct sockaddr *)&address, length)
		&& !listen(fd, 1) && !call(own));
	refused("a packet socket", socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	refused("a socket to the hypervisor", socket(AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT);
}

/* Whether a process here has a word in its command line. */
static int is_called(pid_t pid, const char *word)
{
	char path[64], line[4096];

	snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t count = read(fd, line, sizeof line);
	close(fd);
	return count > 0 && memmem(line, count, word, strlen(word)) != NULL;
}

static void others(pid_t neighbour, const char *word)
{
	char byte = 0;
	struct iovec here = { &byte, 1 };
	int found = 0;

	/* Its own processes can be traced: gdb, strace and their tests do. */
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	struct iovec there = { &byte, 1 };
	holds("ptrace, its own child", !ptrace(PTRACE_ATTACH, child, 0, 0)
		&& waitpid(child, NULL, 0) == child
		&& process_vm_readv(child, &here, 1, &there, 1, 0) == 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);

	/* No number stands for a process outside. This program has the word in its own command line. */
	for (pid_t pid = 1; pid < 1 << 22; pid++)
		if (pid != getpid() && (!kill(pid, 0) || errno != ESRCH) && is_called(pid, word))
			found++;
	/* The shell that runs this has it in its script, and not in its command line. */
	holds("nobody of the host is seen", found == 0);
	if (kill(neighbour, 0) && errno == ESRCH) {
		refused("ptrace, the host's", ptrace(PTRACE_ATTACH, neighbour, 0, 0), ESRCH);
		refused("memory, the host's",
			process_vm_readv(neighbour, &here, 1, &there, 1, 0), ESRCH);
		refused("a handle of the host's", syscall(SYS_pidfd_open, neighbour, 0), ESRCH);
	}
	refused("pidfd_getfd", syscall(SYS_pidfd_getfd, 0, 0, 0), EPERM);
}

int main(int count, char **arguments)
{
	if (count != 5)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	namespaces();
	files();
	sockets(arguments[2]);
	others(atoi(arguments[1]), arguments[3]);
	network(atoi(arguments[4]));
	machine();
	written();
	descriptors();
	refused("bpf", syscall(SYS_bpf, 0, 0, 0), EPERM);
	refused("keyctl", syscall(SYS_keyctl, 0, -3, 0), EPERM);
	refused("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL), EPERM);
	refused("userfaultfd", syscall(SYS_userfaultfd, 0), EPERM);
	refused("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0), EPERM);
	if (bad)
		return 1;
	puts("ALL REFUSED");
	return 0;
}
