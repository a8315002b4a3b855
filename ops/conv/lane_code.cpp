#include "ops/conv/lane_code.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "core/error.h"

#if defined(__x86_64__)
#include <xbyak/xbyak.h>
#endif

namespace tessera {

namespace {

constexpr std::int64_t kRegisters = 32, kMostTaps = 11, kMostColumns = 64;
constexpr int kVectorBytes = 64;
constexpr std::int64_t kMostOutputs = 16;  // of a tile

constexpr const char* kTooFar = "strides are over 32 bits";

bool fits(std::int64_t bytes) {
  return bytes >= std::numeric_limits<std::int32_t>::min() &&
         bytes <= std::numeric_limits<std::int32_t>::max();
}

}  // namespace

const char* lane_tiles_refuse(const LaneLine& line, const LaneStrides& s) {
  const bool near = fits(line.in * kVectorBytes) && fits(s.x_row) && fits(s.w_row) &&
                    fits(kMostOutputs * s.w_output) && fits(line.taps * s.w_column) &&
                    fits(kMostOutputs * s.w_output + line.taps * s.w_column) &&
                    fits(kMostOutputs * s.y_plane + line.out * kVectorBytes);
  return near ? "" : kTooFar;
}

const char* lane_weights_refuse(const LaneLine& line, std::int64_t row_stride,
                                std::int64_t dy_plane) {
  const bool near = fits(line.in * kVectorBytes) && fits(row_stride) &&
                    fits(kMostOutputs * dy_plane + line.out * kVectorBytes);
  return near ? "" : kTooFar;
}

const char* lane_code_refuses(const LaneLine& line) {
  if (line.taps > kMostTaps) return "rows of taps are long";
  if (line.out > kMostColumns) return "rows of pixels are long";
  return "";
}

#if defined(__x86_64__)

namespace {

// Registers: a sum for every output and pixel, the taps of a row for every output, one of x.
struct TileShape {
  std::int64_t outputs, pixels;
};
TileShape tile_shape(const LaneLine& line, std::int64_t outputs) {
  constexpr double kLeastSums = 8;  // that wait for nothing: two products a cycle, latency 4
  TileShape best{1, 1};
  double least = 1e9;
  for (std::int64_t m = 1; m <= std::min<std::int64_t>(4, outputs); ++m) {
    const std::int64_t most = (kRegisters - 1) / m - line.taps;
    if (most < 1) break;
    const std::int64_t pieces = (line.out + most - 1) / most;
    const std::int64_t pixels = (line.out + pieces - 1) / pieces;
    const auto sums = static_cast<double>(m * pixels);
    const double loads =
        static_cast<double>(pixels + line.taps - 1 + m * line.taps) / (sums * line.taps);
    // Cycles of a product, loads at two a cycle hidden behind it.
    const double cost = std::max(1.0, kLeastSums / sums) + 0.25 * loads;
    if (cost < least) {
      least = cost;
      best = {m, pixels};
    }
  }
  return best;
}

class Generator : public LaneCode, private Xbyak::CodeGenerator {
 public:
  Generator(const LaneLine& line, const LaneStrides& s, std::int64_t outputs, bool depthwise)
      : Xbyak::CodeGenerator(4096, Xbyak::AutoGrow), line_(line), depthwise_(depthwise) {
    const TileShape shape = tile_shape(line, outputs);
    outputs_ = shape.outputs;
    std::vector<std::vector<std::size_t>> starts;
    for (std::int64_t p = 0; p < line.out; p += shape.pixels) {
      pieces_.push_back({p, std::min(shape.pixels, line.out - p)});
      starts.emplace_back();
      for (const std::int64_t count : {outputs_, outputs % outputs_}) {
        align(64);
        starts.back().push_back(getSize());
        if (count > 0) tile_code(pieces_.back(), s, static_cast<int>(count));
      }
    }
    readyRE();
    for (const auto& piece : starts) {
      tiles_.emplace_back();
      for (const std::size_t start : piece) tiles_.back().push_back(at<LaneTileCode>(start));
    }
  }
  Generator(const LaneLine& line, std::int64_t row_stride, std::int64_t dy_plane,
            std::int64_t outputs)
      : Xbyak::CodeGenerator(4096, Xbyak::AutoGrow), line_(line) {
    static_assert((kRegisters - 1) / 2 <= kMostOutputs);
    outputs_ = std::min(outputs, (kRegisters - 1) / (line.taps + 1));
    std::size_t starts[2];
    for (int i = 0; i < 2; ++i) {
      const std::int64_t count = i == 0 ? outputs_ : outputs % outputs_;
      align(64);
      starts[i] = getSize();
      if (count > 0) weights_code(static_cast<int>(count), row_stride, dy_plane);
    }
    readyRE();
    for (int i = 0; i < 2; ++i) weights_[i] = at<LaneWeightsCode>(starts[i]);
  }
  Generator(const LaneLine& line, std::int64_t row_stride)
      : Xbyak::CodeGenerator(4096, Xbyak::AutoGrow), line_(line) {
    outputs_ = 1;
    depthwise_weights_code(row_stride);
    readyRE();
    weights_[0] = at<LaneWeightsCode>(0);
  }

 private:
  template <class Code>
  Code at(std::size_t start) const {
    return reinterpret_cast<Code>(reinterpret_cast<std::uintptr_t>(getCode()) + start);
  }
  static int bytes(std::int64_t n) {
    TESSERA_ASSERT(fits(n));
    return static_cast<int>(n);
  }

  void tile_code(const Piece& piece, const LaneStrides& s, int outputs) {
    const int pixels = static_cast<int>(piece.count), taps = static_cast<int>(line_.taps);
    const auto sum = [&](int m, int p) { return Xbyak::Zmm(m * pixels + p); };
    const auto weight = [&](int m, int k) { return Xbyak::Zmm(outputs * pixels + m * taps + k); };
    const Xbyak::Zmm value(outputs * (pixels + taps));
    const auto &x = rax, &w = rdx, &channels = rcx, &rows = rsi;
    mov(x, ptr[rdi + offsetof(LaneTile, x)]);
    mov(w, ptr[rdi + offsetof(LaneTile, w)]);
    mov(channels, ptr[rdi + offsetof(LaneTile, channels)]);
    for (int i = 0; i < outputs * pixels; ++i) vpxord(Xbyak::Zmm(i), Xbyak::Zmm(i), Xbyak::Zmm(i));
    Xbyak::Label channel, row;
    L(channel);
    mov(rows, ptr[rdi + offsetof(LaneTile, rows)]);
    L(row);
    for (int m = 0; m < outputs; ++m) {
      for (int k = 0; k < taps; ++k) {
        const Xbyak::Address from = ptr[w + bytes(m * s.w_output + k * s.w_column)];
        depthwise_ ? vmovups(weight(m, k), from) : vbroadcastss(weight(m, k), from);
      }
    }
    // Every column once, with all that reads it.
    for (std::int64_t c = 0; c < line_.in; ++c) {
      bool loaded = false;
      for (int p = 0; p < pixels; ++p) {
        for (int k = 0; k < taps; ++k) {
          if (line_.column(piece.first + p, k) != c) continue;
          if (!loaded) vmovups(value, ptr[x + bytes(c * kVectorBytes)]);
          loaded = true;
          for (int m = 0; m < outputs; ++m) vfmadd231ps(sum(m, p), value, weight(m, k));
        }
      }
    }
    add(x, bytes(s.x_row));
    add(w, bytes(s.w_row));
    dec(rows);
    jnz(row, T_NEAR);
    add(x, ptr[rdi + offsetof(LaneTile, x_channel)]);
    add(w, ptr[rdi + offsetof(LaneTile, w_channel)]);
    dec(channels);
    jnz(channel, T_NEAR);
    mov(x, ptr[rdi + offsetof(LaneTile, y)]);
    for (int m = 0; m < outputs; ++m) {
      for (int p = 0; p < pixels; ++p)
        vmovups(ptr[x + bytes(m * s.y_plane + (piece.first + p) * kVectorBytes)], sum(m, p));
    }
    vzeroupper();
    ret();
  }

  void weights_code(int outputs, std::int64_t row_stride, std::int64_t dy_plane) {
    const int taps = static_cast<int>(line_.taps);
    const auto sum = [&](int m, int k) { return Xbyak::Zmm(k * outputs + m); };
    const auto dy = [&](int m) { return Xbyak::Zmm(outputs * taps + m); };
    const Xbyak::Zmm value(outputs * (taps + 1));
    const auto &from = rax, &x = rdx, &sums = rcx, &rows = rsi;
    mov(from, ptr[rdi + offsetof(LaneWeights, dy)]);
    mov(x, ptr[rdi + offsetof(LaneWeights, x)]);
    mov(sums, ptr[rdi + offsetof(LaneWeights, sums)]);
    mov(rows, ptr[rdi + offsetof(LaneWeights, rows)]);
    for (int i = 0; i < outputs * taps; ++i) vmovups(Xbyak::Zmm(i), ptr[sums + i * kVectorBytes]);
    Xbyak::Label row;
    L(row);
    for (std::int64_t p = 0; p < line_.out; ++p) {
      for (int m = 0; m < outputs; ++m)
        vmovups(dy(m), ptr[from + bytes(m * dy_plane + p * kVectorBytes)]);
      for (int k = 0; k < taps; ++k) {
        const std::int64_t c = line_.column(p, k);
        if (c < 0) continue;
        vmovups(value, ptr[x + bytes(c * kVectorBytes)]);
        for (int m = 0; m < outputs; ++m) vfmadd231ps(sum(m, k), value, dy(m));
      }
    }
    add(from, bytes(line_.out * kVectorBytes));
    add(x, bytes(row_stride));
    dec(rows);
    jnz(row, T_NEAR);
    for (int i = 0; i < outputs * taps; ++i) vmovups(ptr[sums + i * kVectorBytes], Xbyak::Zmm(i));
    vzeroupper();
    ret();
  }

  // A sum for each tap would wait for itself: several take turns.
  void depthwise_weights_code(std::int64_t row_stride) {
    const int taps = static_cast<int>(line_.taps);
    const int turns = std::clamp(static_cast<int>(kRegisters - 2) / taps, 1, 4);
    const auto sum = [&](int turn, int k) { return Xbyak::Zmm(turn * taps + k); };
    const Xbyak::Zmm dy(31);
    const auto &from = rax, &x = rdx, &sums = rcx, &rows = rsi;
    mov(from, ptr[rdi + offsetof(LaneWeights, dy)]);
    mov(x, ptr[rdi + offsetof(LaneWeights, x)]);
    mov(sums, ptr[rdi + offsetof(LaneWeights, sums)]);
    mov(rows, ptr[rdi + offsetof(LaneWeights, rows)]);
    for (int i = 0; i < turns * taps; ++i) {
      if (i < taps) {
        vmovups(Xbyak::Zmm(i), ptr[sums + i * kVectorBytes]);
      } else {
        vpxord(Xbyak::Zmm(i), Xbyak::Zmm(i), Xbyak::Zmm(i));
      }
    }
    Xbyak::Label row;
    L(row);
    for (std::int64_t p = 0; p < line_.out; ++p) {
      vmovups(dy, ptr[from + bytes(p * kVectorBytes)]);
      for (int k = 0; k < taps; ++k) {
        const std::int64_t c = line_.column(p, k);
        if (c < 0) continue;
        vfmadd231ps(sum(static_cast<int>(p % turns), k), dy, ptr[x + bytes(c * kVectorBytes)]);
      }
    }
    add(from, bytes(line_.out * kVectorBytes));
    add(x, bytes(row_stride));
    dec(rows);
    jnz(row, T_NEAR);
    for (int k = 0; k < taps; ++k) {
      for (int turn = 1; turn < turns; ++turn) vaddps(sum(0, k), sum(0, k), sum(turn, k));
      vmovups(ptr[sums + k * kVectorBytes], sum(0, k));
    }
    vzeroupper();
    ret();
  }

  LaneLine line_;
  bool depthwise_ = false;  // weights are vectors, not one value for all lanes
};

}  // namespace

std::shared_ptr<const LaneCode> lane_tiles(const LaneLine& line, const LaneStrides& strides,
                                           std::int64_t outputs) {
  return std::make_shared<const Generator>(line, strides, outputs, /*depthwise=*/false);
}
std::shared_ptr<const LaneCode> lane_weights(const LaneLine& line, std::int64_t row_stride,
                                             std::int64_t dy_plane, std::int64_t outputs) {
  return std::make_shared<const Generator>(line, row_stride, dy_plane, outputs);
}
std::shared_ptr<const LaneCode> depthwise_tiles(const LaneLine& line, const LaneStrides& strides) {
  return std::make_shared<const Generator>(line, strides, 1, /*depthwise=*/true);
}
std::shared_ptr<const LaneCode> depthwise_weights(const LaneLine& line, std::int64_t row_stride) {
  return std::make_shared<const Generator>(line, row_stride);
}

#else

std::shared_ptr<const LaneCode> depthwise_tiles(const LaneLine&, const LaneStrides&) {
  TESSERA_ASSERT(false);
  return nullptr;
}
std::shared_ptr<const LaneCode> depthwise_weights(const LaneLine&, std::int64_t) {
  TESSERA_ASSERT(false);
  return nullptr;
}

std::shared_ptr<const LaneCode> lane_tiles(const LaneLine&, const LaneStrides&, std::int64_t) {
  TESSERA_ASSERT(false);
  return nullptr;
}
std::shared_ptr<const LaneCode> lane_weights(const LaneLine&, std::int64_t, std::int64_t,
                                             std::int64_t) {
  TESSERA_ASSERT(false);
  return nullptr;
}

#endif

}  // namespace tessera
