// IDX files, the container of MNIST: a big-endian magic 0x0000TTRR (type code, rank), one u32 per
// axis, then the values in row-major order (yann.lecun.com/exdb/mnist).
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/tensor.h"

namespace tessera::datasets {

inline constexpr std::int64_t kMaxIdxBytes = std::int64_t{1} << 31;

// Reads unsigned bytes of rank 1 (labels, magic 0x00000801) or rank 3 (images, 0x00000803) into a
// u8 tensor. Plain, gzip or xz, told apart by the first bytes and not by the name. Reads no more
// than the header declares plus one byte, and allocates only what the file can hold and
// `max_bytes` allows. Throws Error naming the file, what was found and what was expected: missing,
// truncated, wrong magic or type, wrong length, trailing bytes, damaged gzip or xz stream.
Tensor read_idx(const std::filesystem::path& path, std::int64_t max_bytes = kMaxIdxBytes);

}  // namespace tessera::datasets
