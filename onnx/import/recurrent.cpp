// LSTM, GRU and RNN: the input's product over all steps, then the recurrence: an LSTM's as
// lstm_scan, the others step by step.
#include "ops/recurrent/lstm.h"

#include <algorithm>

#include "core/error.h"
#include "onnx/import/context.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"

namespace tessera::onnx {

namespace {

constexpr std::int64_t kMostSteps = 1024;  // that are written out

Value turned(Value x) {
  const std::int64_t steps = x.shape()[0].value();
  check(steps <= kMostSteps, steps, " steps backwards");
  std::vector<Value> pieces;
  for (std::int64_t t = steps; t-- > 0;) pieces.push_back(ops::slice(x, 0, t, t + 1));
  return pieces.size() == 1 ? x : ops::concat(pieces, 0);
}

// What the three have in common: sizes, directions, weights of one direction at a time.
class Layer {
 public:
  Layer(Context& c, std::int64_t gates, Ints order)
      : c_(c), gates_(gates), order_(std::move(order)) {
    const bool batch_first = c.integer("layout", 0) != 0;
    x_ = c.real(0);
    check(x_.shape().rank() == 3, "expected x of rank 3, got ", x_.shape());
    if (batch_first) x_ = ops::transpose(x_, {1, 0, 2});
    batch_first_ = batch_first;
    check(!x_.shape()[0].is_symbolic() && x_.shape()[0].value() >= 1,
          "expected a fixed number of steps, got ", x_.shape());
    const std::string direction = c.text("direction", "forward");
    check(direction == "forward" || direction == "reverse" || direction == "bidirectional",
          "the direction '", direction, "'");
    directions_ = direction == "bidirectional" ? 2 : 1;
    reverse_ = direction == "reverse";
    const Shape r = c.in(2).shape();
    check(r.rank() == 3 && !r[2].is_symbolic() && r[0] == Dim(directions_) &&
              r[1] == Dim(gates * r[2].value()),
          "expected R [", directions_, ",", gates, "*hidden,hidden], got ", r);
    hidden_ = r[2].value();
    const Shape w = c.in(1).shape();
    check(w.rank() == 3 && w[0] == r[0] && w[1] == r[1] && w[2] == x_.shape()[2], "expected W [",
          directions_, ",", gates * hidden_, ",", x_.shape()[2].text(), "], got ", w);
    check(c.integer("hidden_size", hidden_) == hidden_, "hidden_size is not that of R, ", hidden_);
    check(c.find("clip") == nullptr, "clipped gates");
    if (c.has(4)) {
      check(c.in(4).is_constant(), "lengths known at run time only");
      for (const std::int64_t n : c.ints(4)) check(n == steps(), "sequences of different lengths");
    }
    for (const char* name : {"activation_alpha", "activation_beta"})
      check(c.find(name) == nullptr || c.find(name)->reals.empty(), name);
  }

  std::int64_t steps() const { return x_.shape()[0].value(); }
  std::int64_t hidden() const { return hidden_; }
  Dim batch() const { return x_.shape()[1]; }
  std::int64_t directions() const { return directions_; }
  bool backwards(std::int64_t d) const { return reverse_ || d == 1; }
  Value x(std::int64_t d) const { return backwards(d) ? turned(x_) : x_; }

  // The activation functions of a direction must be these.
  void require(const std::vector<std::string>& names) const {
    std::vector<std::string> given = c_.texts("activations"), expected;
    for (std::int64_t d = 0; d < directions_; ++d)
      expected.insert(expected.end(), names.begin(), names.end());
    check(given.empty() || given == expected, "other activation functions than ", names[0], " and ",
          names.back());
  }

  // Operand i, [directions, gates * hidden, ...], of one direction with the gates in our order.
  Value weight(std::size_t i, std::int64_t d) {
    const Shape all = c_.in(i).shape();
    const std::int64_t columns = all[2].value(), rows = gates_ * hidden_;
    return c_.weight_part(
        i, d == 0 ? "" : ".reverse", cat("gates", d),
        [&](const Tensor& t) {
          Tensor out(DType::f32, {rows, columns});
          for (std::int64_t r = 0; r < rows; ++r) {
            const auto from =
                t.span<float>().subspan(static_cast<std::size_t>((d * rows + row(r)) * columns),
                                        static_cast<std::size_t>(columns));
            std::ranges::copy(from, out.span<float>().begin() + r * columns);
          }
          return out;
        },
        [&](Value v) {
          v = ops::reshape(ops::slice(v, 0, d, d + 1), {rows, columns});
          return reordered(v, 0, 0);
        });
  }

  // The bias of one direction: of the input's product and the recurrent one, [gates * hidden] each.
  struct Bias {
    Value input, recurrent;
  };
  Bias bias(std::int64_t d) {
    const std::int64_t rows = gates_ * hidden_;
    if (!c_.has(3)) {
      const Value zero = c_.graph().constant(0, {DType::f32, {rows}, {}});
      return {zero, zero};
    }
    check(c_.in(3).shape() == Shape({directions_, 2 * rows}), "expected B [", directions_, ",",
          2 * rows, "], got ", c_.in(3).shape());
    const Value both = c_.weight_part(
        3, d == 0 ? "" : ".reverse", cat("bias", d),
        [&](const Tensor& t) {
          Tensor out(DType::f32, {2 * rows});
          for (std::int64_t half = 0; half < 2; ++half) {
            for (std::int64_t r = 0; r < rows; ++r)
              out.span<float>()[static_cast<std::size_t>(half * rows + r)] =
                  t.span<float>()[static_cast<std::size_t>((2 * d + half) * rows + row(r))];
          }
          return out;
        },
        [&](Value v) {
          v = ops::reshape(ops::slice(v, 0, d, d + 1), {2 * rows});
          return ops::concat({reordered(v, 0, 0), reordered(v, 0, rows)}, 0);
        });
    return {ops::slice(both, 0, 0, rows), ops::slice(both, 0, rows, 2 * rows)};
  }

  // Operand i, a state at the first step, of one direction: [batch, hidden].
  Value start(std::size_t i, std::int64_t d) {
    const Shape shape{batch(), hidden_};
    if (!c_.has(i)) return c_.graph().constant(0, {DType::f32, shape, {}});
    Value all = c_.real(i);
    check(all.shape().rank() == 3, "expected a state of rank 3, got ", all.shape());
    if (batch_first_) all = ops::transpose(all, {1, 0, 2});
    const Shape expected{directions_, batch(), hidden_};
    check(all.shape() == expected, "expected a state ", expected, ", got ", all.shape());
    return ops::reshape(ops::slice(all, 0, d, d + 1), shape);
  }

  // The input's product and a bias: [steps, batch, gates * hidden].
  Value gate_inputs(std::int64_t d, Value bias) {
    const std::int64_t rows = gates_ * hidden_;
    const Value in = x(d);
    const Value flat = ops::reshape(in, {Dim(steps()) * batch(), in.shape()[2]});
    return ops::reshape(ops::matmul(flat, weight(1, d), false, true) + bias,
                        {steps(), batch(), rows});
  }

  void add(std::int64_t d, Value all, Value last) {
    if (backwards(d)) all = turned(all);
    all_.push_back(ops::reshape(all, {steps(), 1, batch(), hidden_}));
    last_.push_back(ops::reshape(last, {1, batch(), hidden_}));
  }
  Value stacked(const std::vector<Value>& parts, int axis) const {
    return parts.size() == 1 ? parts[0] : ops::concat(parts, axis);
  }
  void write() {
    const Value y = stacked(all_, 1), h = stacked(last_, 0);
    c_.out(0, batch_first_ ? ops::transpose(y, {2, 0, 1, 3}) : y);
    c_.out(1, batch_first_ ? ops::transpose(h, {1, 0, 2}) : h);
  }
  void write_cells(const std::vector<Value>& cells) {
    std::vector<Value> parts;
    for (const Value v : cells) parts.push_back(ops::reshape(v, {1, batch(), hidden_}));
    const Value all = stacked(parts, 0);
    c_.out(2, batch_first_ ? ops::transpose(all, {1, 0, 2}) : all);
  }

 private:
  // Row r of ours is this one of ONNX's.
  std::int64_t row(std::int64_t r) const {
    return order_[static_cast<std::size_t>(r / hidden_)] * hidden_ + r % hidden_;
  }
  // Blocks of `hidden` along an axis, from `begin` on, in our order.
  Value reordered(Value v, int axis, std::int64_t begin) const {
    std::vector<Value> blocks;
    for (const std::int64_t gate : order_) {
      const std::int64_t at = begin + gate * hidden_;
      blocks.push_back(ops::slice(v, axis, at, at + hidden_));
    }
    return blocks.size() == 1 ? blocks[0] : ops::concat(blocks, axis);
  }

  Context& c_;
  std::int64_t gates_;
  Ints order_;
  Value x_;
  std::int64_t hidden_ = 0, directions_ = 1;
  bool reverse_ = false, batch_first_ = false;
  std::vector<Value> all_, last_;
};

void lstm(Context& c) {
  Layer layer(c, 4, {0, 2, 3, 1});  // i, o, f, g there; i, f, g, o here
  layer.require({"Sigmoid", "Tanh", "Tanh"});
  check(!c.has(7), "peepholes");
  check(c.integer("input_forget", 0) == 0, "input_forget");
  std::vector<Value> cells;
  for (std::int64_t d = 0; d < layer.directions(); ++d) {
    const auto bias = layer.bias(d);
    const auto out = ops::lstm_scan(layer.gate_inputs(d, bias.input + bias.recurrent),
                                    layer.weight(2, d), layer.start(5, d), layer.start(6, d));
    layer.add(d, out.h, out.last_h);
    cells.push_back(out.last_c);
  }
  layer.write();
  layer.write_cells(cells);
}

// Step t of [steps, batch, n].
Value at_step(Value x, std::int64_t t) {
  return ops::reshape(ops::slice(x, 0, t, t + 1), {x.shape()[1], x.shape()[2]});
}
Value stacked_steps(const std::vector<Value>& steps) {
  std::vector<Value> rows;
  for (const Value v : steps) rows.push_back(ops::reshape(v, {1, v.shape()[0], v.shape()[1]}));
  return rows.size() == 1 ? rows[0] : ops::concat(rows, 0);
}

void gru(Context& c) {
  Layer layer(c, 3, {0, 1, 2});  // z, r, h
  layer.require({"Sigmoid", "Tanh"});
  check(layer.steps() <= kMostSteps, layer.steps(), " steps");
  const bool after = c.integer("linear_before_reset", 0) != 0;
  const std::int64_t n = layer.hidden();
  for (std::int64_t d = 0; d < layer.directions(); ++d) {
    const auto bias = layer.bias(d);
    const Value in = layer.gate_inputs(d, bias.input), r = layer.weight(2, d);
    const Value r_gates = ops::slice(r, 0, 0, 2 * n), r_new = ops::slice(r, 0, 2 * n, 3 * n);
    const Value b_gates = ops::slice(bias.recurrent, 0, 0, 2 * n);
    const Value b_new = ops::slice(bias.recurrent, 0, 2 * n, 3 * n);
    Value h = layer.start(5, d);
    std::vector<Value> all;
    for (std::int64_t t = 0; t < layer.steps(); ++t) {
      const Value x = at_step(in, t);
      const Value gates =
          ops::sigmoid(ops::slice(x, 1, 0, 2 * n) + ops::matmul(h, r_gates, false, true) + b_gates);
      const Value z = ops::slice(gates, 1, 0, n), reset = ops::slice(gates, 1, n, 2 * n);
      const Value recurrent = after ? reset * (ops::matmul(h, r_new, false, true) + b_new)
                                    : ops::matmul(reset * h, r_new, false, true) + b_new;
      const Value fresh = ops::tanh(ops::slice(x, 1, 2 * n, 3 * n) + recurrent);
      h = fresh + z * (h - fresh);
      all.push_back(h);
    }
    layer.add(d, stacked_steps(all), h);
  }
  layer.write();
}

void rnn(Context& c) {
  Layer layer(c, 1, {0});
  const std::vector<std::string> given = c.texts("activations");
  const std::string function = given.empty() ? "Tanh" : given[0];
  check(function == "Tanh" || function == "Relu" || function == "Sigmoid",
        "the activation function '", function, "'");
  layer.require({function});
  check(layer.steps() <= kMostSteps, layer.steps(), " steps");
  for (std::int64_t d = 0; d < layer.directions(); ++d) {
    const auto bias = layer.bias(d);
    const Value in = layer.gate_inputs(d, bias.input + bias.recurrent), r = layer.weight(2, d);
    Value h = layer.start(5, d);
    std::vector<Value> all;
    for (std::int64_t t = 0; t < layer.steps(); ++t) {
      const Value sum = at_step(in, t) + ops::matmul(h, r, false, true);
      h = function == "Tanh"   ? ops::tanh(sum)
          : function == "Relu" ? ops::relu(sum)
                               : ops::sigmoid(sum);
      all.push_back(h);
    }
    layer.add(d, stacked_steps(all), h);
  }
  layer.write();
}

constexpr OpRow kRows[] = {{"LSTM", lstm}, {"GRU", gru}, {"RNN", rnn}};

}  // namespace

std::span<const OpRow> recurrent_rows() {
  return kRows;
}

}  // namespace tessera::onnx
