// Codebook storage in the graph: `codebook` binds indices, entries and scale to a value of type
// T@cb; `decode` defines what it means; the two gradients map d/dW to entries and scale.
#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kCodebook, kDecode, kRepack, kCodebookEntriesGrad, kCodebookScaleGrad;

// Attributes shared by codebook and its gradients, and back. The entry dtype is the entries' own.
Attrs codebook_attrs(const CodebookFormat& format, const Shape& shape);
CodebookFormat codebook_format(const Attrs& attrs, DType entry_dtype);

// The codebook node behind a T@cb value, also through repack.
const Node& codebook_node(Value value);

namespace ops {

// f32 `shape` stored as `format`. indices u8 [format.index_bytes(shape)], entries [groups, k] (or
// [groups, k, d]) with k <= 2^bits, scale f32 [rows, blocks] when the format has one. Throws Error
// naming the plane that does not fit.
Value codebook(Value indices, Value entries, Value scale, const CodebookFormat& format,
               const Shape& shape);
// T@cb -> T. Placed by the compiler where no kernel takes the operand as stored.
Value decode(Value weight);

}  // namespace ops
}  // namespace tessera
