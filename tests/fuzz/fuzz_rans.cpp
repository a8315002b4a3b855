// Coded planes of indices: the first three bytes choose width and count, the rest is the plane.
#include <cstdlib>
#include <vector>

#include "core/error.h"
#include "core/files/rans.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  if (size < 3) return 0;
  const int bits = 1 + data[0] % 8;
  const std::int64_t count = data[1] + 256 * data[2];
  std::vector<std::uint8_t> plane(static_cast<std::size_t>((count * bits + 7) / 8));
  try {
    rans_decode({data + 3, size - 3}, bits, count, plane, "fuzz");
    // What decodes without complaint is what encoding gives, where it is smaller.
    const auto again = rans_encode(plane, bits, count);
    if (!again) return 0;
    std::vector<std::uint8_t> back(plane.size());
    rans_decode(*again, bits, count, back, "again");
    if (back != plane) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
