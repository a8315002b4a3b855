// JPEG pictures, whole and reduced.
#include "core/error.h"
#include "datasets/jpeg.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  for (const int denominator : {1, 8}) {
    try {
      datasets::JpegReader reader({data, size}, "fuzz", 1 << 20);
      const std::int64_t width = (reader.width() + denominator - 1) / denominator;
      const std::int64_t height = (reader.height() + denominator - 1) / denominator;
      datasets::RgbImage memory;
      reader.read({0, 0, width, height}, denominator, memory);
    } catch (const Error&) {
    }
  }
  return 0;
}
