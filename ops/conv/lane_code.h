// Generated AVX-512 code for convolutions whose lanes do not meet, on planes [height, width, 16]:
// sixteen images beside each other, all multiplied by the same weights, or the sixteen channels of
// a blocked image in a depthwise convolution, each by its own. Pixels need not be a multiple of
// anything, and the code of a piece of a row leaves out the taps that fall on padding.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tessera {

inline constexpr std::int64_t kImageLanes = 16;

// y[m, pixel] = sum over channels and taps of x[channel, row, column] w[m, channel, tap], for
// a tile of `outputs` results m and one piece of a row of pixels.
struct LaneTile {
  const float* x;                     // channel 0, the first row read, column 0
  const float* w;                     // output 0, channel 0, tap (of that row, column 0)
  float* y;                           // [outputs, plane of y, 16] at the tile's row, column 0
  std::int64_t channels, rows;        // rows of taps
  std::int64_t x_channel, w_channel;  // bytes from behind the last row of taps to the next channel
};
using LaneTileCode = void (*)(const LaneTile*);

// dw[m, column of taps] += sum over pixels of dy[m, pixel] x[pixel + tap], lane by lane. Of a
// depthwise convolution m is 0.
struct LaneWeights {
  const float* dy;  // output 0, the first row
  const float* x;   // the row that this row meets, column 0
  float* sums;      // [columns of taps, outputs, 16]
  std::int64_t rows;
};
using LaneWeightsCode = void (*)(const LaneWeights*);

// Along a row.
struct LaneLine {
  std::int64_t in, out;  // columns of x and y
  std::int64_t taps, stride, dilation, left;
  std::int64_t spread = 1;  // columns of x lie so far apart, with zeros between
  // The column of x that tap `tap` of pixel `pixel` reads; -1: padding or a zero between columns.
  std::int64_t column(std::int64_t pixel, std::int64_t tap) const {
    const std::int64_t at = pixel * stride + tap * dilation - left;
    return at >= 0 && at % spread == 0 && at / spread < in ? at / spread : -1;
  }
};

class LaneCode {
 public:
  virtual ~LaneCode() = default;
  struct Piece {
    std::int64_t first, count;  // pixels
  };
  std::int64_t outputs() const { return outputs_; }             // of a tile
  const std::vector<Piece>& pieces() const { return pieces_; }  // of a row
  // Code of piece p for `count` outputs: outputs() or what is left of them at the end.
  LaneTileCode tile(std::int64_t p, std::int64_t count) const {
    return tiles_[static_cast<std::size_t>(p)][count == outputs_ ? 0 : 1];
  }
  LaneWeightsCode weights(std::int64_t count) const { return weights_[count == outputs_ ? 0 : 1]; }

 protected:
  std::int64_t outputs_ = 0;
  std::vector<Piece> pieces_;
  std::vector<std::vector<LaneTileCode>> tiles_;
  LaneWeightsCode weights_[2] = {};
};

// Bytes between neighbours.
struct LaneStrides {
  std::int64_t x_row;  // from one row of taps to the next
  std::int64_t w_output, w_row, w_column;
  std::int64_t y_plane;  // of one output
};

// can_generate_code() tells before whether these may be called.
std::shared_ptr<const LaneCode> lane_tiles(const LaneLine& line, const LaneStrides& strides,
                                           std::int64_t outputs);
std::shared_ptr<const LaneCode> lane_weights(const LaneLine& line, std::int64_t row_stride,
                                             std::int64_t dy_plane, std::int64_t outputs);
// Of a depthwise convolution: weights are vectors, one plane at a time.
std::shared_ptr<const LaneCode> depthwise_tiles(const LaneLine& line, const LaneStrides& strides);
std::shared_ptr<const LaneCode> depthwise_weights(const LaneLine& line, std::int64_t row_stride);

// "" or why there are no registers or no sensible code for such lines.
const char* lane_code_refuses(const LaneLine& line);

// "" or why code cannot step so far: displacements and immediates of instructions have 32 bits.
// Asked before the functions above are called.
const char* lane_tiles_refuse(const LaneLine& line, const LaneStrides& strides);
const char* lane_weights_refuse(const LaneLine& line, std::int64_t row_stride,
                                std::int64_t dy_plane);

}  // namespace tessera
