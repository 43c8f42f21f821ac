// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/nccl/nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

namespace hydrofoil::comm {
namespace {

// The first of the names that is there; a library that libtorch has loaded already counts.
void* open_library(std::initializer_list<std::string> names) {
  std::string problem;
  for (const std::string& name : names) {
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    if (problem.empty()) problem = dlerror();
  }
  throw std::runtime_error(problem);
}

void* open_named(const char* variable, std::initializer_list<std::string> otherwise) {
  const char* named = std::getenv(variable);
  return named != nullptr ? open_library({named}) : open_library(otherwise);
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw std::runtime_error("it lacks " + std::string(name));
}

#define HYDROFOIL_FIND(library, name) find(library, #name, functions->name)

std::shared_ptr<const NcclLibrary> functions_of(void* nccl, void* cuda) {
  const auto functions = std::make_shared<NcclLibrary>();
  HYDROFOIL_FIND(nccl, ncclGetVersion);
  HYDROFOIL_FIND(nccl, ncclGetUniqueId);
  HYDROFOIL_FIND(nccl, ncclCommInitRank);
  HYDROFOIL_FIND(nccl, ncclCommDestroy);
  HYDROFOIL_FIND(nccl, ncclCommAbort);
  HYDROFOIL_FIND(nccl, ncclCommGetAsyncError);
  HYDROFOIL_FIND(nccl, ncclGroupStart);
  HYDROFOIL_FIND(nccl, ncclGroupEnd);
  HYDROFOIL_FIND(nccl, ncclSend);
  HYDROFOIL_FIND(nccl, ncclRecv);
  HYDROFOIL_FIND(nccl, ncclGetErrorString);
  HYDROFOIL_FIND(cuda, cudaGetDeviceCount);
  HYDROFOIL_FIND(cuda, cudaSetDevice);
  HYDROFOIL_FIND(cuda, cudaMalloc);
  HYDROFOIL_FIND(cuda, cudaFree);
  HYDROFOIL_FIND(cuda, cudaMemcpyAsync);
  HYDROFOIL_FIND(cuda, cudaStreamCreateWithFlags);
  HYDROFOIL_FIND(cuda, cudaStreamDestroy);
  HYDROFOIL_FIND(cuda, cudaStreamQuery);
  HYDROFOIL_FIND(cuda, cudaStreamSynchronize);
  HYDROFOIL_FIND(cuda, cudaGetErrorString);
  return functions;
}

}  // namespace

void NcclLibrary::require_nccl(int result, const char* call) const {
  if (result != kSuccess && result != kInProgress)
    throw std::runtime_error(std::string(call) + ": " + ncclGetErrorString(result));
}

void NcclLibrary::require_cuda(int error, const char* call) const {
  if (error != kSuccess)
    throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(error));
}

std::string NcclLibrary::text() const {
  int version = 0, devices = 0;  // 22703: 2.27.3
  require_nccl(ncclGetVersion(&version), "ncclGetVersion");
  require_cuda(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  return "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
         "." + std::to_string(version % 100) + ", " + std::to_string(devices) +
         (devices == 1 ? " GPU" : " GPUs");
}

std::shared_ptr<const NcclLibrary> load_nccl() {
  return functions_of(
      open_named("HYDROFOIL_NCCL_LIBRARY", {"libnccl.so.2"}),
      open_named("HYDROFOIL_CUDART_LIBRARY", {"libcudart.so.13", "libcudart.so.12"}));
}

std::shared_ptr<const NcclLibrary> load_nccl(const std::string& nccl, const std::string& cudart) {
  return functions_of(open_library({nccl}), open_library({cudart}));
}

}  // namespace hydrofoil::comm
