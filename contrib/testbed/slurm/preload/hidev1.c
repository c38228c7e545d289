/*
 * Preloaded into slurmd, and through it into slurmstepd, on machines whose
 * cgroups are hybrid: it shows only the v2 line of /proc/PID/cgroup.
 *
 * Slurm's cgroup/v2 plugin reads that file and refuses to run when a v1
 * hierarchy is mounted beside the v2 one, although the v2 hierarchy alone is
 * all it then uses. Jobs do not get this library: slurmstepd gives them the
 * environment of the submitting user. For tests only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int (*open_fn)(const char *, int, ...);

/* is_cgroup_file: whether path is /proc/self/cgroup or /proc/PID/cgroup. */
static int is_cgroup_file(const char *path)
{
	char who[32], rest[16];

	return sscanf(path, "/proc/%31[^/]/%15s", who, rest) == 2 &&
	       strcmp(rest, "cgroup") == 0;
}

/* v2_line returns the line "0::..." of text, cut after its end, or "". */
static char *v2_line(char *text)
{
	char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	char *end;

	if (!line)
		return strchr(text, '\0');
	if (*line == '\n')
		line++;
	end = strchr(line, '\n');
	if (end)
		end[1] = '\0';
	return line;
}

/* open_filtered opens path and returns a descriptor that reads its v2 line. */
static int open_filtered(open_fn real, const char *path, int flags)
{
	char text[8192];
	ssize_t n;
	char *line;
	int fd, mem;

	fd = real(path, flags);
	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	line = v2_line(text);
	mem = memfd_create("cgroup", MFD_CLOEXEC);
	if (mem < 0)
		return mem;
	if (write(mem, line, strlen(line)) < 0 || lseek(mem, 0, SEEK_SET) < 0) {
		close(mem);
		return -1;
	}
	return mem;
}

static int filter_open(open_fn real, const char *path, int flags, int mode)
{
	if (is_cgroup_file(path) && (flags & O_ACCMODE) == O_RDONLY)
		return open_filtered(real, path, flags);
	return real(path, flags, mode);
}

/* open and open64 are distinct symbols; libc's callers use either. */
int open(const char *path, int flags, ...)
{
	open_fn real = (open_fn)dlsym(RTLD_NEXT, "open");
	va_list args;
	int mode;

	va_start(args, flags);
	mode = va_arg(args, int);
	va_end(args);
	return filter_open(real, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	open_fn real = (open_fn)dlsym(RTLD_NEXT, "open64");
	va_list args;
	int mode;

	va_start(args, flags);
	mode = va_arg(args, int);
	va_end(args);
	return filter_open(real, path, flags, mode);
}
