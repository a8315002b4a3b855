// Hardening: dense parameters become codebook parameters, in the graph and in the state. Everything
// reported is measured on the result.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/files/model.h"
#include "core/model.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

using Codebooks = std::map<std::string, CodebookTensor>;  // by parameter name

// An inference model in which every parameter of `codebooks` is read through a codebook node, plus
// a sparse node where it is corrected; the other parameters of the graph are copied as they are.
Model harden(const Graph& inference, const State& state, const Codebooks& codebooks);

// Every byte of a model, by parameter. Planes that several weights share count for the first.
struct TensorReport {
  std::string name;
  Shape shape;
  std::string encoding;          // "f32", "cb2", or "cb2+sparse" with a correction
  std::int64_t weights = 0;      // logical elements
  std::int64_t index_bytes = 0;  // including the padding of the last byte
  std::int64_t codebook_bytes = 0;
  std::int64_t scale_bytes = 0;
  std::int64_t sparse_bytes = 0;  // of a correction: positions and values
  std::int64_t dense_bytes = 0;   // when it is stored dense
  double entropy_bits = 0;        // per weight, of the indices
  std::int64_t sparse_values = 0;
  // What the file holds in place of index_bytes when they are entropy-coded there; else the same.
  std::int64_t file_index_bytes = 0;
  bool coded() const { return dense_bytes == 0; }
};

struct SizeReport {
  std::vector<TensorReport> tensors;
  std::int64_t bytes() const;        // all planes
  std::int64_t dense_bytes() const;  // the same network in f32
  std::int64_t weights() const;      // elements that are codebook-coded
  // (indices + codebooks + scales + corrections) * 8 / coded weights; 32 when nothing is coded.
  double bits_per_weight() const;
  double entropy_bits_per_weight() const;
  double ratio() const;  // dense_bytes / bytes
  // Of the file, whose indices may be entropy-coded: everything above is of the packed planes, as
  // they lie in memory.
  bool entropy_coded() const;
  std::int64_t index_bytes() const;
  std::int64_t file_index_bytes() const;
  std::int64_t file_bytes() const;  // all planes
  double file_bits_per_weight() const;
  std::string text() const;
};

// `coded` is what the model's file holds entropy-coded (SavedModel::coded, coded_planes()).
SizeReport size_report(const Model& model, const CodedPlanes& coded = {});

}  // namespace tessera::quant
