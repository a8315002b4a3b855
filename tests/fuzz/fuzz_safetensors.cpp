// Safetensors: an Error, or tensors that are written and read again with the same bits.
#include <string_view>

#include "core/files/safetensors.h"
#include "tests/fuzz/exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tessera;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const Safetensors read = parse_safetensors(bytes, "fuzz");
    const std::string again = make_safetensors(read.tensors, read.metadata).content();
    const Safetensors back = parse_safetensors(again, "again");
    for (const auto& [name, tensor] : read.tensors) {
      if (!equal_bits(back.tensors.at(name), tensor))
        throw fuzz::Finding("a tensor changes when it is written and read");
    }
  } catch (const Error&) {
  }
  return 0;
}
