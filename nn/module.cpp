#include "nn/module.h"

#include <cmath>

#include "core/fields.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"

namespace tessera::nn {

Init Init::constant(float value) {
  return Init([=](Rng&, double, double) { return value; });
}
Init Init::uniform(float low, float high) {
  return Init([=](Rng& rng, double, double) { return rng.uniform(low, high); });
}
Init Init::normal(float stddev) {
  return Init([=](Rng& rng, double, double) { return stddev * rng.normal(); });
}
Init Init::xavier_uniform(double gain) {
  return Init([=](Rng& rng, double fan_in, double fan_out) {
    const auto a = static_cast<float>(gain * std::sqrt(6.0 / (fan_in + fan_out)));
    return rng.uniform(-a, a);
  });
}
Init Init::kaiming_uniform(double gain) {
  return Init([=](Rng& rng, double fan_in, double) {
    const auto a = static_cast<float>(gain * std::sqrt(3.0 / fan_in));
    return rng.uniform(-a, a);
  });
}
Init Init::kaiming_normal(double gain, Fan fan) {
  return Init([=](Rng& rng, double fan_in, double fan_out) {
    return static_cast<float>(gain / std::sqrt(fan == Fan::in ? fan_in : fan_out)) * rng.normal();
  });
}

Init Init::values(Tensor tensor) {
  Init out({});
  out.values_ = std::move(tensor);
  return out;
}

Init pytorch_default(std::int64_t fan_in) {
  const float a = 1.0f / std::sqrt(static_cast<float>(fan_in));
  return Init::uniform(-a, a);
}

Tensor Init::operator()(const Shape& shape, std::uint64_t seed, std::string_view name) const {
  if (values_.defined()) {
    check(values_.dtype() == DType::f32 && values_.shape() == shape, "'", name, "' starts with ",
          values_.text_type(), ", expected ", TensorType{DType::f32, shape, {}}.text());
    return values_.clone();
  }
  Tensor out(DType::f32, shape);
  double field = 1;  // receptive field of a convolution weight [out, in, kh, kw]
  for (int i = 2; i < shape.rank(); ++i) field *= static_cast<double>(shape[i].value());
  const double fan_in = shape.rank() >= 2 ? static_cast<double>(shape[1].value()) * field : 1;
  const double fan_out = shape.rank() >= 1 ? static_cast<double>(shape[0].value()) * field : 1;
  Rng rng(seed, stable_id(name));
  for (float& v : out.span<float>()) v = draw_(rng, fan_in, fan_out);
  return out;
}

Value Scope::seed() {
  return graph_.input("seed", {DType::s64, {}, {}});
}
Value Scope::step() {
  return graph_.input("step", {DType::s64, {}, {}});
}

ops::JointRows Scope::joint_rows() {
  if (ranks_ == 1) return {};
  return {graph_.input("rank", {DType::s64, {}, {}}), ranks_};
}

std::string Scope::full_name(std::string_view name) const {
  if (name.empty()) return path_;
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

Value Scope::leaf(const std::string& name, const Shape& shape, const Init& init, bool trained) {
  const TensorType type{DType::f32, shape, {}};
  const bool known = graph_.find_leaf(name) != nullptr;
  const Value value = trained ? graph_.param(name, type) : graph_.state(name, type);
  if (!known) (trained ? parameters_ : states_).push_back({name, type, init});
  return value;
}

void Scope::own(const std::string& name) {
  const auto [at, fresh] = owners_.emplace(name, layer_);
  check(fresh || tied_ || at->second == layer_, "layers ", at->second, " and ", layer_,
        " (counted as they are called) are both named '", path_, "' and would share '", name,
        "'; give one another name, or tie them on purpose with nn::Tied");
}

Value Scope::param(std::string_view name, const Shape& shape, const Init& init) {
  const std::string full = full_name(name);
  own(full);
  const Value value = leaf(full, shape, init, true);
  return weight_hook_ && shape.rank() >= 2 ? weight_hook_(*this, full, value) : value;
}

Value Scope::state(std::string_view name, const Shape& shape, const Init& init) {
  const std::string full = full_name(name);
  own(full);
  return leaf(full, shape, init, false);
}

Value Scope::carried(std::string_view name, const Shape& sample) {
  const std::string full = full_name(name);
  own(full);
  return graph_.input(full, Field{full, DType::f32, sample}.type());
}

void Scope::carry(Value carried, Value next) {
  const std::string& name = carried.node->name();
  check(next.type() == carried.type(), "'", name, "' is ", carried.type().text(),
        ", what is carried on is ", next.type().text());
  graph_.set_output(next_name(name), next);
}

Value Scope::global_param(const std::string& name, const Shape& shape, const Init& init) {
  return leaf(name, shape, init, true);
}

Value Scope::global_state(const std::string& name, const Shape& shape, const Init& init) {
  return leaf(name, shape, init, false);
}

Value Scope::layer_input(Value x, std::string_view weight) {
  return input_hook_ ? input_hook_(*this, full_name(weight), x) : x;
}

Value Scope::activation(Value y) {
  return activation_hook_ ? activation_hook_(*this, path_, y) : y;
}

void Scope::update(Value state, Value value) {
  check(training_, "[", path_, "] states are updated in training only");
  graph_.set_update(state, value);
}

Linear::Linear(std::int64_t in, std::int64_t out, bool bias)
    : Linear(in, out, bias, pytorch_default(in), pytorch_default(in)) {}

Linear::Linear(std::int64_t in, std::int64_t out, bool bias, Init weight_init, Init bias_init)
    : in_(in),
      out_(out),
      bias_(bias),
      weight_init_(std::move(weight_init)),
      bias_init_(std::move(bias_init)) {
  check(in >= 1 && out >= 1, "[Linear] needs at least one input and one output, got ", in, " and ",
        out);
}

Value Linear::forward(Scope& scope, Value x) const {
  check(x.shape().rank() == 2 && x.shape()[1] == Dim(in_), "[Linear ", scope.path(),
        "] expected x f32[n,", in_, "], got ", x.type().text());
  const Value weight = scope.param("weight", {out_, in_}, weight_init_);
  x = scope.layer_input(x);
  return ops::linear(x, weight, bias_ ? scope.param("bias", {out_}, bias_init_) : Value());
}

Tanh::Tanh() : Activation([](Value x) { return ops::tanh(x); }) {}
ReLU::ReLU() : Activation([](Value x) { return ops::relu(x); }) {}
ReLU6::ReLU6() : Activation([](Value x) { return ops::clamp(x, 0.0, 6.0); }) {}
Sigmoid::Sigmoid() : Activation([](Value x) { return ops::sigmoid(x); }) {}
GELU::GELU() : Activation([](Value x) { return ops::gelu(x); }) {}
Flatten::Flatten()
    : Function([](Value x) {
        Dim rest = 1;
        for (int i = 1; i < x.shape().rank(); ++i) rest = rest * x.shape()[i];
        return ops::reshape(x, {x.shape()[0], rest});
      }) {}

Dropout::Dropout(double p) : p_(p) {
  check(p >= 0 && p < 1, "[Dropout] probability must be in [0, 1), got ", p);
}

Value Dropout::forward(Scope& scope, Value x) const {
  if (!scope.training() || p_ == 0) return x;
  return ops::dropout(x, p_, scope.seed(), scope.step(), scope.path(), scope.joint_rows());
}

Value Sequential::forward(Scope& scope, Value x) const {
  for (const auto& [name, module] : items_) {
    x = scope.in(name, [&] { return module->forward(scope, x); });
  }
  return x;
}

Value Residual::forward(Scope& scope, Value x) const {
  const Value body = body_->forward(scope, x);
  const Value shortcut =
      shortcut_ ? scope.in(name_, [&] { return shortcut_->forward(scope, x); }) : x;
  check(body.shape() == shortcut.shape(), "[Residual ", scope.path(), "] the body gives ",
        body.type().text(), ", the shortcut ", shortcut.type().text());
  return body + shortcut;
}

Value Concat::forward(Scope& scope, Value x) const {
  std::vector<Value> parts;
  for (const auto& [name, module] : items_) {
    parts.push_back(scope.in(name, [&] { return module->forward(scope, x); }));
  }
  return ops::concat(parts, 1);
}

void initialize(State& state, const std::vector<ParameterSpec>& parameters, std::uint64_t seed) {
  for (const auto& p : parameters) state.set(p.name, p.init(p.type.shape, seed, p.name));
}

}  // namespace tessera::nn
