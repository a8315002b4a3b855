// Convolutions in integers, written once for all vector instruction sets: included by the files of
// int8_conv_kernels.h inside their own anonymous namespaces, after the struct Lanes of
// ops/codebook/int8_body-inl.h (no include guard, no linkage).

// Quads between two calls of end_step.
constexpr int64_t kQuads = kInt8Step / 4;

template <int kRows, int kVectors>
void tile(const Int8ConvTile& t) {
  constexpr int kRegs = kVectors * Lanes::kHalves;
  Lanes::Sum sum[kRows][kRegs];
#pragma GCC unroll 14
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kRegs; ++v) sum[r][v].clear();
  const uint8_t* w = t.w;
  const int64_t x_rs = t.x_rs, w_vs = t.w_vs;
  for (int64_t p = 0; p < t.pieces; ++p) {
    const uint8_t* x = t.x + t.x_at[p];
    for (int64_t q = 0; q < t.quads; q += kQuads) {
      const int64_t some = t.quads - q < kQuads ? t.quads - q : kQuads;
      for (int64_t i = 0; i < some; ++i, x += 4, w += 64) {
        Lanes::Reg wv[kRegs];
#pragma GCC unroll 16
        for (int v = 0; v < kRegs; ++v)
          wv[v] = Lanes::load(w + v / Lanes::kHalves * w_vs +
                              v % Lanes::kHalves * (64 / Lanes::kHalves));
#pragma GCC unroll 14
        for (int r = 0; r < kRows; ++r) {
          const Lanes::X xr = Lanes::broadcast(x + r * x_rs);
#pragma GCC unroll 16
          for (int v = 0; v < kRegs; ++v) sum[r][v].add(xr, wv[v]);
        }
      }
#pragma GCC unroll 14
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kRegs; ++v) sum[r][v].end_step();
    }
  }
  const Int8Finish& f = t.finish;
#pragma GCC unroll 16
  for (int v = 0; v < kRegs; ++v) {
    const int panel = v / Lanes::kHalves, lane = v % Lanes::kHalves * Lanes::kLanes;
    const char* meta = t.meta + panel * t.meta_vs;
    const Lanes::Reg sums = Lanes::load(meta + 4 * lane);
    const Lanes::Float scale = Lanes::load_floats(meta + 64 + 4 * lane);
    // As a rule all rows are of one image.
    Lanes::Reg zeros = Lanes::times(sums, t.x_zero[0]);
    Lanes::Float factor = Lanes::times(scale, t.x_scale[0]);
    Lanes::Ranges ranges;
#pragma GCC unroll 14
    for (int r = 0; r < kRows; ++r) {
      if (t.x_step != 0) {
        zeros = Lanes::times(sums, t.x_zero[r * t.x_step]);
        factor = Lanes::times(scale, t.x_scale[r * t.x_step]);
      }
      Lanes::Float y = Lanes::scaled(sum[r][v].total(), zeros, factor);
      if (f.mul != nullptr) {
        y = Lanes::affine(y, Lanes::load_floats(f.mul + panel * f.mul_vs + lane),
                          Lanes::load_floats(f.add + panel * f.add_vs + lane), f.low, f.high);
        ranges.take(y);
      }
      Lanes::store_floats(t.y + r * t.y_rs + panel * t.y_vs + lane, y);
    }
    if (f.seen != nullptr) ranges.into(f.seen, lane);
  }
}

void range(const float* x, int64_t n, Int8Range* joined) {
  constexpr int kSets = 4;  // so that comparisons need not wait for each other
  Lanes::Ranges ranges[kSets];
  int64_t i = 0;
  for (; i + kSets * Lanes::kLanes <= n; i += kSets * Lanes::kLanes)
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s) ranges[s].take(Lanes::load_floats(x + i + s * Lanes::kLanes));
  for (; i < n; i += Lanes::kLanes)
    ranges[0].take(n - i < Lanes::kLanes ? Lanes::load_floats(x + i, static_cast<int>(n - i))
                                         : Lanes::load_floats(x + i));
#pragma GCC unroll 4
  for (int s = 0; s < kSets; ++s) {
    const Range found = ranges[s].all();
    joined->low = found.low < joined->low ? found.low : joined->low;
    joined->high = found.high > joined->high ? found.high : joined->high;
    joined->finite = joined->finite && found.finite;
  }
}

// Whole cache lines of bytes of a pixel; how many channels they are.
template <class L>
int32_t store_lines(const Int8ConvLine& line, const float* x, uint8_t* q) {
  int32_t c = 0;
  if constexpr (L::kHalves == 1) {
    const int64_t block = line.x_cs;
    for (; c + 64 <= line.channels; c += 64, x += 4 * block) {
      const typename L::Float four[4] = {L::load_floats(x), L::load_floats(x + block),
                                         L::load_floats(x + 2 * block),
                                         L::load_floats(x + 3 * block)};
      L::store_line(q + c, four, line.inverse, line.zero);
    }
  }
  return c;
}

void blocked(const Int8ConvLine& line) {
  const float* pixel = line.x;
  uint8_t* q = line.q;
  for (int64_t i = 0; i < line.pixels; ++i, pixel += 16, q += line.q_ps) {
    int32_t c = store_lines<Lanes>(line, pixel, q);
    for (const float* x = pixel + c / 16 * line.x_cs; c < line.channels; c += 16, x += line.x_cs)
#pragma GCC unroll 2
      for (int h = 0; h < Lanes::kHalves; ++h) {
        const int lane = h * Lanes::kLanes;
        if (c + lane < line.channels)
          Lanes::store_quads(q + c + lane, Lanes::load_floats(x + lane), line.inverse, line.zero,
                             line.channels - c - lane);
      }
  }
}

void planar(const Int8ConvLine& line) {
  for (int64_t i = 0; i < line.pixels; i += Lanes::kLanes) {
    const int some =
        line.pixels - i < Lanes::kLanes ? static_cast<int>(line.pixels - i) : Lanes::kLanes;
    const auto channel = [&]<int kByte>() __attribute__((always_inline)) {
      // Without a channel 0, whose byte is the zero point.
      const int n = kByte < line.channels ? some : 0;
      const float* x = line.x + (n ? kByte * line.x_cs : 0) + i;
      return Lanes::in_quads<kByte>(
          n == Lanes::kLanes ? Lanes::load_floats(x) : Lanes::load_floats(x, n), line.inverse,
          line.zero);
    };
    const Lanes::Reg quads = Lanes::both(
        Lanes::both(channel.template operator()<0>(), channel.template operator()<1>()),
        Lanes::both(channel.template operator()<2>(), channel.template operator()<3>()));
    uint32_t one[Lanes::kLanes];
    Lanes::store(one, quads);
    for (int k = 0; k < some; ++k) __builtin_memcpy(line.q + (i + k) * line.q_ps, &one[k], 4);
  }
}

// Pixels of y share the columns of x that they meet.
template <int kTaps, int kSteps>
void depthwise(const Int8DepthwiseLine& line) {
  constexpr int kOutputs = Lanes::kHalves == 1 ? 8 : 4;
  constexpr int kColumns = (kOutputs - 1) * kSteps + kTaps;
  for (int half = 0; half < Lanes::kHalves; ++half) {
    const int lane = half * Lanes::kLanes;
    const Lanes::Reg zeros = Lanes::times(Lanes::load(line.meta + 4 * lane), line.x_zero);
    const Lanes::Float factor =
        Lanes::times(Lanes::load_floats(line.meta + 64 + 4 * lane), line.x_scale);
    const Int8Finish& f = line.finish;
    Lanes::Float mul = factor, add = factor;
    if (f.mul != nullptr) {
      mul = Lanes::load_floats(f.mul + lane);
      add = Lanes::load_floats(f.add + lane);
    }
    Lanes::Ranges ranges;
    const Lanes::X border =
        Lanes::columns(line.border, line.border, line.border, line.border, lane);
    for (int64_t i = 0; i < line.outputs; i += kOutputs) {
      const int64_t first = line.first + i * kSteps;
      Lanes::Sum sum[kOutputs];
#pragma GCC unroll 8
      for (int o = 0; o < kOutputs; ++o) sum[o].clear();
      for (int64_t q = 0; q < line.quads; ++q) {
        const uint8_t* row[4];
        int64_t step[4];
#pragma GCC unroll 4
        for (int b = 0; b < 4; ++b) {
          const uint8_t* from = line.rows[4 * q + b];
          step[b] = from ? line.step : 0;
          row[b] = from ? from + first * step[b] : line.border;
        }
        Lanes::Reg w[kTaps];
#pragma GCC unroll 7
        for (int k = 0; k < kTaps; ++k)
          w[k] = Lanes::load(line.w + 64 * (q * kTaps + k) + 4 * lane);
        const auto column = [&]<int kColumn>() __attribute__((always_inline)) {
          Lanes::X x = border;
          if (static_cast<uint64_t>(first + kColumn) < static_cast<uint64_t>(line.width))
            x = Lanes::columns(row[0] + kColumn * step[0], row[1] + kColumn * step[1],
                               row[2] + kColumn * step[2], row[3] + kColumn * step[3], lane);
#pragma GCC unroll 7
          for (int k = 0; k < kTaps; ++k)
            if (kColumn >= k && (kColumn - k) % kSteps == 0 && (kColumn - k) / kSteps < kOutputs)
              sum[(kColumn - k) / kSteps].add(x, w[k]);
        };
        [&]<int... kColumn>(std::integer_sequence<int, kColumn...>) __attribute__((always_inline)) {
          (column.template operator()<kColumn>(), ...);
        }
        (std::make_integer_sequence<int, kColumns>());
#pragma GCC unroll 8
        for (int o = 0; o < kOutputs; ++o) sum[o].end_step();
      }
      const int64_t some = line.outputs - i;
#pragma GCC unroll 8
      for (int o = 0; o < kOutputs; ++o) {
        if (o >= some) continue;
        Lanes::Float y = Lanes::scaled(sum[o].total(), zeros, factor);
        if (f.mul != nullptr) {
          y = Lanes::affine(y, mul, add, f.low, f.high);
          ranges.take(y);
        }
        Lanes::store_floats(line.y + 16 * (i + o) + lane, y);
      }
    }
    if (f.seen != nullptr) ranges.into(f.seen, lane);
  }
}

// Sanitizers check every load: the large tiles take minutes to compile then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMostSums = 6;
#else
constexpr int kMostSums = 32;
#endif

// Sums, weights and what is read of x, in registers of Lanes.
template <int kRows, int kVectors>
constexpr auto pick() -> void (*)(const Int8ConvTile&) {
  constexpr int kRegs = kVectors * Lanes::kHalves;
  if constexpr ((kRows * kSumRegs + 1) * kRegs + kXRegs <= kRegisters &&
                kRows * kVectors <= kMostSums)
    return tile<kRows, kVectors>;
  else
    return nullptr;
}

#define TESSERA_TILES(rows)                                                              \
  {                                                                                      \
    pick<rows, 1>(), pick<rows, 2>(), pick<rows, 3>(), pick<rows, 4>(), pick<rows, 5>(), \
        pick<rows, 6>(), pick<rows, 7>(), pick<rows, 8>()                                \
  }
#define TESSERA_TAPS(taps) \
  { depthwise<taps, 1>, depthwise<taps, 2> }
#define TESSERA_INT8_CONV_KERNELS(name)                                                    \
  {                                                                                        \
    name, {TESSERA_TILES(1),  TESSERA_TILES(2),  TESSERA_TILES(3),  TESSERA_TILES(4),      \
           TESSERA_TILES(5),  TESSERA_TILES(6),  TESSERA_TILES(7),  TESSERA_TILES(8),      \
           TESSERA_TILES(9),  TESSERA_TILES(10), TESSERA_TILES(11), TESSERA_TILES(12),     \
           TESSERA_TILES(13), TESSERA_TILES(14)},                                          \
        range, blocked, planar, {                                                          \
      TESSERA_TAPS(1), TESSERA_TAPS(2), TESSERA_TAPS(3), TESSERA_TAPS(4), TESSERA_TAPS(5), \
          TESSERA_TAPS(6), TESSERA_TAPS(7)                                                 \
    }                                                                                      \
  }
