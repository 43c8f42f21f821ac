// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/module.h"

#include <dlfcn.h>

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

}  // namespace

std::unique_ptr<Transport> open_transport(std::string_view name, const TransportRequest& request) {
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
  return facts;
}

}  // namespace hydrofoil::comm
