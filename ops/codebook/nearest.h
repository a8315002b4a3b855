// nearest: which entry of its group's codebook each weight is closest to, inside a graph.
#pragma once

#include <cstdint>

#include "core/op_def.h"

namespace tessera {

extern const OpDef kNearest;

// limits[j] such that a weight belongs above entry j exactly when weight > limits[j], for j in
// [0, k - 1): the midpoint of entries j and j + 1, which are ascending. A weight on the midpoint
// takes the entry farther from zero, the upper one at zero itself. Decided without rounding error:
// the limit is the float next to the f64 midpoint on the proper side.
void cell_limits(const float* entries, std::int64_t k, float* limits);

namespace ops {

struct NearestResult {
  Value entry;      // f32, w's shape: the nearest entry
  Value neighbour;  // f32, w's shape: the next entry on w's side of it
  Value index;      // u8, w's shape: position of the nearest entry within its group
};

// w f32 of any shape (rows are axis 0), entries f32[groups, k] in any order, k 1 to 256, equal ones
// allowed; group_rows rows share a group, 0: all of them. Ties as in cell_limits.
// neighbour is the least entry greater than the nearest one when w >= entry, else the greatest
// entry less than it; the nearest entry itself where there is none. w and entries that are equal
// count as w above. entry has a gradient to `entries` (the sum over the weights that chose each);
// w, neighbour and index have none. Throws Error on other shapes.
NearestResult nearest(Value w, Value entries, std::int64_t group_rows = 0);

}  // namespace ops
}  // namespace tessera
