// Which release this is.
#pragma once

#include <string_view>

namespace tessera {

// "MAJOR.MINOR.PATCH" of the library that is linked, as CMakeLists.txt's project() says.
std::string_view version();

}  // namespace tessera
