#include "core/files/foreign.h"

#include <filesystem>

#include "core/error.h"
#include "core/files/json_io.h"
#include "core/files/npz.h"

namespace tessera {

namespace {

constexpr std::string_view kHdf5("\x89HDF\r\n\x1a\n", 8), kNpy("\x93NUMPY", 6), kGguf("GGUF"),
    kGzip("\x1f\x8b", 2);
// What torch.save wrote before it wrote zips: a pickle that begins with this number.
constexpr std::string_view kTorchMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
constexpr std::size_t kZipNameAt = 30, kZipNameBytesAt = 26;  // of a local header

// "\x80", then the version of the format. A safetensors file whose header has such a length begins
// with '{' eight bytes later.
bool is_pickle(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 &&
         !(bytes.size() > 8 && bytes[8] == '{');
}

// Whether the first entry is no array and some entry is a pickle.
bool is_torch_zip(std::string_view bytes) {
  if (!bytes.starts_with(kZipMagic) || bytes.size() < kZipNameAt) return false;
  const std::size_t length = static_cast<unsigned char>(bytes[kZipNameBytesAt]) +
                             256u * static_cast<unsigned char>(bytes[kZipNameBytesAt + 1]);
  const std::string_view first = bytes.substr(kZipNameAt, length);
  return !first.ends_with(".npy") && bytes.find(".pkl") != bytes.npos;
}

// python3 -c "import ...; numpy.savez('net.npz', **{...})"
std::string python(const std::string& imports, const std::string& file, const std::string& arrays) {
  const std::string npz = std::filesystem::path(file).stem().string() + ".npz";
  return cat("python3 -c \"import ", imports, ", numpy; numpy.savez('", printable(npz), "', **",
             arrays, ")\"");
}

}  // namespace

void refuse_foreign(std::string_view bytes, const std::string& file) {
  const std::string name = printable(std::filesystem::path(file).filename().string());
  const auto refuse = [&](const auto&... text) { fail(file, ": ", text...); };
  const std::string torch = python("torch", file,
                                   cat("{k: v.float().numpy() for k, v in torch.load('", name,
                                       "', map_location='cpu', weights_only=True).items()}"));
  constexpr std::string_view kPickles = ", and pickles, which can run code, are not read";
  if (is_torch_zip(bytes) || (is_pickle(bytes) && bytes.find(kTorchMagic) < 16)) {
    refuse("a file of torch.save holds a pickle", kPickles, "; convert it by ", torch,
           " (a checkpoint with more than weights: torch.load(...)['state_dict'].items())");
  }
  if (is_pickle(bytes)) {
    refuse("a Python pickle", kPickles, "; convert what you trust by ",
           python("pickle", file,
                  cat("{k: numpy.asarray(v) for k, v in pickle.load(open('", name,
                      "', 'rb')).items()}")));
  }
  if (bytes.starts_with(kHdf5)) {
    refuse("HDF5 is not read; convert it by ",
           python("h5py", file,
                  cat("(d := {}, h5py.File('", name,
                      "').visititems(lambda k, v: d.update({k: v[()]}) if hasattr(v, 'dtype') "
                      "else None))[0]")));
  }
  if (bytes.starts_with(kNpy)) {
    refuse(
        "one array without a name; expected .npz (numpy.savez('all.npz', **{name: array})) or "
        ".safetensors");
  }
  if (bytes.starts_with(kGguf)) refuse("GGUF is not read; expected .safetensors or .npz");
  if (bytes.starts_with(kGzip)) {
    refuse("is compressed by gzip; unpack it first (gunzip), or compress by xz, which is read");
  }
}

}  // namespace tessera
