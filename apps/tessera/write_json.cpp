#include "apps/tessera/write_json.h"

#include <iostream>

#include "core/files/atomic_file.h"

namespace tessera::apps {

void write_json(const std::string& file, const Json& json) {
  const std::string text = json_text(json, 1) + "\n";
  if (file == "-") {
    std::cout << text;
  } else {
    std::cout.flush();  // it may be the same file
    write_file(file, text);
  }
}

}  // namespace tessera::apps
