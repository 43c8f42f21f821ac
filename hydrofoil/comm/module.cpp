// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/module.h"

#include <dlfcn.h>

#include <stdexcept>

#include "hydrofoil/comm/backend/nccl/nccl_transport.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

struct Module {
  void* library = nullptr;
  std::string problem;  // why it could not be loaded
};

// Found beside the program, in its lib folder, or on the loader's path. Never unloaded.
Module load(std::string_view name) {
  const std::string file = "libhydrofoil_" + std::string(name) + ".so";
  Module module;
  module.library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module.library == nullptr) module.problem = dlerror();
  return module;
}

template <class Function>
Function function_of(const Module& module, const char* name) {
  return reinterpret_cast<Function>(dlsym(module.library, name));
}

const char* remedy(std::string_view name) {
  return name == "mpi" ? "install Open MPI (libopenmpi-dev) and build again, or use gloo"
                       : "build with -DHYDROFOIL_TORCH=ON: Gloo is part of libtorch";
}

// Data by NCCL, all else by Gloo.
std::unique_ptr<Transport> open_nccl(const TransportRequest& request) {
  std::shared_ptr<const NcclLibrary> library;
  try {
    library = load_nccl();
  } catch (const std::runtime_error& error) {
    throw Error(ExitCode::kConfig, std::string("NCCL cannot be used: ") + error.what(),
                "comm backend nccl",
                "install NCCL and CUDA's run-time library (libnccl2, or pip's nvidia-nccl-cu13 and "
                "nvidia-cuda-runtime); HYDROFOIL_NCCL_LIBRARY and HYDROFOIL_CUDART_LIBRARY name "
                "their files");
  }
  return make_nccl_transport(open_transport("gloo", request), std::move(library),
                             request.local_rank);
}

BackendFact nccl_fact() {
  try {
    return {"nccl", true, load_nccl()->text()};
  } catch (const std::runtime_error& error) {
    return {"nccl", false, error.what()};
  }
}

}  // namespace

std::unique_ptr<Transport> open_transport(std::string_view name, const TransportRequest& request) {
  if (name == "nccl") return open_nccl(request);
  const Module module = load(name);
  if (module.library == nullptr)
    throw Error(ExitCode::kConfig, "it is not in this build: " + module.problem,
                "comm backend " + std::string(name), remedy(name));
  return std::unique_ptr<Transport>(function_of<OpenTransport>(module, kOpenTransport)(request));
}

std::vector<BackendFact> backends() {
  std::vector<BackendFact> facts{{"thread", true, "ranks as threads of one process"},
                                 {"shm", true, "processes of one host"}};
  for (const char* name : {"mpi", "gloo"}) {
    const Module module = load(name);
    facts.push_back({name, module.library != nullptr,
                     module.library != nullptr
                         ? function_of<NameTransport>(module, kNameTransport)()
                         : module.problem});
  }
  facts.push_back(nccl_fact());
  return facts;
}

}  // namespace hydrofoil::comm
