// The LSTM's step kernels, AVX2.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx2-inl.h"

#include "ops/recurrent/lstm_body-inl.h"

extern "C" const tessera::LstmKernels tessera::tessera_lstm_avx2 = {"avx2", step, step_grad, gain,
                                                                    gain_grad};

#endif
