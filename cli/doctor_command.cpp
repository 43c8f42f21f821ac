// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_command.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/choice_json.h"
#include "cli/torch_library.h"
#include "hydrofoil/comm/launch.h"
#include "hydrofoil/comm/module.h"
#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<uint64_t>& value) {
  if (value) return *value;
  return nullptr;
}

// A system call that gives a descriptor works here: the kernel has it and no filter forbids it.
bool works(long descriptor) {
  if (descriptor < 0) return false;
  close(static_cast<int>(descriptor));
  return true;
}

using TellChoices = const char* (*)();

Json build_facts(Json& problems, TellChoices& torch_choices) {
  const std::string compiler = __VERSION__;  // of GCC a bare number
  Json facts{{"program", version_line()},
             {"compiler", (std::isdigit(compiler.front()) ? "GCC " : "") + compiler},
             {"training_library", nullptr}};
  try {
    facts["training_library"] = torch_library_path().string();
    torch_choices = reinterpret_cast<TellChoices>(torch_function("hydrofoil_choices"));
  } catch (const Error& error) {
    problems.push_back(torch_command_names() + " will not run: " + error.what());
  }
  return facts;
}

Json host_facts(Json& problems) {
  const auto memory = host::memory();
  Json facts{{"cpu", host::cpu_model()},
             {"usable_cores", host::usable_cores()},
             {"memory_bytes", memory.total_bytes},
             {"available_bytes", memory.available_bytes},
             {"cgroup_limit_bytes", or_null(memory.cgroup_limit_bytes)},
             {"cgroup_used_bytes", or_null(memory.cgroup_used_bytes)},
             {"usable_bytes", memory.usable_bytes()},
             {"out_of_memory_kills", or_null(host::oom_kills())}};
  if (const auto kills = host::oom_kills(); kills && *kills > 0)
    problems.push_back("the kernel has killed " + std::to_string(*kills) +
                       " processes of this control group for lack of memory");
  struct statvfs shm = {};
  facts["dev_shm_bytes"] =
      statvfs("/dev/shm", &shm) == 0 ? Json(uint64_t{shm.f_bavail} * shm.f_frsize) : Json(nullptr);
  return facts;
}

Json kernel_facts(Json& problems) {
  const char* forced = std::getenv("HYDROFOIL_ISA");
  Json facts{{"isa", nullptr}, {"supported", Json::array()}, {"forced", nullptr}};
  for (const auto isa : kernels::supported_tiers()) facts["supported"].push_back(name_of(isa));
  if (forced != nullptr) facts["forced"] = forced;
  try {
    facts["isa"] = name_of(kernels::choose_isa(forced != nullptr ? forced : ""));
  } catch (const Error& error) {
    problems.push_back(error.line());
  }
  return facts;
}

// Of a valid tier only.
Json choice_facts(TellChoices torch_choices) {
  Json facts = choices_json(kernels::tier_choices());
  if (torch_choices != nullptr) facts.update(Json::parse(torch_choices()));
  return facts;
}

Json system_facts() {
  utsname name = {};
  uname(&name);
  io_uring_params parameters = {};
  return {{"kernel", std::string(name.sysname) + " " + name.release + " " + name.machine},
          {"pidfd", works(syscall(SYS_pidfd_open, getpid(), 0))},
          {"memfd", works(memfd_create("hydrofoil-doctor", MFD_CLOEXEC))},
          {"io_uring", works(syscall(SYS_io_uring_setup, 1, &parameters))}};
}

struct Launcher {
  const char* name;
  const char* mark;  // set by this launcher for each rank
  std::vector<const char*> variables;
};

// In the order in which they win: torchrun inside a Slurm job is torchrun.
Json launch_facts() {
  const std::vector<Launcher> launchers{
      {"torchrun",
       "RANK",
       {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}},
      {"mpirun",
       "OMPI_COMM_WORLD_RANK",
       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"}},
      {"srun", "SLURM_PROCID", {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}},
  };
  for (const auto& [name, mark, variables] : launchers) {
    if (std::getenv(mark) == nullptr) continue;
    Json facts{{"launcher", name}};
    for (const char* variable : variables) {
      const char* value = std::getenv(variable);
      facts[variable] = value != nullptr ? Json(value) : Json(nullptr);
    }
    return facts;
  }
  return {{"launcher", nullptr}};
}

// Which backends there are, and which one ranks started like this process would talk over.
Json comm_facts(Json& problems) {
  Json facts;
  for (const auto& [name, available, detail] : comm::backends())
    facts[name] = available ? detail : "no: " + detail;
  facts["choice"] = nullptr;
  try {
    const auto lookup = comm::process_environment();
    facts["choice"] = comm::choose_backend(comm::detect(lookup), "auto", lookup);
  } catch (const Error& error) {
    problems.push_back(error.line());
  }
  return facts;
}

std::string value_text(const std::string& key, const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() && key.ends_with("_bytes")) return monitor::human_bytes(value);
  if (value.is_object())
    return value_text(key, value["chosen"]) + " (of " + value_text(key, value["candidates"]) +
           "): " + value_text(key, value["reason"]);
  if (!value.is_array()) return value.dump();
  std::string list;
  for (const auto& item : value) list += (list.empty() ? "" : ", ") + item.get<std::string>();
  return list;
}

void print_text(const Json& facts) {
  for (const auto& [section, values] : facts.items()) {
    if (values.empty()) continue;
    std::cout << section << "\n";
    for (const auto& [key, value] : values.items()) {
      const bool bytes = key.ends_with("_bytes");
      std::string name = values.is_array() ? "-" : bytes ? key.substr(0, key.size() - 6) : key;
      if (!values.is_array()) name.resize(std::max<size_t>(name.size(), 21), ' ');
      std::cout << "  " << name << " " << value_text(key, value) << "\n";
    }
  }
}

int doctor(bool json) {
  Json problems = Json::array();
  Json facts;
  TellChoices torch_choices = nullptr;
  facts["build"] = build_facts(problems, torch_choices);
  facts["host"] = host_facts(problems);
  facts["kernels"] = kernel_facts(problems);
  facts["choices"] =
      facts["kernels"]["isa"].is_null() ? Json::object() : choice_facts(torch_choices);
  facts["system"] = system_facts();
  facts["launch"] = launch_facts();
  facts["comm"] = comm_facts(problems);
  facts["problems"] = problems;
  if (json) {
    std::cout << facts.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_text(facts);
  }
  return 0;
}

}  // namespace

void add_doctor_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("doctor", "Say what this machine and this build are");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "One JSON object on standard output");
  command->callback([&action, json] { action = [json] { return doctor(*json); }; });
}

}  // namespace hydrofoil::cli
