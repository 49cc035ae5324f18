/* Tries each thing that a target can allow, and prints `ALLOWED WORD` for those that are open. What is
 * open need not succeed: a kernel may refuse it too, with another errno than the cage's. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *word, long result, int closed)
{
	int found = result == -1 ? errno : 0;

	printf("%s %s: %s\n", found == closed ? "closed" : "open", word, strerror(found));
	if (found != closed)
		printf("ALLOWED %s\n", word);
}

static long attach(void)
{
	glob_t found;
	int device, file = open("image", O_RDWR | O_CREAT, 0600);

	if (ftruncate(file, 1 << 20) || glob("/dev/loop[0-9]*", 0, NULL, &found)) {
		errno = ENOENT;
		return -1;
	}
	/* Left attached: the worker has to undo it. */
	device = open(found.gl_pathv[0], O_RDWR);
	return device < 0 ? -1 : ioctl(device, 0x4C00, file);
}

static long namespace(void)
{
	int status = 0;
	pid_t child = fork();

	if (!child)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) ? errno : mount("x", "/tmp", "tmpfs", 0, NULL) ? 1 : 0);
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

#ifdef __x86_64__
static long old_socket(void)
{
	unsigned *low = mmap((void *)0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	long result;

	low[0] = AF_UNIX, low[1] = SOCK_STREAM, low[2] = 0;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1), "c"(low) : "memory", "r8", "r9", "r10", "r11");
	if ((int)result >= 0)
		return 0;
	errno = -(int)result;
	return -1;
}
#endif

int main(void)
{
	int ends[2];
	struct iovec byte = { "x", 1 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pipe(ends))
		return 2;
	told("fuse", open("/dev/fuse", O_RDWR), ENOENT);
	told("loop", attach(), ENOENT);
	told("keyring", syscall(SYS_keyctl, 0, -3, 0), EPERM);
	told("user_namespaces", namespace(), EPERM);
	told("io_uring", syscall(SYS_io_uring_setup, 0, NULL), EPERM);
	/* Bad arguments: EPERM is the kernel's own word for good ones. */
	told("perf_event", syscall(SYS_perf_event_open, NULL, 0, -1, -1, ~0UL), EPERM);
	told("userfaultfd", syscall(SYS_userfaultfd, 1), EPERM);
	told("bpf", syscall(SYS_bpf, 999, NULL, 0xffffff), EPERM);
	told("numa", syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, ~0), EPERM);
	told("fanotify", syscall(SYS_fanotify_init, 0x200, 0), EPERM);
	told("file_handles", syscall(SYS_name_to_handle_at, -1, NULL, NULL, NULL, ~0), EPERM);
	told("process_handles", syscall(SYS_pidfd_getfd, -1, 0, 0), EPERM);
	told("vmsplice", vmsplice(ends[1], &byte, 1, SPLICE_F_NONBLOCK), EPERM);
	told("kernel_log", syscall(SYS_syslog, 999, NULL, 0), EPERM);
	told("crypto_sockets", socket(38, SOCK_SEQPACKET, -1), EAFNOSUPPORT);
	told("vsock", socket(AF_VSOCK, 99, -1), EAFNOSUPPORT);
#ifdef __x86_64__
	told("sockets_of_32_bits", old_socket(), EAFNOSUPPORT);
#endif
	return 0;
}
