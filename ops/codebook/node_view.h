// From a graph value of type T@cb to the kernels' CodebookView.
#pragma once

#include "core/op_def.h"
#include "ops/codebook/view.h"
#include "ops/codebook/weight_panels.h"

namespace tessera {

// Sizes and encoding of a T@cb value (rows = axis 0, cols = the rest); no pointers.
CodebookView view_of(const TensorType& weight);
// The same for a format, shape and number of entries.
CodebookView make_view(const CodebookFormat& format, const Shape& shape, std::int64_t k);
// With the planes of a run: indices, entries, scale.
CodebookView bind_view(CodebookView view, const BufferRef& planes);
// The repack of a packable T@cb value for kernels that read its indices in panels.
OperandPack pack_codebook(Value weight, CpuFeatures features);
OperandPack pack_bytes(Value weight);
OperandPack pack_int8(Value weight);
// The panels of a weight, dense (then `fixed`) or codebook, and its repack, if they want one.
WeightPanels panels_of(Value weight, bool fixed, CpuFeatures features);
std::optional<OperandPack> pack_weight(Value weight, const WeightPanels& panels);

}  // namespace tessera
