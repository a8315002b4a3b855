#include "ops/load.h"

#include "ops/op_list.h"

namespace tessera {

Model load(const std::filesystem::path& path) {
  return load(path, ops::standard_ops());
}

Model load_from_memory(std::string_view json, std::string_view weights, const std::string& name) {
  return load_from_memory(json, weights, name, ops::standard_ops());
}

}  // namespace tessera
