// What a user's first program does, with the installed headers and libraries.
#include <tessera/tessera.h>

#include <iostream>

int main() {
  using namespace tessera;
  const auto weight = parse_type("f32[300,784]@cb4");
  std::int64_t bytes = 0;
  for (const auto& plane : weight.encoding.planes(weight.dtype, weight.shape, 16)) {
    bytes += plane.bytes();
  }
  std::cout << weight.text() << " takes " << bytes << " bytes instead of "
            << Tensor(DType::f32, weight.shape).bytes() << "\n";
  return bytes == 300 * 784 / 2 + 16 * 4 ? 0 : 1;
}
