// Files of other programs that are not read, known by how they begin, and what to do with them.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// Throws Error for the content of a file that holds weights in a form that is not read here, with
// the line of Python that converts it: PyTorch's .pt and .pth (a zip with a pickle, or a bare
// pickle; pickles run code, so none is ever unpacked), other pickles, HDF5 (Keras), GGUF, a single
// .npy array, gzip. `file` is the name for messages.
void refuse_foreign(std::string_view bytes, const std::string& file);

}  // namespace tessera
