// The weight is decoded and arranged as the dense row asks, in scratch that all steps of a plan
// share. For weights that are a block of a larger layer's: what is larger than a block is decoded
// block by block by other rows.
#include "ops/conv/decoded_rows.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/program.h"
#include "core/text.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/conv.h"
#include "ops/conv/rows.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

// Decoding and arranging costs a weight as much as some pixels; rows that decode into registers'
// reach pay less.
constexpr std::int64_t kFewPixels = 1024;
constexpr std::int64_t kMostBytes = 4 << 20;  // of the weight, as decoded and as arranged

// The same convolution of a dense weight, in a graph of its own.
class DenseConv {
 public:
  explicit DenseConv(const KernelQuery& query)
      : query_(query), graph_(query.node.graph().ops()), fixed_(query.fixed.size(), false) {
    std::vector<Value> inputs;
    for (std::size_t i = 0; i < query.node.inputs().size(); ++i) {
      TensorType type = query.node.inputs()[i].type();
      if (i == 1) type.encoding = {};
      inputs.push_back(graph_.input(cat("in", i), type));
    }
    node_ = &graph_.add(query.node.op(), std::move(inputs), query.node.attrs());
  }
  KernelQuery query() const {
    return {*node_,
            query_.features,
            query_.threads,
            {reinterpret_cast<const bool*>(fixed_.data()), fixed_.size()},
            query_.bf16};
  }
  // The row that would be chosen, or null when it multiplies patches made panel by panel: for those
  // other rows decode less at a time.
  const KernelRow* row() const {
    const KernelQuery dense = query();
    for (const KernelRow& row : conv2d_dense_rows()) {
      if (missing_features(query_.features, row.needs).empty() && row.refuses(dense).empty())
        return row.name.find("_gemm_") == row.name.npos ? &row : nullptr;
    }
    return nullptr;
  }

 private:
  const KernelQuery& query_;
  Graph graph_;
  std::vector<char> fixed_;
  const Node* node_;
};

std::int64_t bytes_of(const std::optional<OperandPack>& pack, const TensorType& type) {
  std::int64_t bytes = 0;
  if (!pack) return 0;
  for (const Plane& plane : pack->encoding.planes(type.dtype, type.shape)) bytes += plane.bytes();
  return bytes;
}

std::string refuses(const KernelQuery& query) {
  const TensorType& weight = query.node.input(1).type();
  if (!weight.encoding.is_codebook()) return "the weight is dense";
  if (!weight.encoding.packed_layout().empty()) return "the weight is packed";
  if (weight.shape.numel() * 4 > kMostBytes) return "the weight is more than a block";
  const DenseConv dense(query);
  const KernelRow* row = dense.row();
  if (row == nullptr) return "no dense row reads all of a weight";
  const ConvGeometry g = conv_geometry(query.node);
  if (query.features.includes(kAvx2 | kAvx512) && g.groups == 1 && g.c >= kLayoutBlock &&
      g.out >= kLayoutBlock && g.n * g.oh * g.ow < kFewPixels &&
      row->name.find("_lanes_") == row->name.npos)
    return "few pixels share what is decoded";
  const KernelPlan plan = row->prepare(dense.query());
  const std::int64_t packed =
      plan.packs.size() > 1 ? bytes_of(plan.packs[1], dense.query().node.input(1).type()) : 0;
  if (weight.shape.numel() * 4 + packed > kMostBytes) return "the weight is more than a block";
  return {};
}

KernelPlan prepare(const KernelQuery& query) {
  const DenseConv dense(query);
  const KernelRow* row = dense.row();
  KernelPlan plan = row->prepare(dense.query());
  struct State {
    CodebookView view;
    CpuFeatures features;
    KernelFn pack, run;
    std::int64_t decoded_bytes, packed_bytes;
  };
  plan.packs.resize(std::max<std::size_t>(plan.packs.size(), 2));
  const TensorType& type = dense.query().node.input(1).type();
  auto state = std::make_shared<State>(
      State{view_of(query.node.input(1).type()), query.features, nullptr, std::move(plan.run),
            up64(type.shape.numel() * 4), up64(bytes_of(plan.packs[1], type))});
  std::int64_t scratch = plan.scratch_bytes;
  if (plan.packs[1]) {
    state->pack = plan.packs[1]->pack;
    scratch = std::max(scratch, plan.packs[1]->scratch_bytes);
    plan.packs[1] = std::nullopt;
  }
  plan.scratch_bytes = state->decoded_bytes + state->packed_bytes + scratch;
  plan.note = cat("decoded for ", row->name, plan.note.empty() ? "" : ", ", plan.note);
  plan.run = [state](const KernelArgs& args) {
    const State& s = *state;
    std::byte* packed = args.scratch + s.decoded_bytes;
    std::byte* rest = packed + s.packed_bytes;
    BufferRef weight;
    weight.plane[0] = args.scratch;
    decode_rows(bind_view(s.view, args.in(1)), 0, s.view.rows, weight.as<float>(), s.view.cols,
                s.features);
    if (s.pack) {
      BufferRef to;
      to.plane[0] = packed;
      s.pack({{&weight, 1}, {&to, 1}, rest});
      weight = to;
    }
    BufferRef inputs[kMaxProgramOperands + 2];
    std::copy(args.inputs.begin(), args.inputs.end(), inputs);
    inputs[1] = weight;
    s.run({{inputs, args.inputs.size()}, args.outputs, rest});
  };
  return plan;
}

// The dense rows that read a weight as a whole need as much.
constexpr KernelRow kRows[] = {{"conv2d_cb_decoded", kAvx2 | kAvx512, refuses, prepare}};

}  // namespace

std::span<const KernelRow> conv2d_decoded_rows() {
  return kRows;
}

}  // namespace tessera
