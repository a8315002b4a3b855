// Codebook entries in fewer bytes: how they are stored, decided when a network is hardened.
#pragma once

#include <string_view>

#include "core/named.h"
#include "quant/pack/harden.h"

namespace tessera::quant {

// The codebook as it is stored with entries of f32, bf16 or s8, and what it then decodes to.
//   bf16: rounded to nearest even.
//   s8: integers q of at most 127 in magnitude times a scale s, of the m in 1..127 and s =
//     max|e| / m the ones with the least squared error over the entries: exact for multiples of
//     one number, such as uniform:B. s joins the scales that a codebook has; one without gets a
//     scale a row, all the same in rows that share their entries.
// Corrected weights keep their values: the correction takes up the difference. Throws Error for
// another dtype.
CodebookTensor with_entries(CodebookTensor codebook, DType dtype);
Codebooks with_entries(const Codebooks& codebooks, DType dtype);

// How entries can be stored: "f32", "bf16" or "s8".
const Names<DType>& entry_types();

}  // namespace tessera::quant
