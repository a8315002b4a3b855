// all_reduce, all_gather and joint_moments send what they have to every rank and wait for the
// others: they are for small values that the next node needs. all_reduce_start and
// all_reduce_finish are for gradients: the first sends and returns at once, the second waits and
// has the means. What is under way between them is a Reduction that belongs to the first one's
// kernel; the token says where it is.
#include "ops/communication/communication.h"

#include <cstring>
#include <memory>

#include "core/communicator.h"
#include "ops/communication/reduction.h"
#include "ops/op_common.h"

namespace tessera {

namespace {

constexpr std::int64_t kMostRanks = 65536;

void require_ranks(const InferArgs& args) {
  const std::int64_t ranks = args.attrs.integer("ranks");
  args.require(ranks >= 1 && ranks <= kMostRanks, "expected 1 to ", kMostRanks, " ranks, got ",
               ranks);
}

std::vector<TensorType> infer_same(const InferArgs& args) {
  require_ranks(args);
  args.require(!args.inputs.empty(), "needs a value");
  std::vector<TensorType> out;
  for (int i = 0; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require_dtype(i, DType::f32);
    out.push_back(args.in(i).dense());
  }
  return out;
}

std::vector<TensorType> infer_moments(const InferArgs& args) {
  args.require(args.shape(0) == args.shape(1), "mean ", args.in(0), " and variance ", args.in(1),
               " differ");
  return infer_same(args);
}

std::vector<TensorType> infer_gather(const InferArgs& args) {
  require_ranks(args);
  Shape shape = args.shape(0);
  args.require(shape.rank() >= 1, "expected rows, got ", args.in(0));
  shape[0] = shape[0] * Dim(args.attrs.integer("ranks"));
  return {{args.in(0).dtype, shape, {}}};
}

constexpr int kResidual = 0, kMeanResidual = 1, kValues = 2;  // operands of all_reduce_start

TensorType token() {
  return {DType::s64, {}, {}};
}

std::vector<TensorType> infer_start(const InferArgs& args) {
  require_ranks(args);
  const GradientCode code = GradientCode::parse(args.attrs.string("code"));
  std::int64_t total = 0;
  for (int i = kValues; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require(args.has(i), "operand ", i, " is not a value");
    args.require_dtype(i, DType::f32);
    args.require(!args.shape(i).is_symbolic(), args.in(i), " depends on the batch");
    total += args.shape(i).numel();
  }
  args.require(total > 0, "needs values");
  for (const std::int64_t i : args.attrs.integers("exact")) {
    args.require(i >= 0 && i < static_cast<std::int64_t>(args.inputs.size()) - kValues,
                 "there is no value ", i);
  }
  for (const int i : {kResidual, kMeanResidual}) {
    args.require(args.has(i) == code.loses(), code.text(), code.loses() ? " needs" : " has no",
                 " residuals");
    if (args.has(i))
      args.require(args.in(i) == f32({total}), "expected residuals ", f32({total}), ", got ",
                   args.in(i));
  }
  if (!code.loses()) return {token()};
  return {f32({total}), token()};
}

std::vector<TensorType> infer_finish(const InferArgs& args) {
  require_ranks(args);
  args.require(args.in(0) == token(), "expected the token of all_reduce_start, got ", args.in(0));
  std::vector<TensorType> out;
  std::int64_t total = 0;
  for (int i = 1; i < static_cast<int>(args.inputs.size()); ++i) {
    args.require_dtype(i, DType::f32);
    args.require(!args.shape(i).is_symbolic(), args.in(i), " depends on the batch");
    total += args.shape(i).numel();
    out.push_back(args.in(i).dense());
  }
  args.require(total > 0, "needs values");
  if (args.attrs.boolean("residual")) out.insert(out.begin(), f32({total}));
  return out;
}

// ---- reference: of one rank ----

void require_alone(const RefArgs& args) {
  check(args.node.attrs().integer("ranks") == 1, "[", args.node.op().name,
        "] the interpreter is one process, the graph is of ", args.node.attrs().integer("ranks"),
        " ranks");
}
void ref_same(const RefArgs& args) {
  require_alone(args);
  for (int i = 0; i < static_cast<int>(args.inputs.size()); ++i) args.out(i).v = args.in(i).v;
}
void ref_start(const RefArgs& args) {
  require_alone(args);
  if (args.outputs.size() == 2) args.out(0).v = args.in(kResidual).v;
}
void ref_finish(const RefArgs& args) {
  require_alone(args);
  const int skip = args.node.attrs().boolean("residual") ? 1 : 0;
  for (int i = 1; i < static_cast<int>(args.inputs.size()); ++i)
    args.out(i - 1 + skip).v = args.in(i).v;
}

// ---- kernels ----

std::string refuses_other_ranks(const KernelQuery& query) {
  if (auto reason = refuses_encoded(query); !reason.empty()) return reason;
  const std::int64_t made = query.node.attrs().integer("ranks"),
                     are = query.communicator ? query.communicator->size() : 1;
  return made == are ? std::string() : cat("made for ", made, " ranks, there are ", are);
}

std::int64_t numel(const TensorType& type) {
  return type.shape.numel();
}

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(numel(type) * size_of(type.dtype));
}

// All values of all ranks in one exchange.
class Everything {
 public:
  Everything(Communicator& ranks, const Node& node) : ranks_(ranks) {
    for (const Value v : node.inputs()) bytes_.push_back(bytes_of(v.type()));
    std::size_t total = 0;
    for (const std::size_t n : bytes_) total += n;
    mine_.resize(total);
    all_.resize(total * static_cast<std::size_t>(ranks.size()));
    for (int r = 0; r < ranks.size(); ++r) {
      parts_.emplace_back(mine_);
      places_.push_back(
          std::span(all_).subspan(static_cast<std::size_t>(r) * mine_.size(), mine_.size()));
    }
  }
  void gather(const KernelArgs& args) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      std::memcpy(mine_.data() + at, args.inputs[i].plane[0], bytes_[i]);
      at += bytes_[i];
    }
    const auto pending = ranks_.exchange(ranks_.next_tag(), parts_, places_);
    ranks_.wait(*pending);
  }
  const std::byte* of(int rank) const { return places_[static_cast<std::size_t>(rank)].data(); }
  int size() const { return ranks_.size(); }

 private:
  Communicator& ranks_;
  std::vector<std::size_t> bytes_;
  std::vector<std::byte> mine_, all_;
  std::vector<std::span<const std::byte>> parts_;
  std::vector<std::span<std::byte>> places_;
};

KernelPlan prepare_alone(const Node& node) {
  std::vector<std::size_t> bytes;
  for (const TensorType& type : node.types()) bytes.push_back(bytes_of(type));
  KernelPlan plan;
  plan.run = [bytes](const KernelArgs& args) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      std::memcpy(args.outputs[i].plane[0], args.inputs[i].plane[0], bytes[i]);
  };
  return plan;
}

KernelPlan prepare_all_reduce(const KernelQuery& query) {
  if (query.communicator == nullptr) return prepare_alone(query.node);
  KernelPlan plan;
  plan.in_place = true;
  const auto all = std::make_shared<Everything>(*query.communicator, query.node);
  std::vector<std::int64_t> sizes;
  for (const TensorType& type : query.node.types()) sizes.push_back(numel(type));
  plan.run = [all, sizes](const KernelArgs& args) {
    all->gather(args);
    std::size_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); at += static_cast<std::size_t>(4 * sizes[i++])) {
      auto* out = args.outputs[i].as<float>();
      for (std::int64_t e = 0; e < sizes[i]; ++e) {
        double sum = 0;
        for (int r = 0; r < all->size(); ++r)
          sum += static_cast<double>(reinterpret_cast<const float*>(all->of(r) + at)[e]);
        out[e] = static_cast<float>(sum / all->size());
      }
    }
  };
  return plan;
}

KernelPlan prepare_moments(const KernelQuery& query) {
  if (query.communicator == nullptr) return prepare_alone(query.node);
  KernelPlan plan;
  plan.in_place = true;
  const auto all = std::make_shared<Everything>(*query.communicator, query.node);
  const std::int64_t n = numel(query.node.types()[0]);
  plan.run = [all, n](const KernelArgs& args) {
    all->gather(args);
    for (std::int64_t c = 0; c < n; ++c) {
      double mean = 0, variance = 0;
      for (int r = 0; r < all->size(); ++r)
        mean += static_cast<double>(reinterpret_cast<const float*>(all->of(r))[c]);
      mean /= all->size();
      for (int r = 0; r < all->size(); ++r) {
        const auto* own = reinterpret_cast<const float*>(all->of(r));
        const double apart = static_cast<double>(own[c]) - mean;
        variance += static_cast<double>(own[n + c]) + apart * apart;
      }
      args.out(0).as<float>()[c] = static_cast<float>(mean);
      args.out(1).as<float>()[c] = static_cast<float>(variance / all->size());
    }
  };
  return plan;
}

KernelPlan prepare_gather(const KernelQuery& query) {
  if (query.communicator == nullptr) return prepare_alone(query.node);
  KernelPlan plan;
  const std::size_t bytes = bytes_of(query.node.input(0).type());
  const auto all = std::make_shared<Everything>(*query.communicator, query.node);
  plan.run = [all, bytes](const KernelArgs& args) {
    all->gather(args);
    std::memcpy(args.out().plane[0], all->of(0), bytes * static_cast<std::size_t>(all->size()));
  };
  return plan;
}

KernelPlan prepare_start(const KernelQuery& query) {
  const Node& node = query.node;
  const GradientCode code = GradientCode::parse(node.attrs().string("code"));
  const bool loses = code.loses();
  const std::size_t residual_bytes = loses ? bytes_of(node.types()[0]) : 0;
  std::shared_ptr<Reduction> bucket;
  std::vector<std::int64_t> sizes;
  for (const Value v : node.inputs().subspan(kValues)) sizes.push_back(numel(v.type()));
  KernelPlan plan;
  if (query.communicator != nullptr) {
    std::vector<bool> exact(sizes.size());
    for (const std::int64_t i : node.attrs().integers("exact"))
      exact[static_cast<std::size_t>(i)] = true;
    bucket = std::make_shared<Reduction>(*query.communicator, sizes, code, exact);
    plan.note = cat(4 * bucket->total(), " bytes as ", code.text());
  }
  plan.in_place = bucket != nullptr;  // the residual is written when all has been read
  plan.run = [bucket, loses, residual_bytes, n = sizes.size()](const KernelArgs& args) {
    if (bucket) {
      std::vector<const float*> values;
      for (std::size_t i = 0; i < n; ++i)
        values.push_back(args.inputs[i + kValues].as<const float>());
      if (loses) {
        bucket->start(values, args.in(kResidual).as<const float>(),
                      args.in(kMeanResidual).as<const float>(), args.out(0).as<float>());
      } else {
        bucket->start(values);
      }
    } else if (loses) {
      std::memcpy(args.out(0).plane[0], args.in(kResidual).plane[0], residual_bytes);
    }
    Reduction* const where = bucket.get();
    std::memcpy(args.outputs.back().plane[0], &where, sizeof(where));
  };
  return plan;
}

// The token is a place in memory: it may come from nowhere but the other op, and alone, which is
// how graphs of files run, nobody reads it.
std::string refuses_finish(const KernelQuery& query) {
  if (auto reason = refuses_other_ranks(query); !reason.empty()) return reason;
  if (query.communicator == nullptr || &query.node.input(0).node->op() == &kAllReduceStart)
    return {};
  return "the token is not that of all_reduce_start";
}

KernelPlan prepare_finish(const KernelQuery& query) {
  const Node& node = query.node;
  const bool residual = node.attrs().boolean("residual");
  KernelPlan plan;
  if (query.communicator == nullptr) {
    std::vector<std::size_t> bytes;
    for (const Value v : node.inputs().subspan(1)) bytes.push_back(bytes_of(v.type()));
    const std::size_t lost = residual ? bytes_of(node.types()[0]) : 0;
    plan.run = [residual, bytes, lost](const KernelArgs& args) {
      if (residual) std::memset(args.out(0).plane[0], 0, lost);
      const auto outputs = args.outputs.subspan(residual ? 1 : 0);
      for (std::size_t i = 0; i < bytes.size(); ++i)
        std::memcpy(outputs[i].plane[0], args.inputs[i + 1].plane[0], bytes[i]);
    };
    return plan;
  }
  plan.in_place = true;  // values were taken when the bucket was sent
  plan.run = [residual](const KernelArgs& args) {
    Reduction* bucket = nullptr;
    std::memcpy(&bucket, args.in(0).plane[0], sizeof(bucket));
    std::vector<float*> values;
    for (const BufferRef& out : args.outputs.subspan(residual ? 1 : 0))
      values.push_back(out.as<float>());
    bucket->finish(values, residual ? args.out(0).as<float>() : nullptr);
  };
  return plan;
}

using Prepare = KernelPlan (*)(const KernelQuery&);
using Refuses = std::string (*)(const KernelQuery&);
template <Prepare prepare, Refuses refuses = refuses_other_ranks>
constexpr KernelRow kRows[] = {{"communicator", kScalar, refuses, prepare}};

std::vector<Value> grad_all_reduce(const GradArgs& args) {
  std::vector<Value> out(args.node.inputs().size()), given;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (args.grads[i]) given.push_back(args.grads[i]);
  }
  if (given.empty()) return out;
  const std::vector<Value> reduced = ops::all_reduce(given, args.node.attrs().integer("ranks"));
  std::size_t next = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (args.grads[i]) out[i] = reduced[next++];
  }
  return out;
}

// ---- samples: one rank ----

std::optional<Sample> sample_values(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  Sample out{{}, {{"ranks", std::int64_t{1}}}};
  for (int i = 0; i <= index % 3; ++i)
    out.inputs.push_back({TensorType{DType::f32, sample_shape(rng, index), {}}});
  return out;
}
std::optional<Sample> sample_moments(Rng& rng, int index) {
  auto out = sample_values(rng, index);
  if (out) out->inputs = {out->inputs[0], out->inputs[0]};
  return out;
}
std::optional<Sample> sample_rows(Rng& rng, int index) {
  auto out = sample_values(rng, index);
  if (out) out->inputs.resize(1);
  return out;
}
std::optional<Sample> sample_start(Rng& rng, int index) {
  auto out = sample_values(rng, index);
  if (!out) return out;
  out->inputs.insert(out->inputs.begin(), 2, {.type = f32({}), .absent = true});
  return out;
}
std::optional<Sample> sample_finish(Rng& rng, int index) {
  auto out = sample_values(rng, index);
  if (out) out->inputs.insert(out->inputs.begin(), {.type = token(), .values = {12345}});
  return out;
}

}  // namespace

const OpDef kAllReduce{.name = "all_reduce",
                       .doc = "the means of values over all ranks",
                       .inputs = {{.name = "value", .variadic = true}},
                       .attrs = {{"ranks", AttrKind::integer, {}}},
                       .traits = kCommunicates,
                       .infer = infer_same,
                       .grad = grad_all_reduce,
                       .ref = ref_same,
                       .sample = sample_values,
                       .rows = kRows<prepare_all_reduce>};
const OpDef kAllReduceStart{
    .name = "all_reduce_start",
    .doc = "sends a bucket of gradients as `code`: what that loses, and where it is under way",
    .inputs = {{.name = "residual", .differentiable = false, .optional = true},
               {.name = "mean residual", .differentiable = false, .optional = true},
               {.name = "value", .differentiable = false, .variadic = true}},
    .attrs = {{"ranks", AttrKind::integer, {}},
              {"code", AttrKind::string, std::string("f32")},
              {"exact", AttrKind::integers, Ints()}},
    .traits = kCommunicates | kStartsEarly,
    .infer = infer_start,
    .ref = ref_start,
    .sample = sample_start,
    .rows = kRows<prepare_start>};
const OpDef kAllReduceFinish{
    .name = "all_reduce_finish",
    .doc = "the means of a bucket over all ranks, once they are there",
    .inputs = {{.name = "token", .differentiable = false},
               {.name = "value", .differentiable = false, .variadic = true}},
    .attrs = {{"ranks", AttrKind::integer, {}}, {"residual", AttrKind::boolean, false}},
    .traits = kCommunicates | kEndsLate,
    .infer = infer_finish,
    .ref = ref_finish,
    .sample = sample_finish,
    .rows = kRows<prepare_finish, refuses_finish>};
const OpDef kAllGather{.name = "all_gather",
                       .doc = "rows of all ranks, one rank after the other",
                       .inputs = {{.name = "x", .differentiable = false}},
                       .attrs = {{"ranks", AttrKind::integer, {}}},
                       .traits = kCommunicates,
                       .infer = infer_gather,
                       .ref = ref_same,
                       .sample = sample_rows,
                       .rows = kRows<prepare_gather>};
const OpDef kJointMoments{.name = "joint_moments",
                          .doc = "mean and variance over all ranks of those of each",
                          .inputs = {{.name = "mean", .differentiable = false},
                                     {.name = "variance", .differentiable = false}},
                          .attrs = {{"ranks", AttrKind::integer, {}}},
                          .traits = kCommunicates,
                          .infer = infer_moments,
                          .ref = ref_same,
                          .sample = sample_moments,
                          .rows = kRows<prepare_moments>};

namespace ops {

namespace {
std::vector<Value> outputs_of(const Node& node) {
  std::vector<Value> out;
  for (int i = 0; i < static_cast<int>(node.types().size()); ++i) out.push_back(node.output(i));
  return out;
}
}  // namespace

std::vector<Value> all_reduce(const std::vector<Value>& values, std::int64_t ranks) {
  return outputs_of(*make_node(kAllReduce, values, {{"ranks", ranks}}).node);
}

Value all_reduce(Value value, std::int64_t ranks) {
  return all_reduce(std::vector<Value>{value}, ranks).front();
}

Value all_gather(Value x, std::int64_t ranks) {
  return make_node(kAllGather, {x}, {{"ranks", ranks}});
}

std::vector<Value> joint_moments(Value mean, Value variance, std::int64_t ranks) {
  return outputs_of(*make_node(kJointMoments, {mean, variance}, {{"ranks", ranks}}).node);
}

Reduced all_reduce_bucket(Graph& graph, const Bucket& bucket, std::int64_t ranks) {
  std::vector<Value> inputs = {bucket.residual, bucket.mean_residual};
  inputs.insert(inputs.end(), bucket.values.begin(), bucket.values.end());
  const Node& start =
      graph.add(kAllReduceStart, inputs,
                {{"ranks", ranks}, {"code", bucket.code.text()}, {"exact", Ints(bucket.exact)}});
  const bool loses = bucket.code.loses();
  inputs.erase(inputs.begin());
  inputs[0] = start.output(loses ? 1 : 0);
  const Node& finish = graph.add(kAllReduceFinish, inputs, {{"ranks", ranks}, {"residual", loses}});
  Reduced out{outputs_of(finish)};
  if (loses) {
    out.residual = start.output(0);
    out.mean_residual = out.values.front();
    out.values.erase(out.values.begin());
  }
  return out;
}

}  // namespace ops
}  // namespace tessera
