// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/tree.h"

#include "hydrofoil/core/error.h"

namespace hydrofoil::config {

void set_path(Value& root, const std::string& path, Value value) {
  Value* section = &root;
  size_t begin = 0;
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', begin)) {
    const std::string name = path.substr(begin, dot - begin);
    begin = dot + 1;
    Value* inner = section->find(name);
    if (inner == nullptr || inner->is_null()) {
      Value fresh = make_object();
      fresh.place = value.place;
      section->set(name, std::move(fresh));
      inner = section->find(name);
    }
    if (!inner->is_object()) {
      throw Error(ExitCode::kUsage,
                  "cannot set " + path + ": " + path.substr(0, dot) + " is " + describe(*inner),
                  inner->place.text(), "set " + path.substr(0, dot) + " itself");
    }
    section = inner;
  }
  section->set(path.substr(begin), std::move(value));
}

}  // namespace hydrofoil::config
