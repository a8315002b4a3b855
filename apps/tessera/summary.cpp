#include "apps/tessera/summary.h"

#include <cmath>

#include "core/text.h"
#include "report/table.h"

namespace tessera::apps {

namespace {

constexpr std::size_t kMostNames = 8;

bool is_product(const std::string& op) {
  return op.find("matmul") != op.npos || op.find("conv2d") != op.npos;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNames); ++i) {
    out += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kMostNames) out += cat(" and ", names.size() - kMostNames, " more");
  return out.empty() ? "none" : out;
}

}  // namespace

Summary summarize(const Graph& graph, const quant::SizeReport& sizes, const Plan& plan,
                  std::int64_t batch) {
  Summary out;
  for (const Node* node : graph.inputs()) {
    out.inputs.push_back(cat(printable(node->name()), " ", node->types()[0].text()));
  }
  for (const auto& [name, value] : graph.outputs()) {
    out.outputs.push_back(cat(printable(name), " ", value.type().text()));
  }
  for (const auto& tensor : sizes.tensors) {
    out.parameters += tensor.weights;
    out.coded += tensor.coded() ? tensor.weights : 0;
    out.indices += tensor.index_bytes;
    out.entries += tensor.codebook_bytes;
    out.scales += tensor.scale_bytes;
    out.sparse += tensor.sparse_bytes;
    out.dense += tensor.dense_bytes;
  }
  double flops = 0;
  for (const StepInfo& step : plan.steps()) {
    if (!step.prologue && is_product(step.op)) flops += step.flops;
  }
  out.macs = std::llround(flops / 2 / static_cast<double>(batch));
  return out;
}

std::string Summary::text(const quant::SizeReport& sizes) const {
  const auto times = [&](std::int64_t bytes) {
    return bytes == 0
               ? std::string("-")
               : fixed(static_cast<double>(sizes.dense_bytes()) / static_cast<double>(bytes), 2);
  };
  std::string kinds;
  for (const auto& [kind, bytes] :
       {std::pair("indices", indices), std::pair("entries", entries), std::pair("scales", scales),
        std::pair("sparse corrections", sparse), std::pair("dense", dense)}) {
    if (bytes > 0) kinds += cat(kinds.empty() ? "" : ", ", kind, " ", bytes);
  }
  std::string out = cat("  inputs      ", joined(inputs), "\n  outputs     ", joined(outputs),
                        "\n  parameters  ", parameters, ", ", coded, " of them coded\n");
  out += cat("  work        ", macs, " multiply-accumulates a sample\n");
  out += cat("  bytes       ", sizes.bytes(), kinds.empty() ? "" : ": " + kinds, "; f32 takes ",
             sizes.dense_bytes(), ", ", times(sizes.bytes()), " times as much\n");
  if (sizes.entropy_coded()) {
    out += cat("  in the file ", sizes.file_bytes(), ", indices entropy-coded to ",
               sizes.file_index_bytes(), "; f32 takes ", times(sizes.file_bytes()),
               " times as much\n");
  }
  if (coded > 0) {
    out += cat("  bits        ", fixed(sizes.bits_per_weight(), 4), " a coded weight, ",
               fixed(sizes.entropy_bits_per_weight(), 4), " by the entropy of the indices",
               sizes.entropy_coded()
                   ? cat(", ", fixed(sizes.file_bits_per_weight(), 4), " in the file")
                   : "",
               "\n");
  }
  return out;
}

Json Summary::json() const {
  return {{"inputs", inputs},       {"outputs", outputs},    {"parameters", parameters},
          {"coded_weights", coded}, {"macs", macs},          {"index_bytes", indices},
          {"entry_bytes", entries}, {"scale_bytes", scales}, {"sparse_bytes", sparse},
          {"dense_bytes", dense}};
}

}  // namespace tessera::apps
