#include "ops/strided.h"

#include <algorithm>

namespace tessera {

StridedLoop collapse(const StridedLoop& loop) {
  StridedLoop out;
  out.strides.resize(loop.strides.size());
  for (std::size_t d = 0; d < loop.dims.size(); ++d) {
    const std::int64_t n = loop.dims[d];
    if (n == 1) continue;
    const bool merges =
        !out.dims.empty() && std::all_of(loop.strides.begin(), loop.strides.end(),
                                         [&, i = std::size_t{0}](const auto& s) mutable {
                                           return out.strides[i++].back() == s[d] * n;
                                         });
    if (merges) {
      out.dims.back() *= n;
    } else {
      out.dims.push_back(n);
    }
    for (std::size_t i = 0; i < loop.strides.size(); ++i) {
      if (merges) {
        out.strides[i].back() = loop.strides[i][d];
      } else {
        out.strides[i].push_back(loop.strides[i][d]);
      }
    }
  }
  if (out.dims.empty()) {
    out.dims.push_back(1);
    for (auto& s : out.strides) s.push_back(1);
  }
  return out;
}

}  // namespace tessera
