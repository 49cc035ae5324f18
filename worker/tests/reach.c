/* What a hostile program in a build tries. Each step must be refused, and with the errno that says
 * who refused it. Arguments: the pid of a process of the host that has the ids of this program, the
 * name of an abstract socket that the host listens on, and a word in that process's command line. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
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
	refused("mount", mount("none", "/tmp", "tmpfs", 0, NULL), EPERM);
	refused("bind mount", mount("/etc", "/tmp", NULL, MS_BIND, NULL), EPERM);
	refused("remount", mount(NULL, "/", NULL, MS_REMOUNT, NULL), EPERM);
	refused("umount", umount2("/proc", MNT_DETACH), EPERM);
	refused("fsopen", syscall(SYS_fsopen, "tmpfs", 0), EPERM);
	refused("open_tree", syscall(SYS_open_tree, -100, "/", 1), EPERM);
	refused("pivot_root", syscall(SYS_pivot_root, ".", "."), EPERM);
	refused("chroot", chroot("."), EPERM);
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
	if (count != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	namespaces();
	files();
	sockets(arguments[2]);
	others(atoi(arguments[1]), arguments[3]);
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
