#include "ops/movement/copy.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrainBytes = 128 * 1024;
constexpr std::int64_t kTile = 16;

// rows x cols elements; strides in elements.
template <class T>
void copy_region(const T* from, T* to, std::int64_t rows, std::int64_t cols, std::int64_t from_row,
                 std::int64_t from_col, std::int64_t to_row, std::int64_t to_col) {
  if (from_col == 1 && to_col == 1) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(to + r * to_row, from + r * from_row, static_cast<std::size_t>(cols) * sizeof(T));
    }
    return;
  }
  if (from_col == 0 && to_col == 1) {
    for (std::int64_t r = 0; r < rows; ++r) std::fill_n(to + r * to_row, cols, from[r * from_row]);
    return;
  }
  // Tiles keep both sides' cache lines alive, which is what a transpose needs.
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
    const std::int64_t r1 = std::min(rows, r0 + kTile);
    for (std::int64_t c0 = 0; c0 < cols; c0 += kTile) {
      const std::int64_t c1 = std::min(cols, c0 + kTile);
      for (std::int64_t r = r0; r < r1; ++r) {
        for (std::int64_t c = c0; c < c1; ++c) {
          to[r * to_row + c * to_col] = from[r * from_row + c * from_col];
        }
      }
    }
  }
}

// After collapsing: outer loops around a region of rows x cols. For a transpose the row axis is the
// one that the source walks contiguously.
struct Copy {
  std::vector<std::int64_t> outer, from_outer, to_outer;
  std::int64_t rows = 1, cols = 1, count = 1;
  std::int64_t from_row = 0, from_col = 1, to_row = 0, to_col = 1;
  std::int64_t from_offset = 0, to_offset = 0, bytes = 4;
  int input = 0;

  explicit Copy(const StridedCopy& spec)
      : from_offset(spec.from_offset),
        to_offset(spec.to_offset),
        bytes(spec.element_bytes),
        input(spec.input) {
    const StridedLoop loop = collapse(spec.loop);
    const auto& [dims, strides] = loop;
    const auto &from = strides[0], &to = strides[1];
    const std::size_t n = dims.size();
    cols = dims[n - 1];
    from_col = from[n - 1];
    to_col = to[n - 1];
    std::size_t row_axis = n;  // none
    if (n > 1) {
      row_axis = n - 2;
      if (from_col != 1) {
        for (std::size_t d = 0; d + 1 < n; ++d) {
          if (from[d] == 1) row_axis = d;
        }
      }
      rows = dims[row_axis];
      from_row = from[row_axis];
      to_row = to[row_axis];
    }
    for (std::size_t d = 0; d + 1 < n; ++d) {
      if (d == row_axis) continue;
      outer.push_back(dims[d]);
      from_outer.push_back(from[d]);
      to_outer.push_back(to[d]);
      count *= dims[d];
    }
  }

  template <class T>
  void run(const std::byte* from_bytes, std::byte* to_bytes) const {
    const T* from = reinterpret_cast<const T*>(from_bytes) + from_offset;
    T* to = reinterpret_cast<T*>(to_bytes) + to_offset;
    // Rows in groups of a tile: the unit of work.
    const std::int64_t groups = (rows + kTile - 1) / kTile;
    const std::int64_t unit = std::max<std::int64_t>(1, std::min(rows, kTile) * cols * bytes);
    parallel_for(count * groups, std::max<std::int64_t>(1, kGrainBytes / unit),
                 [&](std::int64_t begin, std::int64_t end) {
                   while (begin < end) {
                     const std::int64_t first = begin % groups;
                     const std::int64_t last = std::min(groups, first + end - begin);
                     std::int64_t u = begin / groups, f = 0, t = 0;
                     for (std::size_t d = outer.size(); d-- > 0;) {
                       f += u % outer[d] * from_outer[d];
                       t += u % outer[d] * to_outer[d];
                       u /= outer[d];
                     }
                     const std::int64_t r = first * kTile;
                     copy_region(from + f + r * from_row, to + t + r * to_row,
                                 std::min(rows, last * kTile) - r, cols, from_row, from_col, to_row,
                                 to_col);
                     begin += last - first;
                   }
                 });
  }

  void run(const KernelArgs& args) const {
    const std::byte* from = args.in(input).plane[0];
    std::byte* to = args.out().plane[0];
    switch (bytes) {
      case 1:
        return run<std::uint8_t>(from, to);
      case 2:
        return run<std::uint16_t>(from, to);
      case 4:
        return run<std::uint32_t>(from, to);
      default:
        return run<std::uint64_t>(from, to);
    }
  }
};

}  // namespace

KernelPlan plan_copies(std::vector<StridedCopy> copies, std::int64_t zero_bytes) {
  auto list = std::make_shared<std::vector<Copy>>();
  for (const StridedCopy& copy : copies) list->emplace_back(copy);
  KernelPlan plan;
  plan.run = [list = std::shared_ptr<const std::vector<Copy>>(list),
              zero_bytes](const KernelArgs& args) {
    if (zero_bytes > 0) std::memset(args.out().plane[0], 0, static_cast<std::size_t>(zero_bytes));
    for (const Copy& copy : *list) copy.run(args);
  };
  return plan;
}

}  // namespace tessera
