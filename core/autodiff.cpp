#include "core/autodiff.h"

#include <algorithm>
#include <map>

#include "core/op_def.h"

namespace tessera {

namespace {

bool carries_program(const Node& node) {
  return std::any_of(node.attrs().items().begin(), node.attrs().items().end(),
                     [](const Attrs::Item& item) {
                       const auto* program = std::get_if<ProgramRef>(&item.second);
                       return program != nullptr && *program;
                     });
}

}  // namespace

std::vector<Value> grad(Value loss, std::span<const Value> wrt, Value seed) {
  check(static_cast<bool>(loss), "[grad] loss is not a value");
  Graph& graph = loss.graph();
  const OpDef& add = *graph.ops().core().add;
  if (!seed) {
    check(loss.shape().rank() == 0 && loss.type().dtype == DType::f32,
          "[grad] loss must be a scalar f32, got ", loss.type());
    seed = graph.constant(1.0);
  }
  check(seed.type() == loss.type().dense(), "[grad] the cotangent must be ", loss.type().dense(),
        ", got ", seed.type());

  // Gradients are appended while we walk: remember where the forward part ends.
  const std::size_t count = static_cast<std::size_t>(loss.node->id()) + 1;
  std::vector<char> depends(count);
  for (const Value v : wrt) {
    check(v && &v.graph() == &graph, "[grad] a value to differentiate is not of the loss's graph");
    if (static_cast<std::size_t>(v.node->id()) < count)
      depends[static_cast<std::size_t>(v.node->id())] = 1;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Node& node = graph.nodes()[i];
    for (std::size_t j = 0; j < node.inputs().size() && !depends[i]; ++j) {
      const Value v = node.inputs()[j];
      if (v && node.op().input_def(j).differentiable &&
          depends[static_cast<std::size_t>(v.node->id())]) {
        depends[i] = 1;
      }
    }
  }

  using Key = std::pair<int, int>;
  std::map<Key, Value> cotangents;
  const auto accumulate = [&](Value v, Value g) {
    check(g.shape() == v.shape(), "[grad] '", v.node->op().name, "' got a cotangent of shape ",
          g.shape(), ", expected ", v.shape());
    auto [at, fresh] = cotangents.try_emplace(Key(v.node->id(), v.index), g);
    if (!fresh) at->second = graph.add(add, {at->second, g}).output();
  };
  if (depends[count - 1]) accumulate(loss, seed);
  for (std::size_t i = count; i-- > 0;) {
    const Node& node = graph.nodes()[i];
    if (!depends[i] || node.inputs().empty()) continue;
    std::vector<Value> grads(node.types().size());
    bool any = false;
    for (std::size_t o = 0; o < grads.size(); ++o) {
      const auto at = cotangents.find(Key(node.id(), static_cast<int>(o)));
      if (at == cotangents.end()) continue;
      grads[o] = at->second;
      any = true;
    }
    if (!any) continue;
    const std::size_t n = node.inputs().size();
    std::vector<char> wanted(n);
    bool some = false;
    for (std::size_t j = 0; j < n; ++j) {
      const Value v = node.inputs()[j];
      wanted[j] = v && node.op().input_def(j).differentiable &&
                  depends[static_cast<std::size_t>(v.node->id())];
      some |= wanted[j] != 0;
    }
    if (!some) continue;
    check(!carries_program(node), "[grad] '", node.op().name,
          "' has no gradient once it carries a program: gradients are taken before passes");
    std::vector<Value> results;
    if (node.op().grad != nullptr) {
      results = node.op().grad(
          {node, grads, std::span<const bool>(reinterpret_cast<const bool*>(wanted.data()), n)});
    } else {
      check(node.op().decompose != nullptr, "[grad] op '", node.op().name, "' has no gradient");
      const std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
      const std::vector<Value> parts = node.op().decompose(node, inputs);
      std::vector<Value> targets;
      for (std::size_t j = 0; j < n; ++j) {
        if (wanted[j]) targets.push_back(inputs[j]);
      }
      results.resize(n);
      for (std::size_t o = 0; o < parts.size(); ++o) {
        if (!grads[o]) continue;
        const std::vector<Value> found = grad(parts[o], targets, grads[o]);
        for (std::size_t j = 0, t = 0; j < n; ++j) {
          if (!wanted[j]) continue;
          const Value g = found[t++];
          results[j] = results[j] ? graph.add(add, {results[j], g}).output() : g;
        }
      }
    }
    results.resize(n);
    for (std::size_t j = 0; j < n; ++j) {
      if (wanted[j] && results[j]) accumulate(node.inputs()[j], results[j]);
    }
  }

  std::vector<Value> out;
  for (const Value v : wrt) {
    const auto at = cotangents.find(Key(v.node->id(), v.index));
    out.push_back(at != cotangents.end() ? at->second : graph.constant(0.0, v.type().dense()));
  }
  return out;
}

}  // namespace tessera
