// The arithmetic limit of this machine, measured in the run that quotes it.
#pragma once

namespace tessera::apps {

// f32 GFLOP/s of independent fused multiply-adds in registers, with the widest vectors of
// active_features() on num_threads() threads; the best of a few tries.
double measure_peak_gflops();

}  // namespace tessera::apps
