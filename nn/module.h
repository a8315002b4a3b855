// Modules: what models are written with. A module adds nodes to a graph; its parameters live by
// name path ("fc1.weight") in a State, so train, eval and packed graphs share them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/graph.h"
#include "core/rng.h"
#include "core/state.h"
#include "ops/build.h"

namespace tessera::nn {

// How a parameter starts. Values are a pure function of (seed, name), so adding a layer elsewhere
// does not change them.
class Init {
 public:
  static Init constant(float value);
  static Init uniform(float low, float high);
  static Init normal(float stddev);
  // U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out))  (Glorot & Bengio 2010)
  static Init xavier_uniform(double gain = 1.0);
  // U(-a, a) with a = gain * sqrt(3 / fan_in)  (He et al. 2015: gain = sqrt(2) before ReLU)
  static Init kaiming_uniform(double gain);
  // N(0, gain^2 / fan); fan out keeps the size of gradients instead of that of activations.
  enum class Fan { in, out };
  static Init kaiming_normal(double gain, Fan fan = Fan::in);

  // These values, of the parameter's shape.
  static Init values(Tensor tensor);

  // Fan-in is the row length of the shape, fan-out the number of rows times the receptive field.
  Tensor operator()(const Shape& shape, std::uint64_t seed, std::string_view name) const;

 private:
  using Draw = std::function<float(Rng&, double fan_in, double fan_out)>;
  explicit Init(Draw draw) : draw_(std::move(draw)) {}
  Draw draw_;
  Tensor values_ = {};  // instead of draws
};

// PyTorch's default for the weight and bias of Linear and Conv2d: U(-1/sqrt(fan_in),
// 1/sqrt(fan_in)).
Init pytorch_default(std::int64_t fan_in);

// A parameter, or a state that is not trained.
struct ParameterSpec {
  std::string name;
  TensorType type;
  Init init;
  bool frozen = false;  // a parameter that the trainer leaves as it is
};

// A batch-norm that was left out because the convolution before it has taken over its scale.
struct FoldedNorm {
  std::string weight;  // of the convolution
  std::string norm;    // path of the batch-norm
  double epsilon;
};

// What a module's forward works in: the graph being built, and the path of names above it.
class Scope {
 public:
  explicit Scope(Graph& graph, bool training = false) : graph_(graph), training_(training) {}
  Scope(const Scope&) = delete;

  Graph& graph() { return graph_; }
  bool training() const { return training_; }
  const std::string& path() const { return path_; }
  // Scalar s64 inputs "seed" and "step" that random ops are keyed by.
  Value seed();
  Value step();
  // How many ranks (core/communicator.h) make the rows of one joint batch, and which of them are
  // made here; scalar s64 input "rank".
  std::int64_t ranks() const { return ranks_; }
  void set_ranks(std::int64_t ranks) { ranks_ = ranks; }
  ops::JointRows joint_rows();

  // A trainable parameter "path.name". Throws Error when another layer has it, unless tied().
  Value param(std::string_view name, const Shape& shape, const Init& init);
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  // A state "path.name" that no gradient changes, such as running statistics. In training a module
  // may give it one new value a step; every read of that step sees the old one.
  Value state(std::string_view name, const Shape& shape, const Init& init);
  const std::vector<ParameterSpec>& states() const { return states_; }
  void update(Value state, Value value);  // throws Error outside training
  // A value "path.name", f32 [batch, sample...], that is carried from batch to batch: zeros where
  // an epoch or a stream begins, then what carry() was given in the batch before. It is an input
  // and an output of the graph (carried_inputs), so no gradient goes back through it: truncated
  // backpropagation through time.
  Value carried(std::string_view name, const Shape& sample);
  void carry(Value carried, Value next);  // throws Error where the types differ
  // The same under their whole names, wherever the path stands: what objectives and quantizers add
  // beside a parameter ("fc1.weight.step").
  Value global_param(const std::string& name, const Shape& shape, const Init& init);
  Value global_state(const std::string& name, const Shape& shape, const Init& init);

  // What stands between a layer and its weights (parameters of rank 2 or more; `name` is whole), or
  // between a layer and the activations it multiplies them with (`name` is the weight's): a
  // quantizer, say. Returns the value to use. Null: nothing.
  using Hook = std::function<Value(Scope& scope, const std::string& name, Value value)>;
  void set_weight_hook(Hook hook) { weight_hook_ = std::move(hook); }
  void set_input_hook(Hook hook) { input_hook_ = std::move(hook); }
  const Hook& input_hook() const { return input_hook_; }
  // What a layer with weights calls on what it multiplies them with; recurrent ones for each step.
  Value layer_input(Value x, std::string_view weight = "weight");
  // The same behind every activation function (`name` is the path of its module), for all that
  // read its result: layers, pooling and the shortcuts of residual blocks.
  void set_activation_hook(Hook hook) { activation_hook_ = std::move(hook); }
  const Hook& activation_hook() const { return activation_hook_; }
  Value activation(Value y);  // what an activation function calls on its result

  // While set, a batch-norm right after a convolution becomes its bias alone (nn/fold.h).
  void set_folding(bool on) { folding_ = on; }
  bool folding() const { return folding_; }
  void add_folded(FoldedNorm norm) { folded_.push_back(std::move(norm)); }
  const std::vector<FoldedNorm>& folded() const { return folded_; }

  // Runs fn, a layer, with `name` appended to the path; "" leaves the path as it is.
  template <class Fn>
  auto in(std::string_view name, Fn&& fn) {
    const Restore restore(*this);
    path_ = full_name(name);
    layer_ = ++layers_;
    return fn();
  }
  // Runs fn, whose layers may have parameters and states that layers before them have, and then
  // read the same ones.
  template <class Fn>
  auto tied(Fn&& fn) {
    const Restore restore(*this);
    tied_ = true;
    return fn();
  }

 private:
  // Puts back where the scope stood.
  class Restore {
   public:
    explicit Restore(Scope& scope)
        : scope_(scope), path_(scope.path_), layer_(scope.layer_), tied_(scope.tied_) {}
    ~Restore() {
      scope_.path_ = std::move(path_);
      scope_.layer_ = layer_;
      scope_.tied_ = tied_;
    }

   private:
    Scope& scope_;
    std::string path_;
    int layer_;
    bool tied_;
  };

  std::string full_name(std::string_view name) const;
  void own(const std::string& name);
  Value leaf(const std::string& name, const Shape& shape, const Init& init, bool trained);

  Graph& graph_;
  bool training_, folding_ = false, tied_ = false;
  std::int64_t ranks_ = 1;
  std::string path_;
  int layer_ = 0, layers_ = 0;         // numbers of calls of in(): where the scope stands, so far
  std::map<std::string, int> owners_;  // the layer that has a parameter or state
  std::vector<ParameterSpec> parameters_, states_;
  std::vector<FoldedNorm> folded_;
  Hook weight_hook_, input_hook_, activation_hook_;
};

class Module {
 public:
  virtual ~Module() = default;
  virtual Value forward(Scope& scope, Value x) const = 0;
};

template <class M>
concept IsModule = std::is_base_of_v<Module, std::decay_t<M>>;
template <class A, class B>
concept IsSame = std::is_same_v<std::decay_t<A>, B>;

// A module by value or already shared, as a shared one.
template <class M>
std::shared_ptr<const Module> share(M&& module) {
  if constexpr (IsModule<M>) {
    return std::make_shared<std::decay_t<M>>(std::forward<M>(module));
  } else {
    return std::forward<M>(module);
  }
}

// y = x W^T + b: x f32 [n, in], W [out, in], b [out].
class Linear final : public Module {
 public:
  // Default initialisation: pytorch_default.
  Linear(std::int64_t in, std::int64_t out, bool bias = true);
  Linear(std::int64_t in, std::int64_t out, bool bias, Init weight_init, Init bias_init);
  Value forward(Scope& scope, Value x) const override;

 private:
  std::int64_t in_, out_;
  bool bias_;
  Init weight_init_, bias_init_;
};

// A module made of one function of a value.
class Function : public Module {
 public:
  explicit Function(Value (*fn)(Value)) : fn_(fn) {}
  Value forward(Scope&, Value x) const override { return fn_(x); }

 private:
  Value (*fn_)(Value);
};
// One that is an activation function: Scope's activation hook stands behind it.
class Activation : public Module {
 public:
  explicit Activation(Value (*fn)(Value)) : fn_(fn) {}
  Value forward(Scope& scope, Value x) const override { return scope.activation(fn_(x)); }

 private:
  Value (*fn_)(Value);
};
struct Tanh final : Activation {
  Tanh();
};
struct ReLU final : Activation {
  ReLU();
};
struct ReLU6 final : Activation {  // min(max(x, 0), 6)
  ReLU6();
};
struct Sigmoid final : Activation {
  Sigmoid();
};
struct GELU final : Activation {
  GELU();
};
// [n, ...] -> [n, product of the rest].
struct Flatten final : Function {
  Flatten();
};

// Zeroes with probability p in training, the identity otherwise.
class Dropout final : public Module {
 public:
  explicit Dropout(double p);  // throws Error unless 0 <= p < 1
  Value forward(Scope& scope, Value x) const override;

 private:
  double p_;
};

// A layer that shares the parameters of an earlier one of the same name and path, on purpose:
//   Sequential().add("fc", Linear(8, 8)).add("act", Tanh()).add("fc", Tied(Linear(8, 8)))
class Tied final : public Module {
 public:
  template <class M>
  requires(!IsSame<M, Tied>) explicit Tied(M&& module) : module_(share(std::forward<M>(module))) {}
  Value forward(Scope& scope, Value x) const override {
    return scope.tied([&] { return module_->forward(scope, x); });
  }

 private:
  std::shared_ptr<const Module> module_;
};

// Modules one after another; names become part of the parameters' paths (default: "0", "1", ...;
// "" adds nothing to the path). Layers with parameters need different names, unless Tied.
class Sequential final : public Module {
 public:
  Sequential() = default;
  template <IsModule First, IsModule... Rest>
  requires(sizeof...(Rest) > 0 || !IsSame<First, Sequential>)  // a copy is no sequence of one
      explicit Sequential(First&& first, Rest&&... rest) {
    add("0", std::forward<First>(first));
    (add(std::to_string(items_.size()), std::forward<Rest>(rest)), ...);
  }
  template <class M>
  Sequential& add(std::string name, M&& module) {
    items_.emplace_back(std::move(name), share(std::forward<M>(module)));
    return *this;
  }
  std::size_t size() const { return items_.size(); }
  Value forward(Scope& scope, Value x) const override;

 private:
  std::vector<std::pair<std::string, std::shared_ptr<const Module>>> items_;
};

// y = body(x) + shortcut(x) (He et al. 2016). The body adds nothing to the path of names, so its
// parts stand beside the shortcut; a null shortcut is the identity.
class Residual final : public Module {
 public:
  template <class Body>
  requires(!IsSame<Body, Residual>) explicit Residual(Body&& body)
      : body_(share(std::forward<Body>(body))) {}
  template <class Body, class Shortcut>
  Residual(Body&& body, std::string name, Shortcut&& shortcut)
      : body_(share(std::forward<Body>(body))),
        name_(std::move(name)),
        shortcut_(share(std::forward<Shortcut>(shortcut))) {}
  Value forward(Scope& scope, Value x) const override;

 private:
  std::shared_ptr<const Module> body_;
  std::string name_;
  std::shared_ptr<const Module> shortcut_;
};

// Several modules of one input, their results side by side along axis 1 (channels).
class Concat final : public Module {
 public:
  template <class M>
  Concat& add(std::string name, M&& module) {
    items_.emplace_back(std::move(name), share(std::forward<M>(module)));
    return *this;
  }
  Value forward(Scope& scope, Value x) const override;

 private:
  std::vector<std::pair<std::string, std::shared_ptr<const Module>>> items_;
};

// Gives every parameter or state its initial value.
void initialize(State& state, const std::vector<ParameterSpec>& parameters, std::uint64_t seed);

}  // namespace tessera::nn
