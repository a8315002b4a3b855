// The safetensors format (https://github.com/huggingface/safetensors): 8 bytes of header length,
// little-endian; a JSON header {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}, ...,
// "__metadata__": {text: text}} which spaces may follow; the tensors' bytes without gaps.
//
// The reader trusts nothing: it checks the header's length, syntax and UTF-8, repeated names, every
// type, shape and offset (in range, no gap, no overlap, size equal to shape times element size)
// before it allocates, and throws Error "FILE: byte N: tensor 'NAME': cause".
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/fields.h"

namespace tessera {

class InputFile;

inline constexpr std::int64_t kMaxSafetensorsHeader =
    100'000'000;  // bytes, as the reference reader

using TextMap = std::map<std::string, std::string>;

struct SafetensorsEntry {
  std::string name;
  std::string stored_dtype;  // as the file spells it: "F32", "F16", ...
  DType dtype = DType::f32;  // what reading it gives
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;  // byte in the file
  std::int64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by name
  TextMap metadata;
  std::int64_t file_bytes = 0;
};

struct Safetensors {
  TensorMap tensors;
  TextMap metadata;
  std::string sha256;  // of the whole file
};

// Reads and checks the header only.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);
// The same from a file that is read on afterwards; `name` is the name for messages.
SafetensorsHeader read_safetensors_header(InputFile& file, const std::string& name);
// The same of a file in memory.
SafetensorsHeader read_safetensors_header(std::string_view bytes, const std::string& name);

// Reads everything. F32, BF16, I8, U8, I32 and I64 become tensors of the same dtype with the same
// bits; F16 (exact) and F64 (rounded to nearest) of foreign files become f32; other dtypes are
// errors.
Safetensors read_safetensors(const std::filesystem::path& path);
// The same from memory; `file` is the name for messages.
Safetensors parse_safetensors(std::string_view bytes, const std::string& file);

// A file ready to be written, for those who need its hash or size first. Shares the tensors.
struct SafetensorsImage {
  std::string header;        // length, JSON and padding
  std::vector<Tensor> data;  // in file order

  std::int64_t bytes() const;
  std::string sha256() const;
  std::string content() const;
  // Atomic; see write_file.
  void write(const std::filesystem::path& path) const;
};

// The same tensors and metadata give the same bytes: names sorted in the header, no white space;
// data in order of falling element size, then name, so that every tensor is aligned to its
// elements; the header padded with spaces to a multiple of 8 bytes. Throws Error for an undefined
// tensor, a name that is "__metadata__", and text that is not UTF-8.
SafetensorsImage make_safetensors(const TensorMap& tensors, const TextMap& metadata = {});

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const TextMap& metadata = {});

}  // namespace tessera
