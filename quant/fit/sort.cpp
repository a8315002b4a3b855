#include "quant/fit/sort.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"

namespace tessera::quant {
namespace {

// Below this a single bucket and a single thread are faster than the spreading pass.
constexpr std::size_t kSmall = 6144;
constexpr std::size_t kBucketSize = 4096;
constexpr std::size_t kMaxBuckets = 2048;
constexpr std::size_t kChunk = 1 << 16;

// Order-preserving map from floats to unsigned integers: negatives are flipped, others shifted.
std::uint32_t key_of(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

// A run of values with their companions; `carried` is null when there are none.
template <class Float>
struct Run {
  Float* values;
  Float* carried;
};

// Monotone in the value, so buckets in order are sorted relative to each other. Halved operands
// cannot overflow in the subtraction.
struct BucketOf {
  float half_low = 0, scale = 0;
  std::size_t count = 1;

  std::size_t operator()(float value) const {
    const float place = (0.5f * value - half_low) * scale;
    return static_cast<std::size_t>(
        static_cast<int>(std::clamp(place, 0.0f, static_cast<float>(count - 1))));
  }
};

BucketOf choose_buckets(std::span<const float> values) {
  constexpr std::size_t kSamples = 1024;
  std::array<float, kSamples> sample;
  for (std::size_t i = 0; i < kSamples; ++i)
    sample[i] =
        0.5f * values[static_cast<std::size_t>(static_cast<double>(values.size()) * i / kSamples)];
  std::sort(sample.begin(), sample.end());
  const float low = sample[kSamples / 100], high = sample[kSamples - 1 - kSamples / 100];
  const float margin = 0.5f * (high - low);  // twice the central range covers a normal's 4.6 sigma
  BucketOf bucket;
  // Narrower, and the scale could overflow: one bucket then.
  if (!(margin > 1e-30f)) return bucket;
  bucket.count = std::clamp<std::size_t>(values.size() / kBucketSize, 1, kMaxBuckets);
  bucket.half_low = low - margin;
  bucket.scale = 0.25f * static_cast<float>(bucket.count) / margin;  // not 0: inf * 0 is no place
  return bucket;
}

template <bool kCarry>
void radix_pass(Run<const float> from, Run<float> to, std::size_t n, std::uint32_t low, int shift,
                int digit_bits, std::uint32_t* offsets) {
  const std::uint32_t mask = (1u << digit_bits) - 1;
  std::fill_n(offsets, mask + 1, 0u);
  for (std::size_t i = 0; i < n; ++i) ++offsets[((key_of(from.values[i]) - low) >> shift) & mask];
  std::uint32_t sum = 0;
  for (std::uint32_t d = 0; d <= mask; ++d) sum += std::exchange(offsets[d], sum);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t place = offsets[((key_of(from.values[i]) - low) >> shift) & mask]++;
    to.values[place] = from.values[i];
    if constexpr (kCarry) to.carried[place] = from.carried[i];
  }
}

template <bool kCarry>
void insertion_sort(Run<float> run, std::size_t n) {
  for (std::size_t i = 1; i < n; ++i) {
    const float value = run.values[i];
    const std::uint32_t key = key_of(value);
    float carried = 0;
    if constexpr (kCarry) carried = run.carried[i];
    std::size_t j = i;
    for (; j > 0 && key_of(run.values[j - 1]) > key; --j) {
      run.values[j] = run.values[j - 1];
      if constexpr (kCarry) run.carried[j] = run.carried[j - 1];
    }
    run.values[j] = value;
    if constexpr (kCarry) run.carried[j] = carried;
  }
}

// Sorts `from` into `to`, using `from` as scratch. Only the bits in which the keys differ are
// looked at, which inside a bucket are few.
template <bool kCarry>
void sort_bucket(Run<float> from, Run<float> to, std::size_t n) {
  if (n == 0) return;
  std::uint32_t low = 0xffffffffu, high = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t key = key_of(from.values[i]);
    low = std::min(low, key);
    high = std::max(high, key);
  }
  const int bits = std::bit_width(high - low);
  int passes = 0;
  if (n <= 48) {
    insertion_sort<kCarry>(from, n);
  } else if (bits > 0) {
    const int widest = n < 1024 ? 8 : 11;
    passes = (bits + widest - 1) / widest;
    const int digit_bits = (bits + passes - 1) / passes;
    std::array<std::uint32_t, 2048> offsets;
    for (int pass = 0; pass < passes; ++pass) {
      radix_pass<kCarry>({from.values, from.carried}, to, n, low, pass * digit_bits, digit_bits,
                         offsets.data());
      std::swap(from, to);
    }
  }
  if (passes % 2 == 1) return;  // the last pass wrote the output, now called `from`
  std::copy_n(from.values, n, to.values);
  if constexpr (kCarry) std::copy_n(from.carried, n, to.carried);
}

template <bool kCarry>
void sort_runs(std::span<const float> values, Run<const float> in, Run<float> out) {
  const std::size_t n = values.size();
  const auto scratch_values = std::make_unique_for_overwrite<float[]>(n);
  const auto scratch_carried = std::make_unique_for_overwrite<float[]>(kCarry ? n : 0);
  const Run<float> scratch{scratch_values.get(), scratch_carried.get()};
  if (n < kSmall) {
    std::copy_n(in.values, n, scratch.values);
    if constexpr (kCarry) std::copy_n(in.carried, n, scratch.carried);
    sort_bucket<kCarry>(scratch, out, n);
    return;
  }

  const BucketOf bucket_of = choose_buckets(values);
  const std::size_t buckets = bucket_of.count;
  const std::size_t parts =
      std::clamp<std::size_t>(n / kChunk, 1, static_cast<std::size_t>(num_threads()));
  const auto part_begin = [&](std::size_t part) { return n * part / parts; };
  std::vector<std::uint32_t> offsets(parts * buckets, 0);
  parallel_parts(static_cast<std::int64_t>(parts), [&](std::int64_t part) {
    std::uint32_t* counts = &offsets[part * buckets];
    for (std::size_t i = part_begin(part), end = part_begin(part + 1); i < end; ++i)
      ++counts[bucket_of(in.values[i])];
  });
  std::vector<std::size_t> starts(buckets + 1, n);
  std::uint32_t sum = 0;
  for (std::size_t b = 0; b < buckets; ++b) {
    starts[b] = sum;
    for (std::size_t part = 0; part < parts; ++part)
      sum += std::exchange(offsets[part * buckets + b], sum);
  }
  parallel_parts(static_cast<std::int64_t>(parts), [&](std::int64_t part) {
    std::uint32_t* places = &offsets[part * buckets];
    for (std::size_t i = part_begin(part), end = part_begin(part + 1); i < end; ++i) {
      const std::uint32_t place = places[bucket_of(in.values[i])]++;
      scratch.values[place] = in.values[i];
      if constexpr (kCarry) scratch.carried[place] = in.carried[i];
    }
  });
  // Buckets are dealt out by what they hold, not by number.
  const auto first_bucket = [&](std::size_t part) {
    const auto at = std::lower_bound(starts.begin(), starts.end() - 1, part_begin(part));
    return static_cast<std::size_t>(at - starts.begin());
  };
  parallel_parts(static_cast<std::int64_t>(parts), [&](std::int64_t part) {
    const std::size_t last =
        static_cast<std::size_t>(part) + 1 == parts ? buckets : first_bucket(part + 1);
    for (std::size_t b = first_bucket(part); b < last; ++b) {
      const auto shifted = [&](Run<float> run) {
        return Run<float>{run.values + starts[b], kCarry ? run.carried + starts[b] : nullptr};
      };
      sort_bucket<kCarry>(shifted(scratch), shifted(out), starts[b + 1] - starts[b]);
    }
  });
}

}  // namespace

void sort_floats(std::span<const float> values, std::span<const float> carried,
                 std::span<float> sorted, std::span<float> sorted_carried) {
  TESSERA_ASSERT(sorted.size() == values.size() && sorted_carried.size() == carried.size());
  TESSERA_ASSERT(carried.empty() || carried.size() == values.size());
  TESSERA_ASSERT(values.size() <= 0xffffffffu);
  const Run<const float> in{values.data(), carried.data()};
  const Run<float> out{sorted.data(), sorted_carried.data()};
  carried.empty() ? sort_runs<false>(values, in, out) : sort_runs<true>(values, in, out);
}

}  // namespace tessera::quant
