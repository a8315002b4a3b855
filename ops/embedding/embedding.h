// Tables of rows that are read and replaced by number.
#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kEmbedding, kEmbeddingGrad, kScatterRows;

namespace ops {

// The rows of `table` f32 or bf16 [n, d], dense or (f32) in codebook storage, that `index` s32 of
// any shape names: f32 [index shape..., d]. The gradient to an f32 table adds up the rows of equal
// numbers in the order of their positions. Throws Error on other types, and at run time for an
// index outside [0, n), naming its position and value.
Value embedding(Value table, Value index);

// `table` f32 or bf16 [n, d] with row index[i] replaced by rows[i], for index s32[m] and rows
// f32[m, d]; of equal numbers the last one wins. No gradient. As the update of a state it writes
// those rows only. Throws Error as embedding does, before any row is written.
Value scatter_rows(Value table, Value index, Value rows);

}  // namespace ops
}  // namespace tessera
