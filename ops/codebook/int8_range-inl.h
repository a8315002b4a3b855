// The range of floats and 0 by their bits, and whether all are finite: included inside anonymous
// namespaces (no include guard, no linkage).

struct Range {
  float low, high;
  bool finite;
};

// Of the largest bits as signed integers, which are those of the largest float that is not
// negative, and as unsigned ones, those of the lowest negative; what is not finite is larger than
// all others.
inline Range range_of(int32_t high, uint32_t low) {
  const bool negative = low >= 0x80000000u;
  Range range{0, 0, high < 0x7f800000 && (!negative || low < 0xff800000u)};
  if (high > 0) __builtin_memcpy(&range.high, &high, 4);
  if (negative) __builtin_memcpy(&range.low, &low, 4);
  return range;
}
