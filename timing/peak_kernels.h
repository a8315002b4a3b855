// Loops of independent fused multiply-adds, one for each vector width.
#pragma once

#include <cstdint>

namespace tessera::experiment {

// Two FMA units with a latency of four or five cycles need ten chains; twelve leave room.
inline constexpr int kPeakChains = 12;
inline constexpr std::int64_t kPeakRounds = 200'000;

// Each returns the number of floating-point operations it did; `sink` is read and written.
using PeakLoop = double (*)(float* sink);
extern const PeakLoop kPeakAvx2, kPeakAvx512;

}  // namespace tessera::experiment
