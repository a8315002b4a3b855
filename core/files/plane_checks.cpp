#include "core/files/plane_checks.h"

#include <map>

namespace tessera {

namespace {

std::map<const OpDef*, PlaneCheck>& checks() {
  static std::map<const OpDef*, PlaneCheck> map;
  return map;
}

}  // namespace

void set_plane_check(const OpDef& op, PlaneCheck check) {
  checks()[&op] = check;
}

PlaneCheck plane_check(const OpDef& op) {
  const auto found = checks().find(&op);
  return found == checks().end() ? nullptr : found->second;
}

}  // namespace tessera
