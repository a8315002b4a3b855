// The LSTM's step kernels, AVX-512.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx512-inl.h"

#include "ops/recurrent/lstm_body-inl.h"

extern "C" const tessera::LstmKernels tessera::tessera_lstm_avx512 = {"avx512", step, step_grad,
                                                                      gain, gain_grad};

#endif
