#include "nn/network.h"

#include <utility>

namespace tessera::nn {

ModuleNetwork::ModuleNetwork(std::shared_ptr<const Module> module, std::string input,
                             std::string output)
    : module_(std::move(module)), input_(std::move(input)), output_(std::move(output)) {
  check(module_ != nullptr, "[network] expected a module");
}

Values ModuleNetwork::forward(Scope& scope, const Values& inputs) const {
  return {{output_, module_->forward(scope, require(inputs, input_, "the network"))}};
}

std::shared_ptr<const Network> as_network(std::shared_ptr<const Module> module) {
  return std::make_shared<ModuleNetwork>(std::move(module));
}

Value require(const Values& values, const std::string& name, const std::string& who) {
  const auto found = values.find(name);
  if (found != values.end()) return found->second;
  std::string names;
  for (const auto& [other, value] : values) names += (names.empty() ? "'" : ", '") + other + "'";
  fail(who, " needs '", name, "', but there is ", names.empty() ? "nothing" : names);
}

}  // namespace tessera::nn
