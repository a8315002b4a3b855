// What the definitions of the sparse ops share.
#pragma once

#include "core/op_def.h"

namespace tessera {

// Input i is u8[bytes], as stored or in a kernel's arrangement.
void require_positions(const InferArgs& args, int i);
// The two planes of a sparse tensor of `shape`.
void require_sparse(const InferArgs& args, int positions, int values, const Shape& shape);
// Both planes for a sample: each element has a value with probability `share`, at least one does.
std::vector<SampleInput> sample_planes(Rng& rng, const Shape& shape, double share);

}  // namespace tessera
