// ONNX files as models: networks of other programs to train further, compress, measure and run.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/model.h"

namespace tessera::onnx {

struct ImportOptions {
  // Sizes of symbolic dimensions by their symbol ("sequence" -> 128), and new names of inputs and
  // outputs. Throws Error for a name that the file does not have.
  std::map<std::string, std::int64_t> sizes = {};
  std::map<std::string, std::string> renamed = {};
  // Axis 0 of every input is the batch, also where the file has a number there, and shapes that the
  // file has for that number are for any.
  bool any_batch = false;
  // Weights of integers and scales (DequantizeLinear) as f32 instead of as codebooks.
  bool dense = false;
  // What inputs hold where the graph needs to know it when it is built (shapes, axes, pads); such
  // an input is none of the model's.
  std::map<std::string, Tensor> values = {};
};

struct Imported {
  Model model;
  // What was read differently from how it is written, a line each: double as f32, for one.
  std::vector<std::string> notes;
  std::map<std::string, std::int64_t> ops;  // how many nodes of each kind there were
  std::string sha256;                       // of the file
};

// The inference graph of an ONNX file, its weights as params under the names of the initializers,
// running statistics as states, float inputs as f32. The symbol of axis 0 of the first input that
// has one is the batch. Throws Error with one line that names all nodes that cannot be imported,
// by kind, and what was expected of them. Bounded as every reader is (core/memory_rule.h).
Imported import_model(const std::filesystem::path& file, const ImportOptions& options = {});

// The operators that are read, in alphabetical order.
std::vector<std::string> imported_ops();

}  // namespace tessera::onnx
