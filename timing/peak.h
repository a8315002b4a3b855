// Limits, measured in the run that quotes them.
#pragma once

#include <cstdint>

namespace tessera::experiment {

// f32 GFLOP/s of independent fused multiply-adds in registers, with the widest vectors of
// active_features() on num_threads() threads; the best of a few tries.
double measure_peak_gflops();

// The same of products of bytes, summed in integers, in 10^9 operations a second; where the
// instruction set has none, of floats.
double measure_peak_byte_gops();

// GB/s at which num_threads() threads read `bytes` again and again, each its part: of whichever
// cache they fit. The best of a few tries.
double measure_read_gbps(std::int64_t bytes);

// The most memory this process ever held (VmHWM of /proc/self/status). Throws Error where the
// system does not say.
std::int64_t peak_memory_bytes();

}  // namespace tessera::experiment
