// Graphs of any op: op_cases.h.
#include "tests/fuzz/op_cases.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tessera::fuzz::run_op_case({data, size});
  return 0;
}
