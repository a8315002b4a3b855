// Weights of integers and scales as the codebooks that they are.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/model.h"
#include "onnx/import/context.h"

namespace tessera::onnx {

struct PackedWeight {
  Shape shape = {};
  CodebookFormat format = {};
  Tensor indices = {}, entries = {},
         scale = {};  // planes; scale undefined where there is one for all
};

// What an operator makes of a weight, `stored`, as a codebook: its different integers are the
// entries, with a scale per row or per block along the rows, or in the entries where one serves
// all. Decodes to the same bits. None where codebooks cannot hold it: more than 256 different
// integers, scales along other axes than rows, no rows, or numbers that are not finite.
std::optional<PackedWeight> packed_weight(const Quantized& q, const Context::Stored& stored);

// The graph with codebooks for these params, whose planes go to the state; a param that an operator
// reads as f32 only stays dense. Names of those.
std::vector<std::string> pack_weights(Model& model,
                                      const std::map<std::string, PackedWeight>& packed);

}  // namespace tessera::onnx
