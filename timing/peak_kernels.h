// Loops of independent multiply-adds: of floats for each vector width, of bytes for each kind of
// dot product.
#pragma once

#include <cstdint>

namespace tessera::experiment {

// Two FMA units with a latency of four or five cycles need ten chains; twelve leave room.
inline constexpr int kPeakChains = 12;
inline constexpr std::int64_t kPeakRounds = 200'000;

// Each returns the number of operations it did; `sink` is read and written.
using PeakLoop = double (*)(float* sink);
extern const PeakLoop kPeakAvx2, kPeakAvx512;
extern const PeakLoop kPeakBytesAvx2, kPeakAvxVnni, kPeakAvx512Vnni;

}  // namespace tessera::experiment
