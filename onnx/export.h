// Models as ONNX files, dense or with their codebooks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model.h"

namespace tessera::onnx {

struct ExportOptions {
  // Every codebook as the f32 weights it stands for, in operators of version 17.
  bool dense = false;
  // 2, 4 or 8: codebooks whose entries are no multiples of one step as the nearest ones that are,
  // with integers of this many bits (more where their indices have more). 0: as they are.
  int affine_bits = 0;
};

// How a codebook weight is written.
struct WrittenWeight {
  std::string name, shape, how;  // "uint4 in blocks of 32", "looked up by Gather", "f32"
  std::int64_t bytes = 0;        // in the file
  double error = 0;              // ||w - written|| / ||w||
};

struct Exported {
  std::string bytes;
  std::int64_t opset = 0;
  std::vector<WrittenWeight> weights;  // that are codebooks in the model
  // Codebooks whose entries are no multiples of one step: small in the file only, since runtimes
  // look their weights up once, when they load it.
  std::int64_t looked_up = 0;
};

// The file of an inference model. Codebooks whose entries are whole steps from a zero point become
// DequantizeLinear of 2, 4 or 8 bits, others Gather from their entries; both keep the indices
// packed. What is carried from batch to batch are inputs NAME and outputs NAME.next. Throws Error
// that names all operators ONNX has nothing for, with counts.
Exported export_model(const Model& model, const ExportOptions& options = {});

}  // namespace tessera::onnx
