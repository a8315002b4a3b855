// From a graph value of type T@cb to the kernels' CodebookView.
#pragma once

#include "core/op_def.h"
#include "ops/codebook/view.h"
#include "ops/codebook/weight_panels.h"

namespace tessera {

// Sizes and encoding of a T@cb value (rows = axis 0, cols = the rest); no pointers.
CodebookView view_of(Value weight);
// The same for a format, shape and number of entries.
CodebookView make_view(const CodebookFormat& format, const Shape& shape, std::int64_t k);
// With the planes of a run: indices, entries, scale.
CodebookView bind_view(CodebookView view, const BufferRef& planes);
// The repack of a packable T@cb value for kernels that read its indices in panels.
OperandPack pack_codebook(Value weight, CpuFeatures features);
OperandPack pack_bytes(Value weight);
// The same in the form that the panels ask for, or nothing where they read the planes.
std::optional<OperandPack> pack_panels(Value weight, const WeightPanels& panels);

}  // namespace tessera
