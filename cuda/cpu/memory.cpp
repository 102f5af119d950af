// Memory of the host: what /proc/meminfo says is available, and less where a cgroup (version 2) of this process allows less.
//
// Each cgroup above the process may have a limit. What is left of one is memory.max - memory.current, plus the pages of files that
// nobody used lately (inactive_file), which the kernel gives up first: mapped token files would count as used else.
#include <cstdlib>
#include <cstring>

#include "context.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace {

// The number of a file of one number; false where there is no such file or it says "max".
bool read_number(const char* path, int64_t* value) {
  FILE* file = fopen(path, "r");
  if (file == nullptr) return false;
  long long read = 0;
  const bool found = fscanf(file, "%lld", &read) == 1;
  fclose(file);
  *value = int64_t(read);
  return found;
}

// The number behind `name` in a file of lines `name number`.
bool read_line(const char* path, const char* name, int64_t* value) {
  FILE* file = fopen(path, "r");
  if (file == nullptr) return false;
  char line[256];
  bool found = false;
  const size_t length = strlen(name);
  while (!found && fgets(line, sizeof line, file) != nullptr) {
    if (strncmp(line, name, length) != 0 || line[length] != ' ') continue;
    *value = int64_t(strtoll(line + length, nullptr, 10));
    found = true;
  }
  fclose(file);
  return found;
}

// The folder of this process's cgroup below /sys/fs/cgroup, without a slash at its end: "" for the root.
void cgroup_path(char* path, size_t capacity) {
  *path = 0;
  FILE* file = fopen("/proc/self/cgroup", "r");
  if (file == nullptr) return;
  char line[4096];
  while (fgets(line, sizeof line, file) != nullptr) {
    if (strncmp(line, "0::", 3) != 0) continue;
    line[strcspn(line, "\n")] = 0;
    snprintf(path, capacity, "%s", strcmp(line + 3, "/") == 0 ? "" : line + 3);
  }
  fclose(file);
}

void apply_cgroups(int64_t* free_bytes, int64_t* total_bytes) {
  char path[4096], name[4200];
  cgroup_path(path, sizeof path);
  for (;;) {
    int64_t limit = 0, used = 0, files = 0;
    snprintf(name, sizeof name, "/sys/fs/cgroup%s/memory.max", path);
    if (read_number(name, &limit)) {
      snprintf(name, sizeof name, "/sys/fs/cgroup%s/memory.current", path);
      if (!read_number(name, &used)) used = 0;
      snprintf(name, sizeof name, "/sys/fs/cgroup%s/memory.stat", path);
      if (!read_line(name, "inactive_file", &files)) files = 0;
      const int64_t left = used - files < limit ? limit - (used - files) : 0;
      if (limit < *total_bytes) *total_bytes = limit;
      if (left < *free_bytes) *free_bytes = left;
    }
    char* last = strrchr(path, '/');
    if (last == nullptr) return;
    *last = 0;
  }
}

}  // namespace

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_memory(tb_context* context, int64_t* free_bytes, int64_t* total_bytes) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, free_bytes != nullptr && total_bytes != nullptr,
             "Cannot tell the host's memory as free_bytes or total_bytes is null");
  int64_t available = 0, total = 0;
  if (!read_line("/proc/meminfo", "MemAvailable:", &available) || !read_line("/proc/meminfo", "MemTotal:", &total))
    return tb::fail(context, TB_IO, "Cannot tell the host's memory as /proc/meminfo must have MemTotal and MemAvailable");
  *free_bytes = available * 1024;
  *total_bytes = total * 1024;
  apply_cgroups(free_bytes, total_bytes);
  if (*free_bytes > *total_bytes) *free_bytes = *total_bytes;
  return TB_OK;
}
