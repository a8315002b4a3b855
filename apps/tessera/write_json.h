// What --json FILE of the tools writes.
#pragma once

#include <string>

#include "core/files/json_io.h"

namespace tessera::apps {

// To the file; "-" is stdout, and what people read goes to stderr then.
void write_json(const std::string& file, const Json& json);

}  // namespace tessera::apps
