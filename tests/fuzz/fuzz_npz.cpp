// Archives and arrays of numpy.
#include <string_view>

#include "core/files/npz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    if (bytes.starts_with(kZipMagic) || bytes.starts_with(kEmptyZipMagic)) {
      parse_npz(bytes, "fuzz");
    } else {
      parse_npy(bytes, "fuzz");
    }
  } catch (const Error&) {
  }
  return 0;
}
