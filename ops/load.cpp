#include "ops/load.h"

#include "ops/op_list.h"

namespace tessera {

Model load(const std::filesystem::path& path) {
  return load(path, ops::standard_ops());
}

}  // namespace tessera
