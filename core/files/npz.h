// Arrays of numpy: .npy files (format versions 1 to 3) and .npz archives of them (zip, stored or
// deflated). https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// The reader trusts nothing: sizes, offsets, checksums and headers are checked before use, and
// errors read "FILE: array 'NAME': cause".
#pragma once

#include <string>
#include <string_view>

#include "core/files/safetensors.h"

namespace tessera {

// What archives start with.
inline constexpr std::string_view kZipMagic = "PK\3\4", kEmptyZipMagic = "PK\5\6";

// The archive in memory, by name without ".npy"; `file` is the name for messages. `file_bytes` is
// the size of the file that the archive was unpacked from (0: it is the file): the arrays take no
// more memory than that allows (core/memory_rule.h). Dtypes <f4, <f8
// (rounded to nearest) and <f2 (exact) become f32; |i1, |u1, <i4, <i8 keep theirs; others are
// errors. Arrays in Fortran order are put into C order.
TensorMap parse_npz(std::string_view bytes, const std::string& file, std::int64_t file_bytes = 0);
// One .npy file.
Tensor parse_npy(std::string_view bytes, const std::string& place);

}  // namespace tessera
