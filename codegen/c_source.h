// A network as one C99 file: its weights as constant arrays, codebook weights as their packed
// indices and entries, and a function that runs the one graph. It needs the C library's <math.h>
// and <string.h> and nothing else: it allocates nothing, keeps nothing, and says how much scratch
// it wants. Rows of codebook weights are decoded as they are read, one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model.h"

namespace tessera {

struct CSourceOptions {
  std::string name;         // of the function NAME_run and of the macros NAME_...; a C identifier
  std::int64_t batch = 1;   // binds the batch symbol
  std::string origin = {};  // the model's file, for the comment at the top
};

struct CSource {
  std::string text;
  std::int64_t constant_bytes = 0;  // of all arrays
  std::int64_t scratch_bytes = 0;
  // Codebook weights that an operator takes as floats only: name and bytes as floats.
  std::vector<std::pair<std::string, std::int64_t>> decoded;
};

// Throws Error when the graph trains (updates state), when options.name is no C identifier, or when
// it uses operators, types or results that cannot be written as C; these are listed all at once.
CSource c_source(const Model& model, const CSourceOptions& options);

// A C identifier made of any text: "lenet-5 (s1)" -> "lenet_5_s1".
std::string c_identifier(std::string_view text);

}  // namespace tessera
