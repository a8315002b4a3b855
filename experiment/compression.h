// Compressing a dense reference: restartable, and what is reported is measured on the file that was
// written. Throws Interrupted (core/interrupt.h) when it is stopped; --resume goes on from there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/files/model.h"
#include "core/model.h"
#include "experiment/machine.h"
#include "experiment/measure.h"
#include "experiment/reference.h"
#include "experiment/run.h"
#include "experiment/session.h"
#include "experiment/task.h"
#include "timing/statistics.h"

namespace tessera::experiment {

// What a compression makes of a network: how, and to which codebooks.
struct Variant {
  std::string method;           // "lc"
  std::string codebook;         // "adaptive:4", or a SizeTarget
  std::int64_t group_rows = 0;  // one codebook per this many rows; 0: one per tensor
  double sparse = 0;            // share of the weights that a sparse correction keeps

  std::string text() const;   // "lc, adaptive:4, 8 rows + 1 % sparse"
  std::string scope() const;  // "tensor" or "8 rows", and "+ 1 % sparse"
  std::string slug() const;   // "lc-adaptive4-g8-sparse0.01", of file names
  friend bool operator==(const Variant&, const Variant&) = default;
};

// Bytes of one tensor in the weights' file.
struct TensorSize {
  std::string name, shape, encoding;
  std::int64_t weights = 0;
  std::int64_t index_bytes = 0, codebook_bytes = 0, scale_bytes = 0, sparse_bytes = 0,
               dense_bytes = 0;

  std::int64_t bytes() const {
    return index_bytes + codebook_bytes + scale_bytes + sparse_bytes + dense_bytes;
  }
};

// One finished compression, as measured.
struct Compression {
  Variant variant;
  std::string file, kernel;
  std::int64_t seed = 0, epochs = 0;  // epochs of training; 0: the method does not train
  double before = 0, direct = 0;      // the main metric, dense and after direct compression
  std::optional<double> before_bn;    // before batch norm was estimated anew, if it was
  Measured after;
  std::int64_t weights_bytes = 0, json_bytes = 0;  // of the files
  std::int64_t index_bytes = 0, codebook_bytes = 0, sparse_bytes = 0;
  std::int64_t dense_bytes = 0;  // whatever is no code
  // Of a coded weight; by entropy; of any number of the network, batch norm and biases included.
  double bits_per_weight = 0, entropy_bits = 0, effective_bits = 0;
  double ratio = 0;
  // Of the file, when its indices are entropy-coded; else index_bytes and bits_per_weight.
  std::int64_t file_index_bytes = 0;
  double file_bits_per_weight = 0;
  Timing dense_us, packed_us;        // latency at batch 1
  std::vector<std::string> decoded;  // weights that a kernel needs decoded whole
  double distance = 0;               // ||w - Delta||/||w|| of the last C step
  double seconds = 0;                // of the method
  std::vector<TensorSize> tensors;   // none in results of before they were kept
  std::optional<Machine> machine;

  bool entropy_coded() const { return file_index_bytes != index_bytes; }

  Json json() const;
  static Compression parse(const Json& json, const std::string& file);
};

// Samples for what looks at data without training on it: --calibration's images with labels that
// the reference draws, else training samples (of `batch` streams).
std::shared_ptr<const BatchSource> calibration_data(const Task& task, const Reference& reference,
                                                    std::uint64_t seed, std::int64_t batch);

// Throws Error, naming who needs it and which flag gives it, when the data lacks what one of the
// variants needs: something to train on, or samples to look at. Done before any work.
void require_data(const Task& task, const CompressRecipe& recipe,
                  const std::vector<Variant>& variants);

// The plan for `weights`, or for a freshly initialised network: what compress prints before any
// work. Throws Error for what cannot work.
std::string plan_text(const Task& task, const CompressRecipe& recipe, const Variant& variant,
                      const State* weights);

Run compression_run(const Session& session, const Task& task, const Reference& reference,
                    const CompressRecipe& recipe, const Variant& variant, std::uint64_t seed,
                    const SaveOptions& form = {});
// The compression that an earlier run left in --out; none without --resume.
std::optional<Compression> finished_compression(const Session& session, const Run& run);
// Compresses, hardens, saves NAME-METHOD-CODEBOOK-sSEED, loads that file and measures it; the
// histograms of its weights go to NAME.histograms.json.
Compression compress_reference(Session& session, const Task& task, const Reference& reference,
                               const CompressRecipe& recipe, const Variant& variant,
                               std::uint64_t seed, const SaveOptions& form = {});

}  // namespace tessera::experiment
