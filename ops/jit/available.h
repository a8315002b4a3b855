// Whether code may be generated.
#pragma once

namespace tessera {

// False with TESSERA_JIT=0, and where the system refuses executable memory; found out once.
bool can_generate_code();

}  // namespace tessera
