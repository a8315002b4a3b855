// What an operator is. Everything the framework knows about an op hangs off its OpDef: printing,
// parsing, verification, gradients, reference, tests, benches and kernel selection walk these.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cpu.h"
#include "core/graph.h"
#include "core/rewrite.h"
#include "core/rng.h"

namespace tessera {

class Communicator;
class Tensor;

// Passes ask for these, never for op names.
enum Trait : std::uint32_t {
  kLeaf = 1u << 0,         // input, param, state, constant
  kElementwise = 1u << 1,  // f32 in, f32 out, numpy broadcasting, has a Scalar function
  kCommutative = 1u << 2,  // inputs 0 and 1 may be exchanged
  kMovement = 1u << 3,     // only moves elements: reshape, transpose, slice, concat ...
  kReduction = 1u << 4,
  kRandom = 1u << 5,    // value depends on (seed, step, id): merge only when all three agree
  kView = 1u << 6,      // output shares the buffer of input 0 (reshape) or binds planes (codebook)
  kEpilogue = 1u << 7,  // may carry a Program applied to its output while it is hot
  kPrologue = 1u << 9,  // may carry a Program that makes its first operand, `prologue`
  kStorage = 1u << 8,   // changes how a value is kept, not what it is: codebook, decode, repack
  // Talks to the other ranks: done once in every run, in the same order by all of them, so it is
  // never folded and never in a plan's prologue.
  kCommunicates = 1u << 10,
  kStartsEarly = 1u << 11,  // of those: run as soon as its operands are there
  kEndsLate = 1u << 12,     // of those: waits, so it runs when nothing else can
};

struct InputDef {
  std::string_view name;
  bool differentiable = true;
  bool optional = false;
  bool encoded = false;   // the op's rows may take this operand as codebook storage
  bool image = false;     // the op's rows may take this operand in an image layout
  bool variadic = false;  // last input only: any number
};

struct AttrDef {
  std::string_view name;
  AttrKind kind;
  std::optional<AttrValue> fallback;  // required when empty
};

struct InferArgs {
  const OpSet& ops;  // of the graph
  const OpDef& op;
  std::span<const TensorType> inputs;  // of an absent optional input f32[]: test with has(i)
  std::span<const bool> present;
  const Attrs& attrs;
  bool has(int i) const {
    return static_cast<std::size_t>(i) < inputs.size() && present[static_cast<std::size_t>(i)];
  }
  const TensorType& in(int i) const { return inputs[static_cast<std::size_t>(i)]; }
  const Shape& shape(int i) const { return in(i).shape; }
  // Throws "[op] message".
  template <class... Args>
  void require(bool condition, const Args&... message) const;
  void require_rank(int i, int rank) const;
  void require_dtype(int i, DType dtype) const;
};

struct GradArgs {
  const Node& node;
  std::span<const Value> grads;  // cotangent of each output, dense; none where nothing flows
  Value in(int i) const { return node.input(i); }
  Value out(int i = 0) const { return node.output(i); }
  Value grad(int i = 0) const { return grads[static_cast<std::size_t>(i)]; }
  // Whether input i needs a gradient (its subgraph holds a differentiated leaf).
  std::span<const bool> wanted;
  bool wants(int i) const { return wanted[static_cast<std::size_t>(i)]; }
};

// A value in the f64 reference interpreter: logical elements, whatever the encoding.
struct RefTensor {
  TensorType type;
  std::vector<double> v;
  std::int64_t numel() const { return static_cast<std::int64_t>(v.size()); }
};

struct RefArgs {
  const Node& node;
  std::span<const RefTensor* const> inputs;  // nullptr for an absent optional input
  std::span<RefTensor> outputs;              // typed and zero-filled
  const RefTensor& in(int i) const { return *inputs[static_cast<std::size_t>(i)]; }
  RefTensor& out(int i = 0) const { return outputs[static_cast<std::size_t>(i)]; }
};

// A random valid case for tests and benches: types of the inputs, attributes, and value ranges in
// which the op is smooth enough for finite differences.
struct SampleInput {
  TensorType type;
  double low = -1, high = 1;
  // Explicit values (indices, labels, seeds); random in [low, high] when empty.
  std::vector<double> values = {};
  bool absent = false;
};
struct Sample {
  std::vector<SampleInput> inputs;
  Attrs attrs;
};

// ---- kernels ----

// The buffers of one value, in the order of Encoding::planes.
struct BufferRef {
  std::byte* plane[3] = {nullptr, nullptr, nullptr};
  template <class T>
  T* as(int p = 0) const {
    return reinterpret_cast<T*>(plane[p]);
  }
};

struct KernelArgs {
  std::span<const BufferRef> inputs;
  std::span<const BufferRef> outputs;
  std::byte* scratch;  // KernelPlan::scratch_bytes, 64-byte aligned
  const BufferRef& in(int i) const { return inputs[static_cast<std::size_t>(i)]; }
  const BufferRef& out(int i = 0) const { return outputs[static_cast<std::size_t>(i)]; }
};
using KernelFn = std::function<void(const KernelArgs&)>;

// What a row is asked: the node with bound shapes, and what the machine offers.
struct KernelQuery {
  const Node& node;
  CpuFeatures features;
  int threads = 1;
  // Whether input i is fixed between steps (a parameter of an inference plan): packing it is free.
  std::span<const bool> fixed;
  bool bf16 = false;  // products may round their operands to bf16 (CompileOptions::bf16)
  bool int8 = false;  // products with codebooks may round theirs to bytes (CompileOptions::int8)
  Communicator* communicator = nullptr;  // CompileOptions::communicator
  // The layout that everybody who reads the node's results would like them in; "": no matter.
  std::string_view wanted = {};
  bool is_fixed(int i) const { return fixed[static_cast<std::size_t>(i)]; }
};

// How a row wants an operand when it is not as stored: repacked into `encoding` by `pack`, which
// gets the operand as stored in inputs[0] and writes plane 0 of outputs[0].
struct OperandPack {
  Encoding encoding;
  KernelFn pack;
  std::int64_t scratch_bytes = 0;
};

struct KernelPlan {
  KernelFn run;
  std::int64_t scratch_bytes = 0;
  // Per input; empty optional means "as it is, or dense". Shorter vectors mean the same.
  std::vector<std::optional<OperandPack>> packs = {};
  // The image layout of the outputs (an op with an attribute `layout`); empty: dense.
  std::string layout = {};
  // An output may share the buffer of an input of the same type. Ops with kEpilogue promise it for
  // the operands of their program only.
  bool in_place = false;
  double flops = 0;  // for traces and benches
  std::string note = {};
};

// One kernel. Rows of an op are tried in order, best first, plain loops last.
struct KernelRow {
  std::string_view name;
  CpuFeatures needs;
  // "" when the row can serve the query, else why not, in a few words.
  std::string (*refuses)(const KernelQuery&);
  KernelPlan (*prepare)(const KernelQuery&);
};

// ---- the definition ----

struct OpDef {
  std::string_view name;
  std::string_view doc;  // one line: the formula
  std::vector<InputDef> inputs = {};
  std::vector<AttrDef> attrs = {};
  std::uint32_t traits = 0;
  std::vector<TensorType> (*infer)(const InferArgs&) = nullptr;
  // Gradients of the inputs, built with the public builders; none where not differentiable.
  std::vector<Value> (*grad)(const GradArgs&) = nullptr;
  // The op in terms of others: gradient, reference and kernels for free.
  std::vector<Value> (*decompose)(const Node&, std::span<const Value>) = nullptr;
  void (*ref)(const RefArgs&) = nullptr;
  // Operations of ref on a bound node, where they are more than a few for each element of operands
  // and results.
  double (*work)(const Node&) = nullptr;
  // Storage ops that make a dense value of planes: throws Error when the planes, the node's inputs
  // as a file holds them, mean nothing to it. Takes no memory to speak of, whatever the node's
  // shape.
  void (*check_planes)(const Node&, std::span<const Tensor* const>) = nullptr;
  std::optional<Sample> (*sample)(Rng&, int index) = nullptr;
  // kElementwise only: the scalar function, in f64.
  double (*scalar)(const double* args) = nullptr;
  std::span<const KernelRow> rows = {};
  // The layout in which a row would like operand i, could its producer leave it so; "": no matter.
  // Asked before layouts are chosen, readers first.
  std::string_view (*wants)(const KernelQuery&, int i) = nullptr;

  bool has(std::uint32_t t) const { return (traits & t) == t; }
  const InputDef& input_def(std::size_t i) const { return inputs[std::min(i, inputs.size() - 1)]; }
};

// The few ops that core's passes must create.
struct CoreOps {
  const OpDef* add = nullptr;     // (a, b) -> a + b
  const OpDef* decode = nullptr;  // T@cb -> T
  const OpDef* repack = nullptr;  // (w) {encoding}: T@e -> T@packed
  const OpDef* fused = nullptr;   // (inputs...) {program}
};

// The list of ops a graph may use. Explicit: nothing registers itself.
class OpSet {
 public:
  OpSet(std::span<const OpDef* const> ops, const CoreOps& core);
  const OpDef* find(std::string_view name) const;  // nullptr when unknown
  // Adds a user's op; `op` must outlive the set. Throws Error when the name is taken.
  void add(const OpDef& op);
  // Whether the set was made with the op, rather than given it by add().
  bool is_built_in(const OpDef& op) const;
  const std::vector<const OpDef*>& all() const { return ops_; }
  const CoreOps& core() const { return core_; }
  RuleSet& rules() { return rules_; }
  const RuleSet& rules() const { return rules_; }

 private:
  std::vector<const OpDef*> ops_;
  std::size_t built_in_ = 0;  // of ops_, the first ones
  CoreOps core_;
  RuleSet rules_;
};

// Leaves, defined by core: they are the structure of a graph.
extern const OpDef kInput, kParam, kState, kConstant;
// The value of a constant node.
std::optional<double> constant_value(Value value);

template <class... Args>
void InferArgs::require(bool condition, const Args&... message) const {
  if (!condition) [[unlikely]]
    fail("[", op.name, "] ", message...);
}

}  // namespace tessera
