#include "core/files/rans.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "core/error.h"

namespace tessera {

namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 12;  // version u8, bits u8, frequencies u16, indices u64
constexpr std::size_t kStates = 8;
constexpr int kFrequencyBits = 15;  // of an index, as stored
constexpr int kSlotBits = 14;       // of a symbol, as coded
constexpr std::uint32_t kFrequencySum = 1u << kFrequencyBits;
constexpr std::uint32_t kSlots = 1u << kSlotBits;
constexpr std::uint32_t kLow = 1u << 16;  // states live in [kLow, 2^32)
constexpr std::size_t kBlock = 4096;      // symbols unpacked at a time; a multiple of 8

using Frequencies = std::vector<std::uint16_t>;

// A symbol is as many indices as fit a byte, so that one step of the decoder gives up to 8 of them.
struct Symbols {
  Symbols(int bits, std::int64_t count) : index_bits(bits), width(8 / bits * bits) {
    size = (count * bits + width - 1) / width;
    unused = static_cast<int>(size * width - count * bits);
  }
  int per_symbol() const { return width / index_bits; }

  int index_bits, width;  // bits of an index and of a symbol
  std::int64_t size;
  int unused;  // bits of the last symbol that no index has; 0 in a sound plane
};

// Symbols of `width` bits from or to an LSB-first stream of `bytes`; 8 symbols are `width` bytes.
void unpack(const std::uint8_t* stream, std::size_t bytes, int width, std::size_t n,
            std::uint8_t* symbols) {
  const auto run = static_cast<std::size_t>(width);
  const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
  for (std::size_t i = 0, at = 0; i < n; i += 8, at += run) {
    std::uint64_t word = 0;
    std::memcpy(&word, stream + at, std::min<std::size_t>(8, bytes - at));
    for (std::size_t j = 0; j < std::min<std::size_t>(8, n - i); ++j) {
      symbols[i + j] = static_cast<std::uint8_t>(word >> (j * run) & mask);
    }
  }
}

void pack(const std::uint8_t* symbols, std::size_t n, int width, std::size_t bytes,
          std::uint8_t* stream) {
  const auto run = static_cast<std::size_t>(width);
  std::size_t i = 0, at = 0;
  // Each store of 8 bytes writes over what the one before it had too much.
  for (; i + 8 <= n && at + 8 <= bytes; i += 8, at += run) {
    std::uint64_t word = 0;
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j) word |= std::uint64_t{symbols[i + j]} << (j * run);
    std::memcpy(stream + at, &word, 8);
  }
  for (; i < n; i += 8, at += run) {
    std::uint64_t word = 0;
    for (std::size_t j = 0; j < std::min<std::size_t>(8, n - i); ++j) {
      word |= std::uint64_t{symbols[i + j]} << (j * run);
    }
    std::memcpy(stream + at, &word, std::min(run, bytes - at));
  }
}

// Where the slots of each symbol begin; the last is kSlots. Every symbol of indices that occur has
// one slot, and the others are divided by the product of the frequencies: first by the symbol's
// last index, the part of each by the one before it, and so on, always rounding down.
std::array<std::uint16_t, 257> symbol_starts(const Frequencies& frequencies, const Symbols& s) {
  const std::uint32_t mask = (1u << s.index_bits) - 1;
  std::array<std::uint32_t, 257> below{};  // sum of the frequencies of lower indices
  std::uint32_t present = 0, usable = 1;
  for (std::size_t i = 0; i <= mask; ++i) {
    const std::uint32_t f = i < frequencies.size() ? frequencies[i] : 0;
    below[i + 1] = below[i] + f;
    present += f > 0;
  }
  for (int i = 0; i < s.per_symbol(); ++i) usable *= present;
  std::array<std::uint16_t, 257> starts{};
  std::uint32_t rank = 0;
  for (std::uint32_t symbol = 0; symbol < 1u << s.width; ++symbol) {
    std::uint32_t low = 0, range = kSlots - usable;
    bool occurs = true;
    for (int i = s.per_symbol() - 1; i >= 0; --i) {
      const std::uint32_t index = symbol >> (i * s.index_bits) & mask;
      const std::uint32_t begin = range * below[index] >> kFrequencyBits;
      range = (range * below[index + 1] >> kFrequencyBits) - begin;
      low += begin;
      occurs = occurs && below[index + 1] > below[index];
    }
    starts[symbol] = static_cast<std::uint16_t>(low + rank);
    rank += occurs;
  }
  starts[1u << s.width] = kSlots;
  return starts;
}

// Counts scaled to kFrequencySum by largest remainders; what occurs keeps at least 1.
Frequencies normalize(const std::array<std::uint64_t, 256>& counts) {
  const std::uint64_t total = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  std::size_t size = counts.size();
  while (counts[size - 1] == 0) --size;
  Frequencies out(size);
  std::vector<std::pair<std::uint64_t, std::size_t>> rest;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t scaled = counts[i] * kFrequencySum;
    out[i] =
        static_cast<std::uint16_t>(std::max<std::uint64_t>(scaled / total, counts[i] > 0 ? 1 : 0));
    sum += out[i];
    if (counts[i] > 0) rest.emplace_back(total - scaled % total, i);
  }
  std::sort(rest.begin(), rest.end());
  for (std::size_t i = 0; sum < kFrequencySum; ++i, ++sum) ++out[rest[i % rest.size()].second];
  for (; sum > kFrequencySum; --sum) --*std::max_element(out.begin(), out.end());
  return out;
}

template <class T>
void append(std::vector<std::uint8_t>& out, T value) {
  out.resize(out.size() + sizeof value);
  std::memcpy(out.data() + out.size() - sizeof value, &value, sizeof value);
}

template <class T>
T load(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Slot {
  std::uint16_t start, size;
};

class Decoder {
 public:
  Decoder(const Frequencies& frequencies, const Symbols& s, const std::uint8_t* states,
          const std::uint8_t* end)
      : in_(states + kStates * sizeof(std::uint32_t)), end_(end) {
    const auto starts = symbol_starts(frequencies, s);
    for (std::size_t symbol = 0; symbol < 1u << s.width; ++symbol) {
      const auto size = static_cast<std::uint16_t>(starts[symbol + 1] - starts[symbol]);
      slots_[symbol] = {starts[symbol], size};
      std::memset(symbol_of_.data() + starts[symbol], static_cast<int>(symbol), size);
    }
    std::memcpy(states_.data(), states, sizeof states_);
  }

  // The next n symbols; n is a multiple of kStates except at the end. False when words run out.
  bool decode(std::uint8_t* out, std::size_t n) {
    std::size_t i = 0;
    auto x = states_;  // in registers
    const std::uint8_t* in = in_;
    // A round takes at most a word for each state.
    for (; i + kStates <= n && end_ - in >= std::ptrdiff_t{2 * kStates}; i += kStates) {
      std::uint64_t symbols = 0;
#pragma GCC unroll 8
      for (std::size_t lane = 0; lane < kStates; ++lane) {
        std::uint8_t symbol = 0;
        const std::uint32_t next = step(x[lane], symbol);
        symbols |= std::uint64_t{symbol} << (8 * lane);
        // Arithmetic, because a branch here is taken at random.
        const std::uint32_t refill = -static_cast<std::uint32_t>(next < kLow);
        x[lane] = next << (refill & 16) | (refill & load<std::uint16_t>(in));
        in += refill & 2;
      }
      std::memcpy(out + i, &symbols, kStates);
    }
    bool whole = true;
    for (; i < n && whole; ++i) {
      std::uint32_t& state = x[i % kStates];
      state = step(state, out[i]);
      if (state >= kLow) continue;
      whole = end_ - in >= 2;
      if (whole) {
        state = state << 16 | load<std::uint16_t>(in);
        in += 2;
      }
    }
    states_ = x;
    in_ = in;
    return whole;
  }

  const std::array<std::uint32_t, kStates>& states() const {
    return states_;
  }
  std::ptrdiff_t left() const {
    return end_ - in_;
  }

 private:
  std::uint32_t step(std::uint32_t state, std::uint8_t& symbol) const {
    const std::uint32_t slot = state & (kSlots - 1);
    symbol = symbol_of_[slot];
    return slots_[symbol].size * (state >> kSlotBits) + slot - slots_[symbol].start;
  }

  std::array<std::uint8_t, kSlots> symbol_of_;
  std::array<Slot, 256> slots_;
  std::array<std::uint32_t, kStates> states_;
  const std::uint8_t* in_;
  const std::uint8_t* end_;
};

}  // namespace

std::optional<std::vector<std::uint8_t>> rans_encode(std::span<const std::uint8_t> plane, int bits,
                                                     std::int64_t count) {
  const Symbols s(bits, count);
  if (count == 0 || (count * bits % 8 != 0 && plane.back() >> (count * bits % 8) != 0)) {
    return std::nullopt;
  }
  std::vector<std::uint8_t> symbols(static_cast<std::size_t>(s.size));
  unpack(plane.data(), plane.size(), s.width, symbols.size(), symbols.data());
  std::array<std::uint64_t, 256> symbol_counts{}, counts{};
  for (const std::uint8_t symbol : symbols) ++symbol_counts[symbol];
  for (std::size_t symbol = 0; symbol < symbol_counts.size(); ++symbol) {
    for (int i = 0; i < s.per_symbol(); ++i) {
      counts[symbol >> (i * bits) & ((1u << bits) - 1)] += symbol_counts[symbol];
    }
  }
  const Frequencies frequencies = normalize(counts);
  const auto starts = symbol_starts(frequencies, s);

  // Backwards: the decoder meets the last word first. A symbol gives one word or none.
  std::array<std::uint32_t, kStates> states;
  states.fill(kLow);
  std::vector<std::uint16_t> words(symbols.size());
  std::size_t first = words.size();
  for (std::size_t i = symbols.size(); i-- > 0;) {
    std::uint32_t state = states[i % kStates];
    const std::uint32_t start = starts[symbols[i]], size = starts[symbols[i] + 1u] - start;
    const bool full = state >= std::uint64_t{size} << (32 - kSlotBits);
    words[first - 1] = static_cast<std::uint16_t>(state);
    first -= full;
    state >>= full ? 16 : 0;
    states[i % kStates] = ((state / size) << kSlotBits) + state % size + start;
  }

  std::vector<std::uint8_t> out = {kVersion, static_cast<std::uint8_t>(bits)};
  append(out, static_cast<std::uint16_t>(frequencies.size()));
  append(out, static_cast<std::uint64_t>(count));
  for (const std::uint16_t f : frequencies) append(out, f);
  for (const std::uint32_t state : states) append(out, state);
  out.resize(out.size() + 2 * (words.size() - first));
  std::memcpy(out.data() + out.size() - 2 * (words.size() - first), words.data() + first,
              2 * (words.size() - first));
  if (out.size() >= plane.size()) return std::nullopt;
  if (std::ssize(plane) > kMaxRansExpansion * std::ssize(out)) return std::nullopt;
  return out;
}

void rans_decode(std::span<const std::uint8_t> coded, int bits, std::int64_t count,
                 std::span<std::uint8_t> plane, const std::string& place) {
  TESSERA_ASSERT(std::ssize(plane) == (count * bits + 7) / 8);
  check(coded.size() >= kHeaderBytes, place, "expected ", kHeaderBytes,
        " bytes of rANS header, got ", coded.size());
  check(coded[0] == kVersion, place, "expected rANS version ", int{kVersion}, ", got ",
        int{coded[0]});
  check(coded[1] == bits, place, "expected indices of ", bits, " bits, got ", int{coded[1]});
  const std::size_t size = load<std::uint16_t>(coded.data() + 2);
  check(size >= 1 && size <= 1u << bits, place, "expected 1 to ", 1 << bits, " frequencies, got ",
        size);
  const auto stored_count = load<std::uint64_t>(coded.data() + 4);
  check(stored_count == static_cast<std::uint64_t>(count), place, "expected ", count,
        " indices, got ", stored_count);
  const std::size_t states_at = kHeaderBytes + 2 * size, words_at = states_at + 4 * kStates;
  check(coded.size() >= words_at, place, "expected at least ", words_at, " bytes for ", size,
        " frequencies and ", kStates, " states, got ", coded.size());
  check((coded.size() - words_at) % 2 == 0, place, "expected words of 2 bytes from byte ", words_at,
        " on, got ", coded.size() - words_at, " bytes");
  Frequencies frequencies(size);
  std::memcpy(frequencies.data(), coded.data() + kHeaderBytes, 2 * size);
  const auto sum = std::accumulate(frequencies.begin(), frequencies.end(), std::uint32_t{0});
  check(sum == kFrequencySum, place, "expected frequencies that sum to ", kFrequencySum, ", got ",
        sum);
  for (std::size_t i = 0; i < kStates; ++i) {
    const auto state = load<std::uint32_t>(coded.data() + states_at + 4 * i);
    check(state >= kLow, place, "expected state ", i, " to be at least ", kLow, ", got ", state);
  }

  const Symbols s(bits, count);
  Decoder decoder(frequencies, s, coded.data() + states_at, coded.data() + coded.size());
  std::array<std::uint8_t, kBlock> block{};
  std::uint8_t last = 0;
  for (std::int64_t at = 0; at < s.size; at += kBlock) {
    const auto n = static_cast<std::size_t>(std::min<std::int64_t>(kBlock, s.size - at));
    const auto byte = static_cast<std::size_t>(at / 8 * s.width);
    std::uint8_t* out = s.width == 8 ? plane.data() + byte : block.data();
    check(decoder.decode(out, n), place, "the words end before the last of ", count,
          " indices (is it truncated?)");
    last = out[n - 1];
    if (s.width != 8) pack(out, n, s.width, plane.size() - byte, plane.data() + byte);
  }
  check(last >> (s.width - s.unused) == 0, place, "bits behind the last index are set");
  check(decoder.left() == 0, place, "expected the words to end at byte ",
        std::ssize(coded) - decoder.left(), ", but ", decoder.left(), " more bytes follow");
  for (std::size_t i = 0; i < kStates; ++i) {
    check(decoder.states()[i] == kLow, place, "expected state ", i, " to end at ", kLow, ", got ",
          decoder.states()[i]);
  }
}

}  // namespace tessera
