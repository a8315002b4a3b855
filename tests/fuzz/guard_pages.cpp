// Without a sanitizer: memory of tensors and plans, which the library asks of aligned_alloc, ends
// where a page begins that nobody may touch, and begins behind another one. So an overrun ends the
// process also in generated code and in other people's libraries.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TESSERA_SANITIZED
#endif
#endif
#if defined(__linux__) && defined(__GLIBC__) && !defined(TESSERA_SANITIZED) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace {

constexpr std::size_t kPage = 4096;

struct Mapping {
  void* start;
  std::size_t bytes;
};
// Never destroyed: memory is freed until the very end.
std::map<void*, Mapping>& mappings() {
  static auto* out = new std::map<void*, Mapping>;
  return *out;
}
std::recursive_mutex& mutex() {
  static auto* out = new std::recursive_mutex;  // a node of the map is freed inside
  return *out;
}

}  // namespace

extern "C" {

void __libc_free(void* p);

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  const std::size_t room = (size + alignment + kPage - 1) / kPage * kPage;
  const std::size_t bytes = room + 2 * kPage;
  void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  auto* first = static_cast<char*>(start) + kPage;
  mprotect(first, room, PROT_READ | PROT_WRITE);
  const auto end = reinterpret_cast<std::uintptr_t>(first + room);
  void* out = reinterpret_cast<void*>((end - size) / alignment * alignment);
  const std::lock_guard lock(mutex());
  mappings()[out] = {start, bytes};
  return out;
}

void free(void* p) noexcept {
  // Other memory is at most 16-byte aligned more often than not: look only where it can be ours.
  if (reinterpret_cast<std::uintptr_t>(p) % 64 == 0 && p != nullptr) {
    const std::lock_guard lock(mutex());
    const auto found = mappings().find(p);
    if (found != mappings().end()) {
      const Mapping mapping = found->second;
      mappings().erase(found);  // frees its node, which is none of ours
      munmap(mapping.start, mapping.bytes);
      return;
    }
  }
  __libc_free(p);
}
}
#endif
