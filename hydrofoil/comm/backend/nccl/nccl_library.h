// SPDX-License-Identifier: Apache-2.0
// NCCL and the CUDA run-time library, found when they are asked for: building needs neither.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

namespace hydrofoil::comm {

// What of the two is used, under their own names. Types are what they are in nccl.h and
// cuda_runtime_api.h of every release since NCCL 2.7 and CUDA 11.
struct NcclLibrary {
  using Id = std::array<char, 128>;  // passed as the struct around an array that it is
  using Comm = void*;
  using Stream = void*;
  static constexpr int kSuccess = 0, kInProgress = 7;  // ncclResult_t
  static constexpr int kByte = 1;                      // ncclUint8
  static constexpr int kNotReady = 600;                // cudaErrorNotReady
  static constexpr int kToDevice = 1, kToHost = 2;     // cudaMemcpyKind
  static constexpr unsigned kNonBlocking = 1;          // cudaStreamNonBlocking

  int (*ncclGetVersion)(int* version);
  int (*ncclGetUniqueId)(Id* id);
  int (*ncclCommInitRank)(Comm* comm, int ranks, Id id, int rank);
  int (*ncclCommDestroy)(Comm comm);
  int (*ncclCommAbort)(Comm comm);
  int (*ncclCommGetAsyncError)(Comm comm, int* result);
  int (*ncclGroupStart)();
  int (*ncclGroupEnd)();
  int (*ncclSend)(const void* data, size_t count, int type, int to, Comm comm, Stream stream);
  int (*ncclRecv)(void* data, size_t count, int type, int from, Comm comm, Stream stream);
  const char* (*ncclGetErrorString)(int result);

  int (*cudaGetDeviceCount)(int* count);
  int (*cudaSetDevice)(int device);
  int (*cudaMalloc)(void** data, size_t bytes);
  int (*cudaFree)(void* data);
  int (*cudaMemcpyAsync)(void* to, const void* from, size_t bytes, int kind, Stream stream);
  int (*cudaStreamCreateWithFlags)(Stream* stream, unsigned flags);
  int (*cudaStreamDestroy)(Stream stream);
  int (*cudaStreamQuery)(Stream stream);
  int (*cudaStreamSynchronize)(Stream stream);
  const char* (*cudaGetErrorString)(int error);

  // std::runtime_error with the call and what the library says.
  void require_nccl(int result, const char* call) const;
  void require_cuda(int error, const char* call) const;
  std::string text() const;  // "NCCL 2.27.3, 8 GPUs"
};

// The libraries' files: HYDROFOIL_NCCL_LIBRARY and HYDROFOIL_CUDART_LIBRARY, else the names that
// the loader knows. std::runtime_error says what is missing. Never unloaded.
std::shared_ptr<const NcclLibrary> load_nccl();
std::shared_ptr<const NcclLibrary> load_nccl(const std::string& nccl, const std::string& cudart);

}  // namespace hydrofoil::comm
