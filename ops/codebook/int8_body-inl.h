// Integer products with codebook weights, written once for all vector instruction sets: included by
// the files of int8_kernels.h inside their own anonymous namespaces, after a struct Lanes (no
// include guard, no linkage). Lanes has
//   Reg, Float  vectors of integers and of floats; kLanes 32-bit lanes, kHalves of them a panel
//   Table<form> with load(table) and look_up(index), which may find anything above the index's bits
//   X           four bytes of x in all lanes;  Sum  of products, with clear, add and end_step

// The indices of a step of one vector of rows.
template <int kForm>
struct Step {
  const uint8_t* p;

  // Indices of quad kQuad, other bits above them.
  template <int kQuad>
  inline Lanes::Reg index() const {
    constexpr int kBit2 = kQuad % 4 * 2;
    if constexpr (kForm == 8) {
      return Lanes::load(p + 64 * kQuad);
    } else if constexpr (kForm == 1) {
      return Lanes::shift<kQuad>(Lanes::load(p));
    } else if constexpr (kForm == 2) {
      return Lanes::shift<kBit2>(Lanes::load(p + 64 * (kQuad / 4)));
    } else if constexpr (kForm == 3) {
      return Lanes::low<3>(Lanes::shift<kBit2>(Lanes::load(p + 64 * (kQuad / 4))),
                           Lanes::shift<kQuad - 2>(Lanes::load(p + 128)));
    } else {
      const Lanes::Reg four = Lanes::shift<kQuad % 2 * 4>(Lanes::load(p + 64 * (kQuad / 2)));
      if constexpr (kForm == 4) return four;
      if constexpr (kForm == 5)
        return Lanes::low<15>(four, Lanes::shift<kQuad - 4>(Lanes::load(p + 256)));
      if constexpr (kForm == 6)
        return Lanes::low<15>(four,
                              Lanes::shift<kBit2 - 4>(Lanes::load(p + 256 + 64 * (kQuad / 4))));
    }
  }
};

constexpr int form_bytes(int form) {
  return 64 * form;
}

template <int kForm, int kRows, int kVectors>
void whole_tile(const Int8Tile& t) {
  constexpr int kRegs = kVectors * Lanes::kHalves;
  // Sums in turn, so that additions need not wait for each other.
  constexpr int kSets = Lanes::kTurns ? (kRows * kRegs < 4 ? 4 : kRows * kRegs < 8 ? 2 : 1) : 1;
  Lanes::Table<kForm> table;
  table.load(t.w.table);
  const uint8_t* x = t.x;
  const int64_t x_rs = t.x_rs;
  for (int64_t begin = 0, block = 0; begin == 0 || begin < t.steps;
       begin += t.block_steps, ++block) {
    const int64_t end = begin + t.block_steps < t.steps ? begin + t.block_steps : t.steps;
    Lanes::Sum sum[kSets][kRows][kRegs];
#pragma GCC unroll 4
    for (int s = 0; s < kSets; ++s)
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 16
        for (int v = 0; v < kRegs; ++v) sum[s][m][v].clear();
    for (int64_t step = begin; step < end; ++step, x += kInt8Step) {
      const auto quad = [&]<int kQuad>() __attribute__((always_inline)) {
        Lanes::Reg w[kRegs];
#pragma GCC unroll 16
        for (int v = 0; v < kRegs; ++v) {
          const Step<kForm> at{t.w.panels + v / Lanes::kHalves * t.w.panel_stride +
                               v % Lanes::kHalves * (64 / Lanes::kHalves) +
                               step * form_bytes(kForm)};
          w[v] = table.look_up(at.template index<kQuad>());
        }
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m) {
          const Lanes::X xm = Lanes::broadcast(x + m * x_rs + 4 * kQuad);
#pragma GCC unroll 16
          for (int v = 0; v < kRegs; ++v) sum[kQuad % kSets][m][v].add(xm, w[v]);
        }
      };
      quad.template operator()<0>();
      quad.template operator()<1>();
      quad.template operator()<2>();
      quad.template operator()<3>();
      quad.template operator()<4>();
      quad.template operator()<5>();
      quad.template operator()<6>();
      quad.template operator()<7>();
#pragma GCC unroll 4
      for (int s = 0; s < kSets; ++s)
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 16
          for (int v = 0; v < kRegs; ++v) sum[s][m][v].end_step();
    }
#pragma GCC unroll 16
    for (int v = 0; v < kRegs; ++v) {
      const int panel = v / Lanes::kHalves, lane = v % Lanes::kHalves * Lanes::kLanes;
      const int filled = (panel + 1 < kVectors ? 16 : t.tail) - lane;
      const char* meta = t.w.meta + panel * t.w.meta_stride + block * kInt8MetaBytes;
      const Lanes::Reg sums = Lanes::load(meta + 4 * lane);
      const Lanes::Float scale = Lanes::load_floats(meta + 64 + 4 * lane);
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
        if (m >= t.rows || filled <= 0) continue;
        Lanes::Reg total = sum[0][m][v].total();
#pragma GCC unroll 4
        for (int s = 1; s < kSets; ++s) total = Lanes::add(total, sum[s][m][v].total());
        Lanes::finish(total, sums, scale, t.x_zero[m], t.x_scale[m],
                      t.y + m * t.ldy + 16 * panel + lane, filled, block > 0);
      }
    }
  }
}

// Sanitizers check every load: the large tiles take minutes to compile then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMostRows = 1, kMostVectors = 2;
#else
constexpr int kMostRows = Lanes::kMostRows, kMostVectors = 8;
#endif

// In parts of as many rows as there are registers for.
template <int kForm, int kRows, int kVectors>
void tile(const Int8Tile& t) {
  if constexpr (kRows <= kMostRows) {
    whole_tile<kForm, kRows, kVectors>(t);
  } else {
    for (int32_t row = 0; row < t.rows; row += kMostRows) {
      Int8Tile part = t;
      part.rows = t.rows - row;
      part.x += row * t.x_rs;
      part.x_scale += row;
      part.x_zero += row;
      part.y += row * t.ldy;
      whole_tile<kForm, kMostRows, kVectors>(part);
    }
  }
}

template <int kForm>
void expand(const Int8Expand& e) {
  Lanes::Table<kForm> table;
  table.load(e.table);
  for (int64_t s = 0; s < e.steps; ++s)
#pragma GCC unroll 2
    for (int h = 0; h < Lanes::kHalves; ++h) {
      const int at = h * (64 / Lanes::kHalves);
      const Step<kForm> step{e.panel + s * form_bytes(kForm) + at};
      int8_t* dst = e.dst + s * 512 + at;
      Lanes::store(dst, table.look_up(step.template index<0>()));
      Lanes::store(dst + 64, table.look_up(step.template index<1>()));
      Lanes::store(dst + 128, table.look_up(step.template index<2>()));
      Lanes::store(dst + 192, table.look_up(step.template index<3>()));
      Lanes::store(dst + 256, table.look_up(step.template index<4>()));
      Lanes::store(dst + 320, table.look_up(step.template index<5>()));
      Lanes::store(dst + 384, table.look_up(step.template index<6>()));
      Lanes::store(dst + 448, table.look_up(step.template index<7>()));
    }
}

// Elements [k, k + kLanes) of x, zeros behind the last.
inline Lanes::Float some(const Int8Quantize& q, int64_t k) {
  return k + Lanes::kLanes <= q.k ? Lanes::load_floats(q.x + k)
                                  : Lanes::load_floats(q.x + k, static_cast<int>(q.k - k));
}

void quantize(const Int8Quantize& q) {
  const Range range = [&] {
    Lanes::Ranges ranges;
    for (int64_t k = 0; k < q.k; k += Lanes::kLanes) ranges.take(some(q, k));
    return ranges.all();
  }();
  const int64_t padded = (q.k + kInt8Step - 1) / kInt8Step * kInt8Step;
  const float scale = range.high / 255.0f - range.low / 255.0f;
  const bool none = !range.finite || !(range.high - range.low >= kInt8LeastRange);
  *q.scale = !range.finite ? __builtin_nanf("") : none ? 0.0f : scale;
  *q.zero = 0;
  if (none) {
    __builtin_memset(q.q, 0, static_cast<size_t>(padded));
    return;
  }
  const float inverse = 1.0f / scale;
  const int32_t zero = static_cast<int32_t>(__builtin_rintf(-range.low * inverse));
  *q.zero = zero < 255 ? zero : 255;
  for (int64_t k = 0; k < padded; k += Lanes::kLanes) {
    if (k >= q.k) {
      __builtin_memset(q.q + k, 0, static_cast<size_t>(padded - k));
      break;
    }
    const int left = q.k - k < Lanes::kLanes ? static_cast<int>(q.k - k) : Lanes::kLanes;
    Lanes::store_bytes(q.q + k, some(q, k), inverse, *q.zero, left);
  }
}

// Sums that fit the registers beside the weights and the table.
constexpr int vectors_of(int rows) {
  return Lanes::kVectors[rows] < kMostVectors ? Lanes::kVectors[rows] : kMostVectors;
}

#define TESSERA_TILES(form, rows) \
  { tile<form, rows, 1>, tile<form, rows, vectors_of(rows)> }
#define TESSERA_FORM(form)                                                        \
  {                                                                               \
    TESSERA_TILES(form, 1), TESSERA_TILES(form, 2), TESSERA_TILES(form, 3),       \
        TESSERA_TILES(form, 4), TESSERA_TILES(form, 6), TESSERA_TILES(form, 8), { \
      nullptr, nullptr                                                            \
    }                                                                             \
  }
#define TESSERA_INT8_KERNELS(name, ...)                                                           \
  {                                                                                               \
    name, {vectors_of(1), vectors_of(2), vectors_of(3), vectors_of(4),                            \
           vectors_of(6), vectors_of(8), vectors_of(12)},                                         \
        {TESSERA_FORM(1),                                                                         \
         TESSERA_FORM(2),                                                                         \
         TESSERA_FORM(3),                                                                         \
         TESSERA_FORM(4),                                                                         \
         TESSERA_FORM(5),                                                                         \
         TESSERA_FORM(6),                                                                         \
         {TESSERA_TILES(8, 1), TESSERA_TILES(8, 2), TESSERA_TILES(8, 3), TESSERA_TILES(8, 4),     \
          TESSERA_TILES(8, 6), TESSERA_TILES(8, 8), TESSERA_TILES(8, 12)}},                       \
        {expand<1>, expand<2>, expand<3>, expand<4>, expand<5>, expand<6>}, quantize, __VA_ARGS__ \
  }
