// Makes system calls on files of one folder fail: LD_PRELOAD it.
//
//   FAULT_FOLDER  path that the files' begin with
//   FAULT_AT      number of the first call that fails, 1 for the first on these files; 0: none
//   FAULT_COUNT   calls that fail from there on
//   FAULT_ERRNO   what they fail with
//   FAULT_LOG     file that receives the number of calls when the process ends
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long at, count;
static int code;
static const char* folder;

__attribute__((constructor)) static void begin(void) {
  folder = getenv("FAULT_FOLDER");
  at = atol(getenv("FAULT_AT") ?: "0");
  count = atol(getenv("FAULT_COUNT") ?: "1");
  code = atoi(getenv("FAULT_ERRNO") ?: "5");
}

__attribute__((destructor)) static void end(void) {
  const char* log = getenv("FAULT_LOG");
  if (log == NULL) return;
  char text[32];
  const int length = snprintf(text, sizeof text, "%ld\n", atomic_load(&calls));
  const int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  syscall(SYS_write, file, text, length);
  syscall(SYS_close, file);
}

static int due(void) {
  const long call = atomic_fetch_add(&calls, 1) + 1;
  if (at == 0 || call < at || call >= at + count) return 0;
  errno = code;
  return 1;
}

static int fails_path(int base, const char* path) {
  if (folder == NULL || path == NULL) return 0;
  if (path[0] == '/') return strncmp(path, folder, strlen(folder)) == 0 && due();
  if (base == AT_FDCWD) return 0;
  char link[64], found[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", base);
  const ssize_t length = readlink(link, found, sizeof found - 1);
  if (length < 0) return 0;
  found[length] = 0;
  return strncmp(found, folder, strlen(folder)) == 0 && due();
}

static int fails_file(int file) {
  if (folder == NULL) return 0;
  char link[64], found[PATH_MAX];
  const int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, found, sizeof found - 1);
  errno = before;
  if (length < 0) return 0;
  found[length] = 0;
  return strncmp(found, folder, strlen(folder)) == 0 && due();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_FILE(type, name, parameters, arguments, file) \
  type name parameters {                                 \
    if (fails_file(file)) return -1;                     \
    return REAL(name) arguments;                         \
  }
#define ON_PATH(type, name, parameters, arguments, base, path) \
  type name parameters {                                       \
    if (fails_path(base, path)) return -1;                     \
    return REAL(name) arguments;                               \
  }
#define OPENER(name)                                  \
  int name(const char* path, int flags, ...) {        \
    va_list more;                                     \
    va_start(more, flags);                            \
    const mode_t mode = va_arg(more, mode_t);         \
    va_end(more);                                     \
    if (fails_path(AT_FDCWD, path)) return -1;        \
    return REAL(name)(path, flags, mode);             \
  }
#define OPENER_AT(name)                                    \
  int name(int base, const char* path, int flags, ...) {   \
    va_list more;                                          \
    va_start(more, flags);                                 \
    const mode_t mode = va_arg(more, mode_t);              \
    va_end(more);                                          \
    if (fails_path(base, path)) return -1;                 \
    return REAL(name)(base, path, flags, mode);            \
  }

OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)
ON_FILE(ssize_t, read, (int file, void* to, size_t bytes), (file, to, bytes), file)
ON_FILE(ssize_t, pread64, (int file, void* to, size_t bytes, off64_t from), (file, to, bytes, from), file)
ON_FILE(ssize_t, write, (int file, const void* from, size_t bytes), (file, from, bytes), file)
ON_FILE(ssize_t, pwrite64, (int file, const void* from, size_t bytes, off64_t to), (file, from, bytes, to), file)
ON_FILE(ssize_t, writev, (int file, const struct iovec* parts, int count), (file, parts, count), file)
ON_FILE(int, fsync, (int file), (file), file)
ON_FILE(int, fdatasync, (int file), (file), file)
ON_FILE(int, ftruncate64, (int file, off64_t bytes), (file, bytes), file)
ON_FILE(int, flock, (int file, int how), (file, how), file)
ON_PATH(int, mkdir, (const char* path, mode_t mode), (path, mode), AT_FDCWD, path)
ON_PATH(int, rmdir, (const char* path), (path), AT_FDCWD, path)
ON_PATH(int, unlink, (const char* path), (path), AT_FDCWD, path)
ON_PATH(int, unlinkat, (int base, const char* path, int flags), (base, path, flags), base, path)
ON_PATH(int, rename, (const char* from, const char* to), (from, to), AT_FDCWD, from)
