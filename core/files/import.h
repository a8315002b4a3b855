// Weights of other programs: tensors of a file into a State, by a map of names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/files/safetensors.h"
#include "core/state.h"

namespace tessera {

struct ImportOptions {
  // "theirs=ours" names one tensor; "/regex/=ours" all tensors whose whole name matches, where ours
  // may hold $1 to $9. ":t" at the end transposes a tensor of rank 2; ":parts(2,0,1,3)" behind it
  // cuts the first axis into so many equal parts and takes them in this order (gates of an LSTM).
  // The first rule that matches a name counts; a name that none matches keeps its name. Examples:
  //   "dense_1.kernel=fc1.weight:t"   "/net\\.(\\d+)\\.w/=fc$1.weight"
  std::vector<std::string> rules = {};
  // Whole names (regex) that need no partner: tensors of the file that are not wanted (in theirs),
  // and ours that stay as they are when the file lacks them.
  std::vector<std::string> ignored = {}, optional = {};
  // Anything else missing, unused or of the wrong type is an Error.
  bool strict = true;

  void validate() const;  // throws Error for a malformed rule or pattern
};

struct ImportReport {
  struct Match {
    std::string theirs, ours;
    std::string type;         // as stored in the file
    std::string change = {};  // "transposed", "parts 2,0,1,3", both or none
  };
  struct Mismatch {
    std::string theirs, ours;
    std::string cause;
  };
  std::string file;
  std::string sha256;  // of what was read: of the safetensors file that holds just these tensors
  std::vector<Match> matched;
  std::vector<std::string> missing;        // ours, not in the file: kept as they were
  std::vector<std::string> unused;         // theirs, without a place in the state
  std::vector<Mismatch> mismatched;        // not imported
  std::vector<std::string> ignored, kept;  // theirs and ours, as the options allow
  // Theirs that say nothing about the network, left out without being asked: PyTorch's batch norms
  // count their batches in "num_batches_tracked".
  std::vector<std::string> counters;
  std::vector<std::string> idle;  // rules and patterns of the options that match nothing

  bool complete() const { return missing.empty() && unused.empty() && mismatched.empty(); }
  // A summary line, then a line per tensor that needs attention.
  std::string text() const;
};

// Everything in a file of weights: safetensors, or numpy's .npz (core/files/npz.h), either of them
// possibly inside .xz. The content decides, not the name. Throws Error when it cannot be read, and
// when it would take more memory than core/memory_rule.h lets it. For the formats of
// core/files/foreign.h the message says how to convert the file.
TensorMap read_weights(const std::filesystem::path& path);

// Replaces the tensors of `state` (which says what is wanted: names, dtypes, shapes) by those of
// the file. Floating-point tensors are converted to the dtype wanted; shapes must be equal, after
// what a rule asks for. Throws Error when the file cannot be read, a rule is
// malformed, two tensors claim one name, a value is NaN, or, when strict, the report is not
// complete; the state is then unchanged.
ImportReport import_weights(const std::filesystem::path& path, State& state,
                            const ImportOptions& options = {});
// The same of tensors that were read from `file`, which names them in messages.
ImportReport import_tensors(const TensorMap& tensors, const std::string& file, State& state,
                            const ImportOptions& options = {});

}  // namespace tessera
